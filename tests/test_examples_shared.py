"""The examples of libraries over triobatch, each with what proves it."""

from __future__ import annotations

import http.server
import importlib
import re
import threading
from contextlib import suppress

import pytest
import trio
from programs import EXAMPLES, run
from trio.testing import MockClock

import triobatch

pytest.importorskip("hypercorn")
pytest.importorskip("trio_websocket")
pytest.importorskip("httpx")

NAMES = [
    "hypercorn_app.py",
    "hypercorn_http3.py",
    "httpx_client.py",
    "websocket_broadcast.py",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_uses_public_names(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    # Between what it imports and how it behaves as a program.
    _, _, shown = text.partition("pip install 'triobatch[examples]'\")\n")
    shown, _, _ = shown.partition('if __name__ == "__main__":')
    assert 30 < len(shown.strip().splitlines()) <= 60
    assert not re.search(r"\._[a-z]", text)


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("tls",)], ids=["plain", "tls"])
def test_a_broadcast_reaches_all_websockets(how):
    done = run("websocket_broadcast.py", 300, *how)
    assert done.stdout == "300 clients were greeted\n", done.stderr


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_failed_handshakes_end_no_server_and_are_not_kept(
    monkeypatch, tls, encrypted
):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("websocket_broadcast")
    client, server = tls

    async def main():
        start = trio.current_time()
        listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        if encrypted:
            listeners = [trio.SSLListener(one, server) for one in listeners]

        async def connect():
            return await trio.open_tcp_stream("127.0.0.1", port)

        sharing = triobatch.open_shared_listeners(listeners)
        async with sharing as shared, trio.open_nursery() as nursery:
            nursery.start_soon(
                trio.serve_listeners, example.serve_client, shared
            )
            nursery.cancel_scope.deadline = trio.current_time() + 60
            ended = [await connect() for _ in range(8)]
            sent = [b"", b"\0garbage\r\n\r\n", HANDSHAKE[:60]]
            sent += [b"POST / HTTP/1.0\r\n\r\n"]
            for peer, data in zip(ended, sent * 2, strict=False):
                await peer.send_all(data)
            for peer in ended[:4]:
                await peer.aclose()
            # The others stay, and are closed.
            for peer in ended[4:]:
                with suppress(trio.BrokenResourceError):
                    while await peer.receive_some():
                        pass
                await peer.aclose()
            peer = await connect()
            if encrypted:
                peer = trio.SSLStream(
                    peer, client, server_hostname="localhost"
                )
            await peer.send_all(HANDSHAKE)
            assert b"101" in await peer.receive_some()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer)
        assert trio.current_time() < start + 60

    trio.run(main, clock=MockClock(autojump_threshold=0.2))


def test_hypercorn_sends_a_reply_in_a_few_calls():
    done = run("hypercorn_app.py")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["HTTP/1.1", "HTTP/2"]
    for line in lines:
        # The handshake and the settings are among them.
        assert int(re.search(r"send_calls=(\d+)", line)[1]) <= 6


def test_a_reply_over_http_3_leaves_in_a_few_calls():
    pytest.importorskip("aioquic")
    done = run("hypercorn_http3.py")
    found = re.fullmatch(r"HTTP/3 (\d+) datagrams, (\d+) calls\n", done.stdout)
    assert found, done.stderr
    # A packet for each of 64 pieces, and the handshake.
    assert int(found[1]) >= 64
    assert int(found[2]) <= 12


def test_httpx_gets_a_document(tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def log_message(self, *_):
            pass

    (tmp_path / "document").write_bytes(bytes(100_000))
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        done = run("httpx_client.py", f"http://127.0.0.1:{port}/document")
        server.shutdown()
        thread.join()
    assert done.stdout == "200 100000 bytes\n", done.stderr
