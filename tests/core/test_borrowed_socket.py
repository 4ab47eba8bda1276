"""A standard socket object around a descriptor that stays its owner's."""

import errno
import os
import socket

import pytest

from triobatch._core.borrowed_socket import borrowed_socket


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
