"""Batches whose datagrams have metadata of their own."""

import pytest
import trio
from helpers import address_of, received
from hypothesis import given
from hypothesis import strategies as st
from needs import needs_metadata

from triobatch import Datagrams, Metadata, lowlevel
from triobatch._datagrams.gso import Limit
from triobatch._datagrams.mixed_dispatch import plan

A, B = b"peer a", b"peer b"
ONE, TWO = ((0, 1, b"1"),), ((0, 1, b"2"),)


@pytest.fixture
async def hosts(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    # So that all of the options are on before the first datagram comes.
    receiver._receive.messages(None)
    return sender, receiver


async def arrived(sock):
    """Return ``(payload, tos)`` of what has come."""
    found = []
    try:
        while True:
            found += [
                (message.payload, message.metadata.tos)
                for message in sock.receive_messages_nowait()
            ]
    except trio.WouldBlock:
        return found


def test_a_run_ends_where_the_metadata_change():
    messages = plan([9] * 5, [A] * 5, [ONE, ONE, TWO, TWO, ()], limit)
    assert messages == (
        [18, 18, 9],
        [9, 9, 0],
        [2, 2, 1],
        [A] * 3,
        [ONE, TWO, ()],
    )


def limit(_peer):
    return Limit(64)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([A, B]),
            st.sampled_from([(), ONE, TWO]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_the_messages_are_the_datagrams_in_order(datagrams):
    sizes, peers, controls = map(list, zip(*datagrams, strict=True))
    messages = plan(sizes, peers, controls, limit)
    at = 0
    for size, _, count, peer, control in zip(*messages, strict=True):
        end = at + count
        assert sum(sizes[at:end]) == size
        assert set(peers[at:end]) == {peer}
        assert set(controls[at:end]) == {control}
        at = end
    assert at == len(sizes)


@needs_metadata
async def test_each_datagram_has_its_own_metadata(hosts):
    sender, receiver = hosts
    to = address_of(receiver)
    batch = [
        (b"a", to, Metadata(tos=4)),
        (b"b", to),
        (b"c", to, Metadata(tos=8)),
        (b"", to, Metadata(tos=12)),
        (b"d", to, None),
    ]
    assert await sender.send_batch(batch, metadata=Metadata(tos=16)) == 5
    assert await arrived(receiver) == [
        (b"a", 4),
        (b"b", 16),
        (b"c", 8),
        (b"", 12),
        (b"d", 16),
    ]
    assert sender.send_batch_nowait(Datagrams(batch)) == 5
    assert await arrived(receiver) == [
        (b"a", 4),
        (b"b", 0),
        (b"c", 8),
        (b"", 12),
        (b"d", 0),
    ]


@needs_metadata
async def test_equal_metadata_side_by_side_make_a_run(hosts):
    sender, receiver = hosts
    to = address_of(receiver)
    four, eight = Metadata(tos=4), Metadata(tos=8)
    await sender.send_batch(
        [(b"%02d" % i, to, four if i < 20 else eight) for i in range(40)]
    )
    statistics = sender.statistics()
    assert (statistics.gso_runs, statistics.send_calls) == (2, 1)
    assert await arrived(receiver) == [
        (b"%02d" % i, 4 if i < 20 else 8) for i in range(40)
    ]


@needs_metadata
async def test_a_long_batch_keeps_each_datagram_with_its_metadata(hosts):
    sender, receiver = hosts
    to = address_of(receiver)
    batch = [(b"%03d" % i, to, Metadata(tos=i % 64 * 4)) for i in range(200)]
    await sender.send_batch(batch)
    assert await arrived(receiver) == [
        (payload, metadata.tos) for payload, _, metadata in batch
    ]


@needs_metadata
async def test_the_refused_are_left_with_their_metadata(hosts):
    sender, receiver = hosts
    to, nowhere = address_of(receiver), ("127.0.0.1", 0)
    four = Metadata(tos=4)
    queue = Datagrams(
        [(b"a", nowhere, four), (b"b", to, four), (b"c", nowhere), (b"d", to)]
    )
    with pytest.RaisesGroup(OSError, OSError) as group:
        await sender.send_batch(queue)
    assert list(queue) == [(b"a", nowhere, four), (b"c", nowhere)]
    errors = group.value.exceptions
    assert [error.index for error in errors] == [0, 2]
    assert [error.address for error in errors] == [nowhere, nowhere]
    assert await arrived(receiver) == [(b"b", 4), (b"d", 0)]


@needs_metadata
async def test_a_row_of_refused_ones_keeps_the_metadata_of_the_rest(
    hosts,
):
    # Behind the second, each has a call of its own.
    sender, receiver = hosts
    to, nowhere = address_of(receiver), ("127.0.0.1", 0)
    batch = [
        (b"%02d" % i, nowhere if i % 3 else to, Metadata(tos=i * 4))
        for i in range(60)
    ]
    assert await sender.send_batch(batch, errors="ignore") == 20
    assert sorted(await arrived(receiver)) == [
        (b"%02d" % i, i * 4) for i in range(0, 60, 3)
    ]


@needs_metadata
async def test_a_run_that_is_refused_goes_again_with_its_metadata(hosts, play):
    sender, receiver = hosts
    to = address_of(receiver)
    play(sender, ["EIO"])
    batch = [(b"xx", to, Metadata(tos=4))] * 3
    await sender.send_batch([*batch, (b"yy", to)])
    assert sender.statistics().gso_refusals == {"EIO": 1}
    assert await arrived(receiver) == [(b"xx", 4)] * 3 + [(b"yy", 0)]


@needs_metadata
async def test_sorting_by_destination_keeps_the_metadata(make_socket, hosts):
    sender, near = hosts
    far = await make_socket()
    far._receive.messages(None)
    peers = [address_of(near), address_of(far)]
    batch = [
        (b"%02d" % i, peers[i % 2], Metadata(tos=i // 10 * 4))
        for i in range(40)
    ]
    await sender.send_batch(batch)
    for parity, sock in enumerate((near, far)):
        assert await arrived(sock) == [
            (payload, metadata.tos)
            for payload, _, metadata in batch[parity::2]
        ]


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        (Metadata(tos=256), ValueError, "datagram 1: tos must be in 0..255"),
        (Metadata(ttl="x"), TypeError, "datagram 1: .*"),
        (Metadata(local_address="::1"), ValueError, "datagram 1: local_add"),
    ],
)
async def test_impossible_metadata_send_nothing(
    hosts, metadata, error, message
):
    sender, receiver = hosts
    to = address_of(receiver)
    queue = Datagrams([(b"a", to), (b"b", to, metadata)])
    with pytest.raises(error, match=message):
        await sender.send_batch(queue)
    with pytest.raises(error, match=message):
        sender.send_batch_nowait(queue)
    assert len(queue) == 2
    assert await received(receiver) == []


@needs_metadata
async def test_an_address_that_is_none_is_told_by_its_index(hosts):
    sender, receiver = hosts
    four = Metadata(tos=4)
    with pytest.raises(ValueError, match="datagram 1: the host"):
        await sender.send_batch(
            [(b"a", address_of(receiver), four), (b"b", ("name", 1), four)]
        )


@needs_metadata
async def test_the_call_itself_takes_metadata_too(hosts):
    sender, receiver = hosts
    to = address_of(receiver)
    fd = sender.socket.fileno()
    batch = [(b"a", to, Metadata(tos=4)), (b"b", to)]
    assert lowlevel.sendmmsg(fd, batch) == 2
    assert await arrived(receiver) == [(b"a", 4), (b"b", 0)]
