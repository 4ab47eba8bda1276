"""Numbers that C cannot hold, and objects of another kind: told at once."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from needs import needs_unix_sockets

import triobatch
from triobatch import BufferedReceiveStream, Datagrams, lowlevel
from triobatch.testing import scripted_calls

# One more than each integer of C, and much more.
TOO_LARGE = (2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30)


@pytest.mark.parametrize("limit", TOO_LARGE)
async def test_as_much_as_there_is_of_datagrams(limit, datagram_pair):
    left, right = datagram_pair
    for receive in (
        right.receive_batch,
        right.receive_messages,
        right.batches(limit).__anext__,
    ):
        await left.send(b"one")
        with trio.fail_after(60):
            args = () if receive.__name__ == "__anext__" else (limit,)
            [datagram] = await receive(*args)
        assert datagram[0] == b"one"
    await left.send_many([b"two", b"three"])
    assert len(right.receive_batch_nowait(limit)) == 2
    with pytest.raises(trio.WouldBlock):
        right.receive_batch_nowait(limit)
    with pytest.raises(trio.WouldBlock):
        right.receive_messages_nowait(limit)


@pytest.mark.parametrize("size", TOO_LARGE)
async def test_as_much_as_there_is_of_runs(size, datagram_pair):
    left, right = datagram_pair
    await left.send(b"one")
    async with right.receive_runs(size) as runs:
        assert [bytes(run.data) for run in runs] == [b"one"]
    await left.send(b"two")
    with right.receive_runs_nowait(size) as runs:
        assert [bytes(run.data) for run in runs] == [b"two"]


@pytest.mark.parametrize("count", TOO_LARGE)
async def test_as_many_streams_as_are_ready(count, pair):
    left, right = pair
    async with triobatch.open_stream_group() as group:
        group.add(left)
        await right.send_all(b"one")
        with trio.fail_after(60):
            assert await group.receive_batch(count) == [(left, b"one")]


@pytest.mark.parametrize("size", TOO_LARGE[3:])
async def test_as_many_bytes_as_one_call_brings(size, pair):
    left, right = pair
    for stream in (right, BufferedReceiveStream(right)):
        await left.send_all(b"one")
        # Memory for 2 GiB is asked for, and may not be there.
        try:
            assert await stream.receive_some(size) == b"one"
        except MemoryError:
            assert await stream.receive_some(3) == b"one"


@pytest.mark.parametrize("backlog", [-(10**30), -1, *TOO_LARGE])
async def test_a_backlog_is_cut_to_what_there_can_be(backlog, tmp_path):
    path = tmp_path / "socket"
    if hasattr(socket, "AF_UNIX"):
        async with await triobatch.open_unix_listener(path, backlog=backlog):
            assert path.exists()
    for listener in await triobatch.open_tcp_listeners(
        0, host="127.0.0.1", backlog=backlog
    ):
        await listener.aclose()


async def test_a_backlog_is_an_integer(tmp_path):
    with pytest.raises(TypeError, match="backlog must be an int or None"):
        await triobatch.open_unix_listener(tmp_path / "socket", backlog="5")
    assert os.listdir(tmp_path) == []


@needs_unix_sockets
@pytest.mark.parametrize("mode", [-1, 0o10000, *TOO_LARGE])
@pytest.mark.parametrize("kind", ["stream", "datagram"])
async def test_a_mode_is_permissions(kind, mode, tmp_path):
    open_one = {
        "stream": triobatch.open_unix_listener,
        "datagram": triobatch.open_unix_datagram_socket,
    }[kind]
    # A name that was left behind stays as it was.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(tmp_path / "socket"))
    with pytest.raises(ValueError, match=r"mode must be in 0\.\.0o7777"):
        await open_one(tmp_path / "socket", mode=mode)
    assert os.listdir(tmp_path) == ["socket"]


@pytest.mark.parametrize(
    "view",
    [memoryview(bytes(64)).cast("B", (8, 8)), memoryview(b"released")],
    ids=["two dimensions", "released"],
)
def test_a_view_is_no_pair_and_no_iterable(view):
    if view.ndim == 1:
        view.release()
    with pytest.raises(TypeError, match="datagram 0 must be a"):
        Datagrams([view])
    with pytest.raises(TypeError, match="datagram 1 must be a"):
        Datagrams([(b"a", None), view])
    with pytest.raises((TypeError, BufferError), match=r"."):
        lowlevel.writev(-1, view)


async def test_only_a_buffered_reader_has_a_proxy_header(pair):
    with pytest.raises(TypeError, match="must be a BufferedReceiveStream"):
        await triobatch.receive_proxy_header(pair[0])


async def test_a_broadcasts_result_is_one(pair):
    with pytest.raises(TypeError, match="result must be a BroadcastResult"):
        await triobatch.broadcast([pair[0]], b"data", result=[])


async def test_only_listeners_are_shared():
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    with pytest.raises(
        TypeError, match="listeners must be of Trio's, not NoneType"
    ):
        async with triobatch.open_shared_listeners([listener, None]):
            pass
    # Those before it are still the caller's.
    assert listener.socket.fileno() != -1
    await listener.aclose()


def test_a_script_is_for_a_socket():
    with (
        pytest.raises(TypeError, match="target must be a stream or a socket"),
        scripted_calls(1.5),
    ):
        pass
