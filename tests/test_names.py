"""What a host and a port may be."""

import contextlib
import errno
import gc
import socket

import pytest
import trio

from triobatch._names import (
    bound_sockets,
    check_host,
    check_port,
    looking_up,
)


class Index:
    def __index__(self):
        return 53


@pytest.mark.parametrize(
    ("port", "number"), [(0, 0), (1, 1), (65535, 65535), (Index(), 53)]
)
def test_a_port_is_an_integer_of_16_bits(port, number):
    assert check_port(port) == number


@pytest.mark.parametrize("port", [-1, 65536, 2**32 + 53, 2**70])
def test_a_port_out_of_range_is_a_value_error(port):
    with pytest.raises(
        ValueError, match=f"^port must be between 0 and 65535, not {port}$"
    ):
        check_port(port)


@pytest.mark.parametrize("port", [None, "domain", "53", True, 1.5, 53.0, b"1"])
def test_what_is_no_integer_is_a_type_error(port):
    with pytest.raises(TypeError, match=r"^the port must be an int, not "):
        check_port(port, "the port")


@pytest.mark.parametrize("host", [None, "", "localhost", b"localhost"])
def test_a_host_is_a_name_or_nothing(host):
    check_host(host)
    with pytest.raises(TypeError, match=r"^host must be a str"):
        check_host([host])


@pytest.mark.parametrize("host", ["x" * 70 + ".com", "a..b", "127.0.0.1\0"])
def test_what_is_no_name_is_not_found(host):
    with (
        pytest.raises(socket.gaierror, match="is not a name") as caught,
        looking_up(host),
    ):
        socket.getaddrinfo(host, 9)
    assert caught.value.errno == socket.EAI_NONAME


def test_other_errors_of_a_look_up_are_let_through():
    with pytest.raises(socket.gaierror, match="my own"), looking_up("name"):
        raise socket.gaierror(socket.EAI_AGAIN, "my own")


@pytest.fixture
def stands_for():
    """Let a name stand for some addresses, in order."""

    def install(*hosts):
        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, name, port, family, kind, *_):
                await trio.lowlevel.checkpoint()
                return [
                    row
                    for host in hosts
                    for row in socket.getaddrinfo(host, port, family, kind)
                ]

            async def getnameinfo(self, *_):
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())

    return install


@pytest.fixture
async def bound(stands_for):
    """Bind to all that a name of these addresses stands for."""
    with contextlib.ExitStack() as stack:

        async def bind(*hosts, kind=socket.SOCK_DGRAM, **options):
            stands_for(*hosts)
            sockets = await bound_sockets("a-name", 0, kind, **options)
            for sock in sockets:
                stack.enter_context(sock)
            return [sock.getsockname()[0] for sock in sockets]

        yield bind


KINDS = pytest.mark.parametrize(
    "kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM]
)


@KINDS
async def test_what_this_host_lacks_is_left_out(bound, kind):
    hosts = ("198.51.100.1", "127.0.0.1", "2001:db8::1")
    assert await bound(*hosts, kind=kind) == ["127.0.0.1"]


@KINDS
async def test_an_address_that_comes_twice_is_bound_once(bound, kind):
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    assert await bound(*hosts, kind=kind) == ["127.0.0.1", "127.0.0.2"]


@KINDS
async def test_where_none_can_be_bound_it_fails(bound, kind, recwarn):
    with pytest.raises(OSError, match="assign") as caught:
        await bound("198.51.100.1", "198.51.100.2", kind=kind)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    del caught
    gc.collect()
    assert not recwarn.list


async def test_another_failure_leaves_nothing_open(stands_for, recwarn):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.2", 0))
        stands_for("198.51.100.1", "127.0.0.1", "127.0.0.2")
        with pytest.raises(OSError, match="in use"):
            await bound_sockets(
                "a-name", taken.getsockname()[1], socket.SOCK_DGRAM
            )
    gc.collect()
    assert not recwarn.list


async def test_each_socket_is_configured_before_it_is_bound(bound):
    seen = []
    await bound(
        "127.0.0.1",
        "127.0.0.2",
        configure=lambda sock: seen.append(sock.getsockname()),
    )
    assert seen == [("0.0.0.0", 0)] * 2
