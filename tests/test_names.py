"""What a host and a port may be."""

import socket

import pytest

from triobatch._names import check_host, check_port, looking_up


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
