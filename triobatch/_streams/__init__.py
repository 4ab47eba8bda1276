"""Streams over sockets, and many chunks for streams of other kinds."""
