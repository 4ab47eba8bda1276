"""The C core's calls on datagram sockets, beside the Python core's."""

import errno
import os
import socket
import sys

import extensions
import pytest

from triobatch._core import datagrams_python
from triobatch._core.arena import Arena
from triobatch._wire import control
from triobatch._wire.addresses import encode_address
from triobatch._wire.control import pack_control
from triobatch._wire.metadata import IP_RECVTTL

CORES = {"python": datagrams_python}
datagrams_c = extensions.find("triobatch._core.datagrams_c", extensions.C_CORE)
if datagrams_c is not None:
    CORES["c"] = datagrams_c


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]


needs_sendmsg = pytest.mark.skipif(
    not hasattr(socket.socket, "sendmsg"), reason="needs sendmsg"
)
needs_c = pytest.mark.skipif(datagrams_c is None, reason="needs the C core")


@pytest.fixture
def hosts():
    """A socket, and two to send to."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "abc"]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    yield socks
    for sock in socks:
        sock.close()


def peer_of(sock):
    return encode_address(sock.getsockname())


def received(sock):
    try:
        return sock.recv(99)
    except BlockingIOError:
        return None


@pytest.mark.parametrize(
    ("sizes", "sent"),
    [
        ([], 0),
        ([6], 1),
        ([7], None),
        ([0, 6, 0], 3),
        ([2, 4], 2),
        ([2, 5], None),
        ([6, 1], None),
        # As sums of 32 bits these would be 0 and 6.
        ([6, 2**32 - 6], None),
        ([2**31, 2**31, 6], None),
        ([2**32 - 1, 7], None),
        # What is not offered is not looked at.
        ([0] * 64 + [7], 64),
    ],
)
def test_a_message_lies_within_the_payload(core, hosts, sizes, sent):
    sender, near, _ = hosts
    arguments = (
        sender.fileno(),
        b"abcdef",
        sizes,
        [0] * len(sizes),
        [peer_of(near)],
    )
    if sent is not None:
        assert core.send_datagrams(*arguments) == sent
    else:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            core.send_datagrams(*arguments)
        assert received(near) is None


def test_a_view_has_the_size_of_its_bytes(core, hosts):
    sender, near, _ = hosts
    data = memoryview(b"abcdef")[2:5]
    arguments = [0], [peer_of(near)]
    assert core.send_datagrams(sender.fileno(), data, [3], *arguments) == 1
    assert received(near) == b"cde"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        core.send_datagrams(sender.fileno(), data, [4], *arguments)


@needs_sendmsg
@pytest.mark.parametrize("connected", [False, True])
def test_runs_are_sent_from_where_they_lie(core, hosts, connected):
    sender, near, _ = hosts
    peer = peer_of(near)
    if connected:
        sender.connect(near.getsockname())
        peer = b""
    memory = bytearray(b"..ab..cde..")
    view = memoryview(memory)
    runs = [view[2:4], b"", view[6:9], b"f"]
    arguments = [0, 0, 2, 0], peer
    sent = core.send_runs(sender.fileno(), runs, *arguments)
    assert sent == 4
    pieces = [b"ab", b"", b"cd", b"e", b"f"]
    assert [received(near) for _ in pieces] == pieces
    assert received(near) is None
    # No export is left.
    for run in [*runs, view]:
        if type(run) is memoryview:
            run.release()
    memory.append(0)


def test_a_call_takes_so_many_runs_and_no_more(core, hosts):
    sender, near, _ = hosts
    most = core.MAX_MESSAGES
    runs = [b"%d" % i for i in range(most + 5)]
    sizes = [0] * len(runs)
    assert core.send_runs(sender.fileno(), runs, sizes, peer_of(near)) == most
    assert [received(near) for _ in range(most)] == runs[:most]
    assert received(near) is None


@needs_sendmsg
def test_control_messages_go_with_every_run(core, hosts):
    sender, near, _ = hosts
    near.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    ttl = control.SOL_IP, socket.IP_TTL, (7).to_bytes(4, sys.byteorder)
    arguments = [b"a", b"bc"], [0, 1], peer_of(near), (ttl,)
    assert core.send_runs(sender.fileno(), *arguments) == 2
    for expected in b"a", b"b", b"c":
        data, [(_, _, number)], _, _ = near.recvmsg(9, 99)
        assert (data, int.from_bytes(number, sys.byteorder)) == (expected, 7)
    too_much = (ttl,) * 9
    if core is not datagrams_python:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            core.send_runs(sender.fileno(), *arguments[:3], too_much)


@pytest.mark.parametrize("count", [2, 4])
def test_there_is_one_peer_for_all_or_one_for_each(core, hosts, count):
    sender, near, far = hosts
    peers = [peer_of(far), *[peer_of(near)] * (count - 1)]
    arguments = sender.fileno(), b"abc", [1] * 3, [0] * 3, peers
    if count < 3:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            core.send_datagrams(*arguments)
        assert received(far) is None
    else:
        assert core.send_datagrams(*arguments) == 3
        assert [received(sock) for sock in (far, near, near)] == [
            b"a",
            b"b",
            b"c",
        ]


@needs_c
@pytest.mark.parametrize(
    ("missing", "name_sizes", "expected"),
    [
        (0, [16, 16], 2),
        (1, [16, 16], -errno.EINVAL),
        (17, [16, 16], -errno.EINVAL),
        (0, [16, 17], -errno.EINVAL),
        (0, [16, 2**32 - 16], -errno.EINVAL),
        (16, [16], 2),
        (17, [16], -errno.EINVAL),
        # A name beyond those of the messages is not looked at.
        (0, [16, 16, 1], 2),
    ],
)
def test_a_name_lies_within_the_names(hosts, missing, name_sizes, expected):
    sender, near, _ = hosts
    names = peer_of(near) * 2
    sent = datagrams_c.lib.tb_send_datagrams(
        sender.fileno(),
        b"ab",
        2,
        [1, 1],
        [0, 0],
        2,
        names,
        len(names) - missing,
        name_sizes,
        len(name_sizes),
        b"",
        0,
        [],
        0,
    )
    assert sent == expected
    arrived = [received(near), received(near)]
    assert arrived == ([b"a", b"b"] if expected > 0 else [None, None])


@needs_c
@pytest.mark.parametrize(
    ("controls_size", "control_sizes", "expected"),
    [
        (48, [24, 24], 2),
        (47, [24, 24], -errno.EINVAL),
        (48, [24, 25], -errno.EINVAL),
        (48, [24, 2**32 - 24], -errno.EINVAL),
        (24, [24], 2),
        (23, [24], -errno.EINVAL),
        (24, [0, 24], 2),
        (0, [], 2),
        # More than there is room for beside a segment size.
        (192, [168], -errno.EINVAL),
        # One beyond those of the messages is not looked at.
        (48, [24, 24, 1], 2),
    ],
)
def test_control_messages_lie_within_the_controls(
    hosts, controls_size, control_sizes, expected
):
    sender, near, _ = hosts
    controls = pack_control(((0, 1, bytes(4)),)) * 8
    name = peer_of(near)
    sent = datagrams_c.lib.tb_send_datagrams(
        sender.fileno(),
        b"ab",
        2,
        [1, 1],
        [0, 0],
        2,
        name,
        len(name),
        [len(name)],
        1,
        controls,
        controls_size,
        control_sizes,
        len(control_sizes),
    )
    assert sent == expected
    arrived = [received(near), received(near)]
    assert arrived == ([b"a", b"b"] if expected > 0 else [None, None])


@needs_c
def test_both_cores_know_the_same_numbers():
    lib = datagrams_c.lib
    assert lib.TB_SOL_UDP == control.SOL_UDP
    assert lib.TB_UDP_SEGMENT == control.UDP_SEGMENT
    assert lib.TB_UDP_GRO == control.UDP_GRO
    assert datagrams_c.MAX_MESSAGES == datagrams_python.MAX_MESSAGES


@pytest.mark.parametrize("connected", [False, True])
def test_one_datagram_is_sent(core, hosts, connected):
    sender, near, _ = hosts
    peer = peer_of(near)
    if connected:
        sender.connect(near.getsockname())
        peer = b""
    core.send_datagram(sender.fileno(), b"x", peer)
    assert received(near) == b"x"


@pytest.mark.parametrize("call", ["datagram", "segments", "runs", "many"])
def test_the_first_that_is_refused_says_why(core, hosts, call):
    sender, *_ = hosts
    fd, nowhere = sender.fileno(), encode_address(("127.0.0.1", 0))
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        {
            "datagram": lambda: core.send_datagram(fd, b"x", nowhere),
            "segments": lambda: core.send_segments(fd, b"xy", 1, 1, nowhere),
            "runs": lambda: core.send_runs(fd, [b"x"], [0], nowhere),
            "many": lambda: core.send_datagrams(
                fd, b"xy", [1, 1], [0, 0], [nowhere]
            ),
        }[call]()


def test_segments_of_a_view_let_go_of_it(core, hosts):
    sender, near, _ = hosts
    data = bytearray(b"abcde")
    view = memoryview(data)
    assert core.send_segments(sender.fileno(), view, 2, 2, peer_of(near)) == 5
    assert [received(near) for _ in "abc"] == [b"ab", b"cd", b"e"]
    view.release()
    data.append(0)


def test_a_run_behind_the_first_that_is_refused_keeps_the_count(core, hosts):
    sender, near, _ = hosts
    runs = [b"a", bytes(70_000), b"b"]
    sent = core.send_runs(sender.fileno(), runs, [0] * 3, peer_of(near))
    assert sent == 1
    assert received(near) == b"a"
    assert received(near) is None


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux says")
@pytest.mark.parametrize(
    ("own", "host", "number"),
    [
        ("AF_INET6", "127.0.0.1", None),
        ("AF_INET6", "::1", None),
        ("AF_INET", "::1", errno.EAFNOSUPPORT),
        ("AF_UNIX", "127.0.0.1", errno.EINVAL),
    ],
)
def test_a_peer_of_another_family_is_told_as_linux_does(
    core, own, host, number
):
    there = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(there, socket.SOCK_DGRAM) as near,
        socket.socket(getattr(socket, own), socket.SOCK_DGRAM) as sender,
    ):
        near.bind((host, 0))
        near.setblocking(False)
        peer = encode_address((host, near.getsockname()[1]))
        if number is None:
            core.send_datagram(sender.fileno(), b"x", peer)
            assert received(near) == b"x"
            return
        with pytest.raises(OSError, match=os.strerror(number)):
            core.send_datagram(sender.fileno(), b"x", peer)
        assert received(near) is None


def test_what_has_come_is_received_and_then_nothing(core, hosts):
    near, sender, _ = hosts
    arena = Arena(4, socket.AF_INET)
    assert core.receive_datagrams(near.fileno(), arena, 4) == 0
    for payload in (b"a", b"", b"ccc"):
        sender.sendto(payload, near.getsockname())
    assert core.receive_datagrams(near.fileno(), arena, 2) == 2
    assert list(arena.sizes[:2]) == [1, 0]
    assert core.receive_datagrams(near.fileno(), arena, 4) == 1
    assert arena.memory[:3] == b"ccc"
    assert arena.name(0) == peer_of(sender)


def test_a_descriptor_that_is_closed_receives_nothing(core, hosts):
    near, *_ = hosts
    closed = near.fileno()
    near.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        core.receive_datagrams(closed, Arena(1, socket.AF_INET), 1)


def test_memory_is_lent_for_as_long_as_it_takes(core, hosts):
    near, sender, _ = hosts
    arena = Arena(2, socket.AF_INET, memory=bytearray())
    for size in (2, 3):
        memory = bytearray(2 * size)
        for payload in (b"xy", b"z"):
            sender.sendto(payload, near.getsockname())
        lent, slots = core.lend(arena, memory, size)
        assert slots == 2
        assert core.receive_datagrams(near.fileno(), arena, 2) == 2
        core.take_back(arena, lent)
        assert memory == b"xy".ljust(size, b"\0") + b"z".ljust(size, b"\0")
        # Nothing exports it any more.
        del lent
        memory.append(0)
