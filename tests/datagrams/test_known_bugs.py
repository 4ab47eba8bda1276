"""What other libraries have got wrong, each once.

The names in the comments are the projects where it was found. More of it is
where it belongs: resuming after an error in test_sending, lone packets in
test_receiving, UDP_SEGMENT with nothing to cut in test_system_calls.
"""

import gc
import itertools
import socket
import threading
from contextlib import nullcontext

import pytest
import trio
from helpers import address_of, received
from needs import needs_error_queue, needs_unix_sockets
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramErrorGroup, Datagrams, DatagramSocket
from triobatch._core.choice import CHUNK_EXTENSION, CORE
from triobatch._queues.views import EXPORTS_LOCK
from triobatch._wire.control import SOL_IP, SOL_UDP, UDP_SEGMENT
from triobatch._wire.error_queue import IP_RECVERR

COUNTS = [0, 1, 2, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 3000]


# libuv, Bun and Erlang: a batch larger than the chunk it is cut into.
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
async def test_a_batch_of_any_count_reaches_three_destinations(
    make_socket, family, count
):
    sender = await make_socket(family)
    receivers = [await make_socket(family) for _ in range(3)]
    names = list(map(address_of, receivers))
    datagrams = [(b"%d" % i, names[(i * 7) % 11 % 3]) for i in range(count)]
    arrived = {name: [] for name in names}
    async with trio.open_nursery() as nursery:

        async def receive(sock):
            while True:
                batch = await sock.receive_batch()
                arrived[address_of(sock)] += [p for p, _ in batch]

        for sock in receivers:
            nursery.start_soon(receive, sock)
        assert await sender.send_batch(datagrams) == count
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for name, payloads in arrived.items():
        assert payloads == [p for p, address in datagrams if address == name]


# wireguard-go, Netty, uvloop: an empty datagram ends a batch, is dropped, or
# makes another one go twice.
@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
@pytest.mark.parametrize(
    "payloads",
    [
        [b""],
        [b"", b""],
        [b"", b"x", b""],
        [b"x", b"", b"x"],
        [b"xx", b"xx", b"", b"xx", b"xx"],
        [b"xx", b"x", b"", b"xx", b"xx", b""],
        [b""] * 130,
    ],
    ids=lambda payloads: "-".join(str(len(p)) for p in payloads[:6]),
)
async def test_an_empty_datagram_is_one_like_the_others(
    make_socket, family, payloads
):
    receiver, sender = await make_socket(family), await make_socket(family)
    target = address_of(receiver)
    for send in (
        lambda: sender.send_batch([(p, target) for p in payloads]),
        lambda: sender.send_many(payloads, target),
    ):
        arrived = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive(arrived=arrived):
                while len(arrived) < len(payloads):
                    batch = await receiver.receive_batch()
                    arrived += [payload for payload, _ in batch]

            assert await send() == len(payloads)
        assert arrived == payloads
    # Messages, too.
    await sender.send_many([b"", b"x"], target)
    messages = []
    while len(messages) < 2:
        messages += await receiver.receive_messages()
    assert [message.payload for message in messages] == [b"", b"x"]


# quinn: equal payloads that add up to more than one datagram may hold.
@pytest.mark.parametrize("size", [1320, 511, 32753, 32754, 65507])
async def test_equal_payloads_of_any_sum_arrive(make_socket, size):
    receiver, sender = await make_socket(), await make_socket()
    count = 130 if size < 2000 else 6
    payloads = [i.to_bytes(2, "big") * (size // 2) for i in range(count)]
    for start in range(0, count, 65):
        some = payloads[start : start + 65]
        await sender.send_many(some, address_of(receiver))
        assert await received(receiver) == some
    assert sender.statistics().gso_refusals == {}
    # envoy, quinn, erlang_quic: trains that are cut off by a slot.
    assert receiver.statistics().truncated == 0


# Netty: every message sent to the last address.
@needs_unix_sockets
@pytest.mark.parametrize("reverse", [False, True])
async def test_names_of_different_lengths_are_told_apart(tmp_path, reverse):
    made = []
    for i in range(20):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(tmp_path / ("n" * (1 + i * 3 % 7) + str(i))))
        sock.setblocking(False)
        made.append(sock)
    if reverse:
        made.reverse()
    plain = trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    async with DatagramSocket(plain) as sender:
        await sender.send_batch(
            (sock.getsockname().encode(), sock.getsockname()) for sock in made
        )
        # A wrong name is refused, and right in the next call: at its head.
        assert sender.statistics().send_calls == 1
    for sock in made:
        with sock:
            assert sock.recv(200).decode() == sock.getsockname()


# Bun: one vanished client raises in a server that has not asked for it.
@needs_error_queue
async def test_reports_are_not_asked_for_unless_wanted(make_socket):
    for family in ("ipv4", "ipv6"):
        plain = await make_socket(family)
        assert plain.socket.getsockopt(SOL_IP, IP_RECVERR) == 0
    asking = await make_socket(error_queue=True)
    assert asking.socket.getsockopt(SOL_IP, IP_RECVERR) == 1


# quinn: a segment size that a probe left behind cuts up every later send.
async def test_no_segment_size_is_left_on_a_socket(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    await sender.send_many([bytes(100)] * 10, address_of(receiver))
    await received(receiver)
    assert sender.socket.getsockopt(SOL_UDP, UDP_SEGMENT) == 0
    await sender.send(bytes(1000), address_of(receiver))
    assert await received(receiver) == [bytes(1000)]


# mailru/easyjson and gocql: a writer that consumes the caller's own list.
async def test_the_callers_lists_stay_as_they_are(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    pairs = [(b"%d" % i, [target, ("127.0.0.1", 0)][i % 2]) for i in range(9)]
    before = pairs.copy()
    with pytest.raises(DatagramErrorGroup):
        await sender.send_batch(pairs)
    assert pairs == before
    for payloads in ([b"x", b"yy", b"z"], [b"aa", b"bb"], [bytearray(2)] * 2):
        before = payloads.copy()
        await sender.send_many(payloads, target)
        assert payloads == before


# asyncio and uvloop: a bytearray that cannot be resized, or is sent changed,
# long after the call has returned.
@pytest.mark.parametrize("end", ["sent", "refused", "cancelled", "broken"])
@pytest.mark.parametrize("method", ["many", "batch", "segments", "send"])
async def test_a_mutable_payload_is_free_after_the_call(
    make_socket, datagram_pair, end, method
):
    payload = bytearray(b"abcdef")
    sender, target = await make_socket(), ("127.0.0.1", 0)
    if end == "sent":
        target = address_of(await make_socket())
    if end == "cancelled":
        sender, target = datagram_pair[0], None
        sender.send_many_nowait([b"filling"] * 1000)
    if end == "broken":
        await sender.aclose()

    async def send():
        try:
            if method == "many":
                await sender.send_many([payload, b"x"], target)
            elif method == "batch":
                await sender.send_batch([(payload, target)])
            elif method == "segments":
                await sender.send_segments(payload, 2, target)
            else:
                await sender.send(payload, target)
        except (DatagramErrorGroup, OSError, trio.ClosedResourceError):
            return
        assert end == "sent"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        if end == "cancelled":
            # The extension has copied what is of one size, mutable or not.
            copied = CORE == "c" and CHUNK_EXTENSION
            copied = copied and method in {"many", "batch"}
            copied = copied or not EXPORTS_LOCK
            with nullcontext() if copied else pytest.raises(BufferError):
                payload.append(0)
        nursery.cancel_scope.cancel()
    # What a traceback has kept in a cycle is not what is asked here.
    gc.collect()
    payload.append(0)


# cffi's own manual shows it: scratch memory that two threads share.
def test_two_event_loops_do_not_meet():
    failures = []

    async def talk(stamp):
        sockets = []
        for _ in range(2):
            sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            await sock.bind(("127.0.0.1", 0))
            sockets.append(DatagramSocket(sock))
        left, right = sockets
        async with left, right:
            target = address_of(right)
            for i in range(150):
                payloads = [stamp + b"%04d" % (i + j) for j in range(60)]
                odd = [p + b"." * (j % 3) for j, p in enumerate(payloads)]
                for sent in (payloads, odd):
                    await left.send_batch(
                        zip(sent, itertools.repeat(target), strict=False)
                    )
                    if await received(right) != sent:
                        failures.append((stamp, i))
                await left.send_many(payloads, target)
                if await received(right) != payloads:
                    failures.append((stamp, i, "many"))

    threads = [
        threading.Thread(target=trio.run, args=(talk, stamp))
        for stamp in (b"a", b"bb", b"ccc")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_a_queue_is_refused_while_it_is_on_its_way(datagram_pair):
    left, right = datagram_pair
    queue = Datagrams([(b"%d" % i, None) for i in range(1000)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, queue)
        await wait_all_tasks_blocked()
        before = len(queue)
        with pytest.raises(trio.BusyResourceError, match="currently sending"):
            await right.send_batch(queue)
        assert len(queue) == before
        nursery.cancel_scope.cancel()
