"""Bytes as the kernel lays them out: addresses, control messages, reports."""
