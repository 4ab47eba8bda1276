"""The servers of the documentation, and peers who do as they please.

Whoever copies a server from a page opens it to strangers. What a stranger
does ends that connection, and never the server.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import struct

import pytest
import trio
from sample_files import import_sample

import triobatch

# The server, and which of its functions serves a stream.
HANDLERS = [
    ("tutorial/chat_4.py", "talk"),
    ("tutorial/chat_5.py", "talk"),
    ("tutorial/chat_6.py", "talk"),
    ("how_to/http_server.py", "serve_requests"),
    ("how_to/shutdown.py", "answer"),
    ("how_to/tls_server.py", "talk"),
    ("how_to/stop_at_once.py", "answer"),
    ("how_to/metrics_page.py", "serve_page"),
    ("programs/reverse_proxy.py", "hand_on"),
    ("programs/downloader.py", "serve_file"),
]

# What is said before the connection ends, or breaks.
SAID = [
    b"",
    b"half a line",
    b"\n",
    b"\xff\xfe\n",
    b"shout\nhello\n",
    b"from here\n",
    b"from -1\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"x" * 100_000,
    b"a line\n" * 5,
]


@pytest.fixture
def shared_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    with path.open("rb") as file:
        yield file


def reset(stream):
    """Let the connection break when it is closed."""
    stream.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


async def connected():
    listener, *_ = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        address = listener.socket.getsockname()
        client = await triobatch.open_tcp_stream(*address)
        return client, await listener.accept()


async def echo(stream):
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def be_rude(client, said, how):
    async with client:
        try:
            await client.send_all(said)
            if how == "listens":
                await client.send_eof()
                async for _ in client:
                    pass
        except trio.BrokenResourceError:
            return  # it was shown the door
        if how == "resets":
            await trio.testing.wait_all_tasks_blocked()
            reset(client)


@pytest.mark.parametrize("how", ["closes", "resets", "listens"])
@pytest.mark.parametrize(("name", "handler"), HANDLERS)
async def test_a_rude_peer_ends_its_connection_only(
    shared_file, name, handler, how
):
    module = import_sample(name)
    handle = getattr(module, handler)
    if name == "programs/downloader.py":
        handle = functools.partial(handle, shared_file)
    let_out = {}

    async def serve(said):
        client, stream = await connected()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(be_rude, client, said, how)
            try:
                await handle(stream)
            except Exception as error:  # noqa: BLE001 (any is one too many)
                let_out[said[:20]] = error
            await stream.aclose()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            if name == "programs/reverse_proxy.py":
                listeners = await nursery.start(trio.serve_tcp, echo, 0)
                port = listeners[0].socket.getsockname()[1]
                module.services[b"shout"] = [port]
            async with trio.open_nursery() as peers:
                for said in SAID:
                    peers.start_soon(serve, said)
            nursery.cancel_scope.cancel()
    assert let_out == {}


@pytest.mark.parametrize("how", ["closes", "resets", "listens"])
async def test_the_broker_outlives_rude_peers(how):
    broker = import_sample("programs/broker.py").Broker()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                triobatch.serve_tcp_batches, broker.handle, 0
            )
            address = "127.0.0.1", listeners[0].socket.getsockname()[1]
            for said in SAID:
                client = await triobatch.open_tcp_stream(*address)
                await be_rude(client, said, how)
            async with await triobatch.open_tcp_stream(*address) as polite:
                await polite.send_all(b"pub nobody hears\nsub weather\n")
                assert await polite.receive_some()
                assert list(broker._subscribers) == [b"weather"]
            nursery.cancel_scope.cancel()


async def test_a_chat_that_closes_tells_all_beside_one_who_has_left():
    chat = import_sample("tutorial/chat_6.py")
    near, far = trio.socket.socketpair()
    async with triobatch.open_shared_stream(
        triobatch.BatchSocketStream(near)
    ) as left:
        pass
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(chat.serve, 0)
            async with await triobatch.open_tcp_stream(
                "127.0.0.1", port
            ) as ann:
                reader = triobatch.BufferedReceiveStream(ann)
                await ann.send_all(b"ann\n")
                for _ in range(2):
                    await reader.receive_until(b"\n", 100)
                chat.clients.add(left)
                signal.raise_signal(signal.SIGTERM)
                heard = await reader.receive_until(b"\n", 100)
                assert heard == b"The room is closing.\n"
    await left.aclose()
    far.close()


async def test_the_proxy_drops_what_stands_still_and_not_what_is_slow(
    autojump_clock,
):
    proxy = import_sample("programs/reverse_proxy.py")
    client, stream = await connected()
    async with stream, client, trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        proxy.services[b"shout"] = [listeners[0].socket.getsockname()[1]]
        async with trio.open_nursery() as handing_on:
            handing_on.start_soon(proxy.hand_on, stream)
            await client.send_all(b"shout\n")
            for _ in range(10):
                await trio.sleep(0.9 * proxy.IDLE)
                await client.send_all(b"x")
                assert await client.receive_some() == b"x"
            start = trio.current_time()
        assert proxy.IDLE <= trio.current_time() - start <= 2 * proxy.IDLE
        nursery.cancel_scope.cancel()


async def test_a_reset_is_told_once_to_whoever_asks_first():
    """As the page about errors has it."""
    client, stream = await connected()
    async with stream:
        async with client:
            await stream.send_all(b"what it does not read")
            reset(client)
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"more")
        assert await stream.receive_some() == b""


@pytest.mark.parametrize("size", [0, 1, 3, 5, 65507])
async def test_a_game_ignores_what_is_no_move(size):
    sample = import_sample("programs/game.py")
    game = sample.Game(None)
    game.move(bytes(size), ("127.0.0.1", 9))
    assert game.players == {}


async def test_a_game_has_no_more_players_than_fit():
    sample = import_sample("programs/game.py")
    game = sample.Game(None)
    for number in range(sample.MOST_PLAYERS + 1):
        for _ in range(3):
            game.move(sample.MOVE.pack(32767, -32768), ("127.0.0.1", number))
    assert len(game.players) == sample.MOST_PLAYERS
    state = [(player.x, player.y) for player in game.players.values()]
    assert len(b"".join(sample.MOVE.pack(*one) for one in state)) < 1400


@pytest.mark.parametrize(
    "line", [b"", b":", b"a:|c", b"a:1|g", b"a:\xb2|c", b"a:" + b"9" * 5000]
)
def test_a_collector_counts_what_is_malformed(line):
    collector = import_sample("programs/statsd.py").Collector()
    collector.count(line + b"|c" * (len(line) > 100))
    assert collector.malformed == 1
    assert not collector.counts
