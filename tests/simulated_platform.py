"""Another system, as far as names go: what Linux alone has is taken away.

For a look at what is imported, collected, left out and refused there, on a
machine at hand: the calls that are left are still Linux's. ``conftest``
does it before anything else where TRIOBATCH_SIMULATE names a system::

    TRIOBATCH_SIMULATE=darwin python -m pytest
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import platform
import select
import signal
import socket
import ssl
import subprocess
import sys
from types import SimpleNamespace

# They choose by the system when they are imported, and are not to be fooled.
import pytest_trio.plugin
import trio.lowlevel
import trio.testing

if sys.platform == "linux":
    from trio._core import _io_epoll

_CHOSEN = (
    asyncio,
    multiprocessing,
    ssl,
    subprocess,
    pytest_trio,
    trio.testing,
)

SYSTEMS = {"darwin": "Darwin", "win32": "Windows"}

_NOT_ELSEWHERE = {
    select: "epoll EPOLL POLLRDHUP",
    socket: (
        "MSG_NOSIGNAL MSG_MORE MSG_ERRQUEUE MSG_CMSG_CLOEXEC SO_DOMAIN "
        "SO_PEERCRED SO_MARK SO_BINDTODEVICE SO_PROTOCOL SO_PASSCRED "
        "AF_NETLINK AF_PACKET AF_VSOCK AF_ALG IP_RECVERR IPV6_RECVERR "
        "IP_PKTINFO TCP_CORK TCP_QUICKACK TCP_USER_TIMEOUT TCP_DEFER_ACCEPT "
        "TCP_NOTSENT_LOWAT SOCK_CLOEXEC SOCK_NONBLOCK"
    ),
    os: (
        "splice memfd_create pipe2 eventfd RWF_ O_TMPFILE O_PATH O_DIRECT "
        "posix_fadvise sched_ copy_file_range getrandom setns unshare"
    ),
}
_NOT_ON_WINDOWS = {
    select: "poll POLL",
    socket: "AF_UNIX MSG_DONTWAIT MSG_TRUNC SO_REUSEPORT IP_RECVTTL",
    os: (
        "writev readv preadv pwritev pread pwrite sendfile sysconf fchmod "
        "fchown set_blocking get_blocking mkfifo mknod O_CLOEXEC O_NONBLOCK "
        "O_NOFOLLOW getuid geteuid fork register_at_fork"
    ),
    trio.lowlevel: "FdStream",
    signal: "SIGPIPE SIGKILL SIGUSR pthread_sigmask sigpending sigwait",
}


def _take_away(names: dict[object, str]) -> None:
    for module, prefixes in names.items():
        for name in list(vars(module)):
            if name.startswith(tuple(prefixes.split())):
                delattr(module, name)


class _Absent:
    """What neither a class nor its objects have, whatever its base has."""

    def __get__(self, instance, owner=None):
        raise AttributeError("this system has none")


def become(system: str) -> None:
    """Take away what ``system`` does not have."""
    os.environ["TRIOBATCH_CORE"] = "python"
    for extension in ("_c", "_chunks_c"):
        sys.modules[f"triobatch._core.{extension}"] = None
    # Trio runs on, with what it was made for.
    _io_epoll.select = SimpleNamespace(**vars(select))
    _take_away(_NOT_ELSEWHERE)
    if system == "win32":
        # Windows has pairs of its own, which the standard library makes, of
        # TCP; these stay Unix sockets.
        pair = functools.partial(socket.socketpair, socket.AF_UNIX)
        socket.socketpair = lambda *_: pair()
        ssl.enum_certificates = lambda store: ()
        _take_away(_NOT_ON_WINDOWS)
        # Or the standard library would ask for the user's number.
        os.environ.setdefault("USERNAME", "nobody")
        for module in ("fcntl", "termios", "resource"):
            sys.modules[module] = None
        for method in ("sendmsg", "recvmsg", "recvmsg_into"):
            setattr(socket.socket, method, _Absent())
    sys.platform = system
    platform.system = lambda: SYSTEMS[system]
