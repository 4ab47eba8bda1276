"""Datagram sockets: batches out and in, and an outcome for each datagram."""
