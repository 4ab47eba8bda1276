"""Sockets that another process has opened: systemd's socket activation.

The protocol of ``sd_listen_fds(3)``: descriptors from 3 on, as many as
LISTEN_FDS says, for the process that LISTEN_PID names. LISTEN_FDNAMES names
each, with colons between.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from typing import TypeAlias

import trio

from triobatch._datagrams.socket import DatagramSocket
from triobatch._streams.listener import BatchSocketListener

# SD_LISTEN_FDS_START.
_FIRST = 3

# What a descriptor is called where LISTEN_FDNAMES is not set
# (sd_listen_fds_with_names(3)).
_UNNAMED = "unknown"

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")

# The process has each once: two threads that begin at the same time would get
# the same descriptors, and each close them.
_taking = threading.Lock()

Inherited: TypeAlias = BatchSocketListener | DatagramSocket


def inherited_sockets() -> dict[
    str, list[BatchSocketListener | DatagramSocket]
]:
    """Return the sockets that systemd has opened for this process, by name.

    ::

        listeners = [
            found
            for found in triobatch.inherited_sockets().get("http", [])
            if isinstance(found, triobatch.BatchSocketListener)
        ] or await triobatch.open_tcp_listeners(8000)
        await trio.serve_listeners(handler, listeners)

    Returns:
      For each name, as FileDescriptorName= of systemd.socket(5) gives them
      (the unit's, by default), its sockets in order: a ``BatchSocketListener``
      for each that listens, a ``DatagramSocket`` for each of datagrams.
      Nothing, if there are none, or they are another process'.

    Raises:
      ValueError: what LISTEN_FDS or LISTEN_FDNAMES says cannot be; one of the
        descriptors is no socket that listens, and none of datagrams.
        Everything is left as it was.

    The sockets are the caller's, to be closed; they are not inherited by
    child processes. The environment variables are removed, so a second call
    returns nothing, also one that another thread makes meanwhile. The name
    of a Unix socket is systemd's, and stays when it is closed. See
    ``sd_listen_fds(3)``.
    """
    with _taking:
        return _taken()


def _taken() -> dict[str, list[Inherited]]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    found: dict[str, list[Inherited]] = {}
    names = _names()
    with ExitStack() as undo:
        sockets = [
            _checked(fd, name, undo) for fd, name in enumerate(names, _FIRST)
        ]
        for name, sock in zip(names, sockets, strict=True):
            found.setdefault(name, []).append(_wrapped(sock))
        undo.pop_all()
    for fd in range(_FIRST, _FIRST + len(names)):
        os.set_inheritable(fd, False)
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    return found


def _names() -> list[str]:
    """Return a name for each descriptor."""
    text = os.environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"LISTEN_FDS must be a number, not {text!r}")
    count = int(text)
    listed = os.environ.get("LISTEN_FDNAMES")
    if listed is None:
        return [_UNNAMED] * count
    names = listed.split(":") if count else []
    if len(names) != count:
        raise ValueError(
            f"LISTEN_FDNAMES must have {count} names, not {listed!r}"
        )
    return names


def _checked(fd: int, name: str, undo: ExitStack) -> socket.socket:
    """Return a descriptor's socket; ``undo`` takes it out again."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ValueError(
            f"descriptor {fd} ({name!r}) must be a socket: {error}"
        ) from error
    undo.callback(sock.detach)
    if sock.type != socket.SOCK_DGRAM and not (
        sock.type == socket.SOCK_STREAM
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise ValueError(
            f"descriptor {fd} ({name!r}) must be a socket that listens, or "
            f"one of datagrams, not {sock}"
        )
    return sock


def _wrapped(sock: socket.socket) -> Inherited:
    sock.setblocking(False)
    own = trio.socket.from_stdlib_socket(sock)
    if sock.type == socket.SOCK_DGRAM:
        return DatagramSocket(own)
    return BatchSocketListener(own)
