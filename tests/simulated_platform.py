"""Another system, as far as names go: what Linux alone has is taken away.

For a look at what is imported, collected, left out and refused there, on a
machine at hand: the calls that are left are still Linux's. ``conftest``
does it before anything else where TRIOBATCH_SIMULATE names a system::

    TRIOBATCH_SIMULATE=darwin python -m pytest
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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
import tempfile
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

# Not on Linux, where errno has no name for it.
_WSAEMSGSIZE = 10040

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


def _have_no_name_before_bind() -> None:
    """Let getsockname(2) fail as on Windows, and CPython, which asks it."""
    tell, make = socket.socket.getsockname, socket.socket.__init__

    def getsockname(sock):
        name = tell(sock)
        if isinstance(name, tuple) and name[1] == 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return name

    def init(sock, family=-1, kind=-1, proto=-1, fileno=None):
        make(sock, family, kind, proto, fileno)
        if family == -1 and fileno is not None:
            try:
                getsockname(sock)
            except OSError:
                sock.detach()
                raise

    socket.socket.getsockname = getsockname
    socket.socket.__init__ = init


def _fail_for_what_is_cut(truncate: int) -> None:
    """Let recvfrom(2) fail, as there, of a datagram that does not fit."""
    receive = socket.socket.recvfrom_into

    def recvfrom_into(sock, buffer, nbytes=0, flags=0):
        size, address = receive(sock, buffer, nbytes, flags | truncate)
        if size > len(buffer):
            raise OSError(_WSAEMSGSIZE, "A message was larger")
        return size, address

    socket.socket.recvfrom_into = recvfrom_into


def _speak_as_a_bsd() -> None:
    """Let sockets of datagrams say what macOS says (bsd/kern of XNU)."""
    receive, send = socket.socket.recvmsg_into, socket.socket.send
    send_to = socket.socket.sendto

    def recvmsg_into(sock, buffers, ancbufsize=0, flags=0):
        # It does not tell what was cut, and hands on the flag.
        asked = flags & socket.MSG_TRUNC
        size, control, told, address = receive(
            sock, buffers, ancbufsize, flags & ~socket.MSG_TRUNC
        )
        return size, control, told | asked, address

    def is_datagram(sock):
        return sock.type == socket.SOCK_DGRAM

    @contextlib.contextmanager
    def no_buffers(sock):
        try:
            yield
        except BlockingIOError:
            if sock.family != socket.AF_UNIX or not is_datagram(sock):
                raise
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from None

    def send_one(sock, *args):
        with no_buffers(sock):
            return send(sock, *args)

    def sendto(sock, *args):
        if is_datagram(sock):
            with contextlib.suppress(OSError):
                sock.getpeername()
                args = None
            if args is None:
                raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
        with no_buffers(sock):
            return send_to(sock, *args)

    socket.socket.recvmsg_into = recvmsg_into
    socket.socket.send = send_one
    socket.socket.sendto = sendto


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
        # Or the standard library would ask for the user's number.
        os.environ.setdefault("USERNAME", "nobody")
        for module in ("fcntl", "termios", "resource"):
            sys.modules[module] = None
        for method in ("sendmsg", "recvmsg", "recvmsg_into"):
            setattr(socket.socket, method, _Absent())
        _have_no_name_before_bind()
        _fail_for_what_is_cut(socket.MSG_TRUNC)
        _take_away(_NOT_ON_WINDOWS)
    else:
        _speak_as_a_bsd()
    # It was asked for when the module was imported.
    tempfile._O_TMPFILE_WORKS = False
    sys.platform = system
    platform.system = lambda: SYSTEMS[system]
