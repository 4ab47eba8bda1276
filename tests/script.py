"""Scripted system calls, in front of the real ones."""

import contextlib
import errno
import os

import trio

from triobatch._core import calls as syscalls


class Script:
    """Plays a list: an errno fails, a number sends so many, None all."""

    def __init__(self, monkeypatch, lines):
        self.lines = list(lines)
        self.calls = []
        self._send = syscalls.send_datagrams
        self._send_segments = syscalls.send_segments
        monkeypatch.setattr(syscalls, "send_datagrams", self.send)
        monkeypatch.setattr(syscalls, "send_segments", self.send_segments)

    def send_segments(self, fd, data, segment_size, run_size, *rest):
        line = self._next([segment_size if run_size > segment_size else 0])
        most = None if line is None else line * run_size
        return self._send_segments(
            fd, data[:most], segment_size, run_size, *rest
        )

    def send(self, fd, payload, sizes, segment_sizes, peers, control=()):
        line = self._next(list(segment_sizes))
        names = peers if len(peers) == 1 else peers[:line]
        return self._send(
            fd, payload, sizes[:line], segment_sizes[:line], names, control
        )

    def _next(self, segment_sizes):
        line = self.lines.pop(0) if self.lines else None
        self.calls.append((line, segment_sizes))
        if isinstance(line, str):
            number = getattr(errno, line)
            raise OSError(number, os.strerror(number))
        return line


async def received(sock):
    """Return what is there, as everything is on loopback."""
    payloads = []
    with contextlib.suppress(trio.WouldBlock):
        while True:
            payloads += sock.receive_batch_nowait()
    return [payload for payload, _ in payloads]
