"""A standard socket object around a descriptor that stays its owner's."""

import errno
import os
import socket
import sys
from types import SimpleNamespace

import pytest

from triobatch._core import borrowed_socket as borrowed_socket_module
from triobatch._core import streams_python
from triobatch._core.borrowed_socket import borrowed_socket, keeping_mode


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_the_descriptor_stays_its_owners(pair):
    left, right = pair
    with borrowed_socket(left.fileno()) as borrowed:
        assert borrowed.fileno() == left.fileno()
        borrowed.send(b"x")
    assert borrowed.fileno() == -1
    del borrowed
    left.send(b"y")
    assert right.recv(2) == b"xy"


tells_mode = pytest.mark.skipif(
    not hasattr(os, "get_blocking"), reason="this system does not tell"
)


@tells_mode
@pytest.mark.parametrize("blocking", [False, True])
def test_the_mode_stays_as_it_is(pair, blocking):
    # PyPy makes a socket blocking when it gets an object.
    left, right = pair
    left.setblocking(blocking)
    with borrowed_socket(left.fileno()):
        assert os.get_blocking(left.fileno()) == blocking
    assert os.get_blocking(left.fileno()) == blocking
    right.send(b"x")
    assert streams_python.receive(left.fileno(), 9) == b"x"
    assert os.get_blocking(left.fileno()) == blocking


@tells_mode
def test_on_pypy_the_mode_is_put_back(pair, monkeypatch):
    left, _ = pair
    left.setblocking(False)

    def init(sock, fd):
        os.set_blocking(fd, True)
        if sock == "bad":
            raise ZeroDivisionError

    assert keeping_mode(init) is init or sys.implementation.name == "pypy"
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))
    keeping_mode(init)("good", left.fileno())
    assert not os.get_blocking(left.fileno())
    with pytest.raises(ZeroDivisionError):
        keeping_mode(init)("bad", left.fileno())
    assert not os.get_blocking(left.fileno())


def test_the_descriptor_stays_its_owners_after_an_error(pair):
    left, right = pair
    with (
        pytest.raises(ZeroDivisionError),
        borrowed_socket(left.fileno()) as borrowed,
    ):
        raise ZeroDivisionError
    assert borrowed.fileno() == -1
    left.send(b"y")
    assert right.recv(1) == b"y"


def test_the_kernel_is_asked_what_is_not_said(pair):
    fd = pair[0].fileno()
    with borrowed_socket(fd) as borrowed:
        assert (borrowed.family, borrowed.type) == (
            pair[0].family,
            socket.SOCK_STREAM,
        )
    with borrowed_socket(fd, socket.AF_INET, socket.SOCK_DGRAM) as borrowed:
        assert (borrowed.family, borrowed.type) == (
            socket.AF_INET,
            socket.SOCK_DGRAM,
        )


@pytest.fixture
def default_timeout():
    socket.setdefaulttimeout(5)
    yield
    socket.setdefaulttimeout(None)


def test_a_default_timeout_makes_no_call_wait(pair, default_timeout):
    with (
        borrowed_socket(pair[0].fileno()) as borrowed,
        pytest.raises(BlockingIOError),
    ):
        borrowed.recv(1)


def test_what_is_no_socket_is_left_alone():
    reader, writer = os.pipe()
    with (
        pytest.raises(OSError, match="non-socket") as caught,
        borrowed_socket(reader),
    ):
        pytest.fail("it was let in")
    assert caught.value.errno == errno.ENOTSOCK
    # Neither of them was closed.
    os.close(reader)
    os.close(writer)


@pytest.fixture
def nameless(monkeypatch):
    """CPython on Windows, where a socket without a name tells no family."""

    def init(sock, family, kind, proto, fd):
        if family < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        socket.socket.__init__(sock, family, kind, proto, fd)

    monkeypatch.setattr(borrowed_socket_module, "_init", init)
    monkeypatch.setattr(
        borrowed_socket_module, "sys", SimpleNamespace(platform="win32")
    )


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_on_windows_the_family_is_found_before_there_is_a_name(
    nameless, family
):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        with borrowed_socket(sock.fileno()) as borrowed:
            assert borrowed.family == family
            assert borrowed.type == socket.SOCK_DGRAM
        assert borrowed.fileno() == -1
        assert sock.fileno() != -1


def test_elsewhere_what_tells_no_family_is_an_error(nameless, monkeypatch):
    monkeypatch.setattr(
        borrowed_socket_module, "sys", SimpleNamespace(platform="linux")
    )
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match="Invalid argument"),
        borrowed_socket(sock.fileno()),
    ):
        pass


def test_on_windows_what_is_no_socket_is_an_error(nameless, tmp_path):
    with (
        tmp_path.joinpath("file").open("w") as file,
        pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)),
        borrowed_socket(file.fileno()),
    ):
        pass
