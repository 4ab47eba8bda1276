"""The twins that do not wait: what goes, what stays, and who says so."""

import errno

import pytest
import trio
from helpers import address_of, received
from needs import needs_metadata
from receive_buffer import needs_room
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramErrorGroup, Datagrams, Metadata

SENDS = {
    "send": lambda sock: sock.send_nowait(b"more"),
    "send_many": lambda sock: sock.send_many_nowait([b"one", b"two!"]),
    "send_many of one size": lambda sock: sock.send_many_nowait([b"x"] * 9),
    "send_segments": lambda sock: sock.send_segments_nowait(b"abc", 1),
    "send_batch": lambda sock: sock.send_batch_nowait(
        Datagrams([(b"x", None)])
    ),
}


@needs_room
@pytest.mark.parametrize("how", ["many", "one size", "segments", "batch"])
@pytest.mark.parametrize("count", [1, 2, 64, 65, 1000])
async def test_what_fits_goes_now(make_socket, how, count):
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    payloads = [b"%06d" % i for i in range(count)]
    if how == "many":
        payloads = [p[: 3 + i % 4] for i, p in enumerate(payloads)]
    if how == "segments":
        sent = sender.send_segments_nowait(b"".join(payloads), 6, target)
    elif how == "batch":
        queue = Datagrams((payload, target) for payload in payloads)
        sent = sender.send_batch_nowait(queue)
        assert not queue
    else:
        sent = sender.send_many_nowait(payloads, target)
    assert sent == count
    assert await received(receiver) == payloads


@pytest.mark.parametrize("how", ["many", "one size", "segments", "batch"])
async def test_what_does_not_fit_is_left(datagram_pair, how):
    left, right = datagram_pair
    payloads = [b"%06d" % i for i in range(1000)]
    if how == "many":
        payloads = [p[: 3 + i % 4] for i, p in enumerate(payloads)]
    queue = Datagrams((payload, None) for payload in payloads)
    if how == "segments":
        sent = left.send_segments_nowait(b"".join(payloads), 6)
    elif how == "batch":
        sent = left.send_batch_nowait(queue)
        assert [payload for payload, _ in queue] == payloads[sent:]
    else:
        sent = left.send_many_nowait(payloads)
    assert 0 < sent < 1000
    assert await received(right) == payloads[:sent]


@pytest.mark.parametrize("how", SENDS)
async def test_a_full_socket_would_block(datagram_pair, how):
    left, right = datagram_pair
    sent = left.send_many_nowait([b"filling"] * 1000)
    with pytest.raises(trio.WouldBlock):
        SENDS[how](left)
    assert len(await received(right)) == sent


@pytest.mark.parametrize("how", SENDS)
async def test_a_task_that_waits_makes_it_busy(datagram_pair, how):
    left, _ = datagram_pair
    left.send_many_nowait([b"filling"] * 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send, b"waiting")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            SENDS[how](left)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", SENDS)
async def test_a_closed_socket_is_told(datagram_pair, how):
    left, _ = datagram_pair
    await left.aclose()
    with pytest.raises(trio.ClosedResourceError):
        SENDS[how](left)


async def test_nothing_is_none_and_does_not_block(datagram_pair):
    left, right = datagram_pair
    left.send_many_nowait([b"filling"] * 1000)
    assert left.send_many_nowait([]) == 0
    assert left.send_segments_nowait(b"", 1) == 0
    assert left.send_batch_nowait(Datagrams()) == 0
    await received(right)
    for method in ("receive", "receive_batch", "receive_messages"):
        with pytest.raises(trio.WouldBlock):
            getattr(right, f"{method}_nowait")()


async def test_a_refusal_is_told_after_the_rest_was_sent(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    queue = Datagrams(
        [(b"a", target), (b"b", ("127.0.0.1", 0)), (b"c", target)]
    )
    with pytest.raises(DatagramErrorGroup) as info:
        sender.send_batch_nowait(queue)
    (error,) = info.value.exceptions
    assert (error.index, error.errno) == (1, errno.EINVAL)
    assert list(queue) == [(b"b", ("127.0.0.1", 0))]
    assert await received(receiver) == [b"a", b"c"]
    with pytest.raises(OSError, match="too long"):
        sender.send_nowait(bytes(65508), target)


@needs_metadata
async def test_metadata_goes_along(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    with pytest.raises(trio.WouldBlock):
        receiver.receive_messages_nowait()
    asked = Metadata(tos=2)
    sender.send_nowait(b"a", target, metadata=asked)
    sender.send_many_nowait([b"b"], target, metadata=asked)
    sender.send_segments_nowait(b"cd", 1, target, metadata=asked)
    sender.send_batch_nowait(Datagrams([(b"e", target)]), metadata=asked)
    messages = []
    while len(messages) < 5:
        messages += receiver.receive_messages_nowait()
    assert [(m.payload, m.metadata.ecn) for m in messages] == [
        (payload, 2) for payload in (b"a", b"b", b"c", b"d", b"e")
    ]
