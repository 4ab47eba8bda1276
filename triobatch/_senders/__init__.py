"""Senders and servers that live in a nursery."""
