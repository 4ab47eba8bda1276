"""The name that a Unix socket has in the file system, and whose it is.

bind(2) makes the name, and refuses one that is there. But a process that was
killed leaves its name behind, and nothing tells it from a live one except that
connecting is refused (unix(7)). A server that asks, and then replaces the
name, may find another's there by then: so servers take a lock before they ask,
and keep it until they listen. It is a file beside the name, which is gone
again when they do; Wayland's servers keep theirs (wayland-0.lock). A socket
for datagrams need not listen: it is there once it is bound.

* Who listens has the name, until it closes. The kernel keeps the inode of a
  socket that is bound (unix_bind_bsd() in net/unix/af_unix.c), so as long as
  the socket is open, a name with that number is its own.
* A server of another make takes no lock. On Linux, the kernel at least says
  what is bound and does not listen yet.
* A worker that was forked has the listener, but not the name.
"""

from __future__ import annotations

import errno
import operator
import os
import socket
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

# So long a server may take from asking to listening, in seconds, before
# another gives up; it takes less than a millisecond.
_PATIENCE = 1.0
_PAUSE = 0.01


class UnixName:
    """A name that is this process's to remove.

    Args:
      path: Where it is, absolute, so that chdir(2) does not lead away from it.
    """

    def __init__(self, path: str | bytes) -> None:
        self._path = path
        self._identity = _identity(path)
        self._process = os.getpid()

    def remove(self) -> None:
        """Remove it, if it is still ours; the socket must still be open."""
        if os.getpid() != self._process:
            return
        with suppress(FileNotFoundError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)


def checked_name(
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    called: str = "filename",
) -> str | bytes:
    """Return the name of a Unix socket.

    Args:
      filename: The name.
      called: What the caller calls it, for the errors.

    Raises:
      TypeError: it is no path.
      ValueError: it is empty (Linux would make one up), or has a NUL in it
        (Linux would take what is before), other than at the start, where it
        makes an abstract name (unix(7)).
    """
    try:
        name = os.fspath(filename)
    except TypeError:
        raise TypeError(
            f"{called} must be a str, bytes or a path, not {filename!r}"
        ) from None
    if not name:
        raise ValueError(f"{called} must not be empty")
    if _is_abstract(name):
        return name
    if "\0" in os.fsdecode(name):
        raise ValueError(f"{called} must not have a NUL in it: {name!r}")
    return name


def check_mode(mode: int | None) -> None:
    """Raise TypeError or ValueError if these are no permissions, nor None."""
    if mode is None:
        return
    if isinstance(mode, bool) or not hasattr(mode, "__index__"):
        raise TypeError(f"mode must be an int or None, not {mode!r}")
    if not 0 <= operator.index(mode) <= 0o7777:
        raise ValueError(f"mode must be in 0..0o7777, not {mode!r}")


def _is_abstract(name: str | bytes) -> bool:
    return os.fsencode(name).startswith(b"\0")


def bind(
    name: str | bytes,
    kind: socket.SocketKind,
    mode: int | None,
    backlog: int | None = None,
) -> tuple[socket.socket, UnixName | None]:
    """Bind a new socket to a name; for a worker thread.

    Args:
      name: A ``checked_name``.
      kind: ``SOCK_STREAM`` or ``SOCK_DGRAM``.
      mode: Its permissions; the umask's by default.
      backlog: Of a socket that is to listen.

    Returns:
      The socket, and the name if it has to be removed: None if it is abstract.

    Raises:
      OSError: it is in use (EADDRINUSE), or could not be bound.
      TypeError: ``mode`` is no integer.
      ValueError: an abstract name was to have permissions, or there are no
        such permissions.
      RuntimeError: this system has no Unix sockets.
    """
    check_mode(mode)
    if not hasattr(socket, "AF_UNIX"):
        raise RuntimeError("this system has no Unix sockets")
    abstract = _is_abstract(name)
    if abstract and mode is not None:
        raise ValueError(f"an abstract name has no mode, not {mode!r}")
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        if abstract:
            sock.bind(name)
            if backlog is not None:
                sock.listen(backlog)
            return sock, None
        return sock, _bind_to(sock, name, mode, backlog)
    except BaseException:
        sock.close()
        raise


def _bind_to(
    sock: socket.socket,
    name: str | bytes,
    mode: int | None,
    backlog: int | None,
) -> UnixName:
    path = _absolute(name)
    with _locked(path):
        if _is_taken(path):
            _refuse_unless_left_behind(name, path, sock.type)
            with suppress(FileNotFoundError):
                os.unlink(path)
        if mode is not None:
            # Datagrams can come as soon as it is bound, before chmod(2). The
            # name gets no more than the socket has, and than the umask lets
            # through; other systems have no such mode.
            with suppress(OSError):
                os.fchmod(sock.fileno(), mode)
        sock.bind(name)
        try:
            # Nobody can connect before it listens.
            if mode is not None:
                os.chmod(path, mode)
            if backlog is not None:
                sock.listen(backlog)
            return UnixName(path)
        except BaseException:
            os.unlink(path)
            raise


def _absolute(name: str | bytes) -> str | bytes:
    # Not normalized: a/../b is not b where a is a symbolic link.
    if os.path.isabs(name):
        return name
    if isinstance(name, bytes):
        return os.path.join(os.getcwdb(), name)
    return os.path.join(os.getcwd(), name)


@contextmanager
def _locked(path: str | bytes) -> Iterator[None]:
    """Keep other servers from that name, for a ``with`` block."""
    lock = os.fsencode(path) + b".triobatch-lock"
    deadline = time.monotonic() + _PATIENCE
    while (fd := _lock(lock, path)) is None:
        if time.monotonic() > deadline:
            raise _in_use(path, "somebody else is about to listen there")
        trio.from_thread.check_cancelled()
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        # In this order: whoever locks a file then finds that it is another.
        with suppress(FileNotFoundError):
            os.unlink(lock)
        os.close(fd)


def _lock(lock: bytes, path: str | bytes) -> int | None:
    """Return a descriptor that has the lock, None if somebody else has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(lock, flags, 0o600)
    except OSError as error:
        # It is the name's own directory that is missing, or not ours.
        raise OSError(error.errno, error.strerror, path, None, lock) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(lock)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        # Locked, or unlocked just now, and so no longer the lock.
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_taken(path: str | bytes) -> bool:
    """Whether there is a socket.

    Raises:
      OSError: there is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(mode):
        # To follow it would be to remove one thing, and to bind another.
        raise _in_use(path, "it is a symbolic link")
    if not stat.S_ISSOCK(mode):
        raise _in_use(path, "it is no socket")
    return True


def _refuse_unless_left_behind(
    name: str | bytes, path: str | bytes, kind: int
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            if _is_bound(name, path):
                raise _in_use(
                    path,
                    "somebody else has bound it, and may be about to listen",
                ) from None
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            # Somebody listens, and has no room for more (unix(7)).
            pass
        except OSError as error:
            # EPERM: a socket for datagrams that is connected to another.
            if error.errno != errno.EPERM:
                raise OSError(error.errno, error.strerror, path) from error
    raise _in_use(path, "somebody else has it")


def _is_bound(name: str | bytes, path: str | bytes) -> bool:
    """Whether a stream socket is bound there that does not listen yet.

    As far as the kernel tells: Linux, in this network namespace, by the name
    that it was bound to. One that listens, and refuses us, is of another file
    system's: a container's, which has the same name.
    """
    wanted = {os.fsencode(name), os.fsencode(path)}
    try:
        with open("/proc/net/unix", "rb") as table:
            # Num RefCount Protocol Flags Type St Inode Path (proc(5))
            rows = [line.rstrip(b"\n").split(None, 7) for line in table]
    except OSError:
        return False
    unconnected = [b"00000000", b"0001", b"01"]
    return any(
        row[3:6] == unconnected and row[7] in wanted
        for row in rows
        if len(row) == 8
    )


def _in_use(path: str | bytes, why: str) -> OSError:
    text = os.strerror(errno.EADDRINUSE)
    return OSError(errno.EADDRINUSE, f"{text} ({why})", path)


def _identity(path: str | bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
