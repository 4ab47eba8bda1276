"""What objects say of themselves, whatever state they are in."""

import errno
import socket

import pytest

from triobatch._wire.described import (
    address_text,
    described,
    errno_text,
    socket_repr,
    socket_text,
)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 9), "127.0.0.1:9"),
        (("::1", 9, 0, 0), "[::1]:9"),
        (("fe80::1%2", 9, 0, 2), "[fe80::1%2]:9"),
        ("/run/socket", "/run/socket"),
        ("/run/a\nb", r"'/run/a\nb'"),
        ("/run/\udc80", r"'/run/\udc80'"),
        (b"\0name", "@name"),
        (b"\0a\xff\n", r"'@a\\xff\n'"),
        ("", "unnamed"),
        (b"", "unnamed"),
        (None, "unnamed"),
        (7, "7"),
    ],
)
def test_an_address_is_written_on_one_line(address, text):
    assert address_text(address) == text


def test_an_errno_has_the_name_of_the_manual_pages():
    assert errno_text(errno.EMSGSIZE) == "EMSGSIZE"
    assert errno_text(12345) == "12345"
    assert errno_text(None) == "None"


def test_a_socket_is_named_by_its_addresses_and_its_descriptor():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        name = f"127.0.0.1:{port}, descriptor {server.fileno()}"
        assert socket_text(server) == name
        with socket.create_connection(("127.0.0.1", port)) as client:
            own = client.getsockname()[1]
            name = f"127.0.0.1:{own} -> 127.0.0.1:{port}"
            assert socket_text(client) == (
                f"{name}, descriptor {client.fileno()}"
            )
        assert socket_text(client) == "closed"


class Thing:
    __repr__ = socket_repr


class _Own(Thing):
    pass


def test_what_cannot_be_said_is_no_error():
    assert repr(Thing()) == "<Thing: not usable>"
    thing = Thing()
    thing.socket = 5
    assert repr(thing) == "<Thing: not usable>"


def test_a_private_subclass_goes_by_its_public_name():
    assert repr(_Own()) == "<Thing: not usable>"


def test_ctrl_c_is_not_swallowed():
    class Interrupted:
        @described
        def __repr__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repr(Interrupted())
