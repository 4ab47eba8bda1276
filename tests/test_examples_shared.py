"""The examples of libraries over triobatch, each with what proves it."""

from __future__ import annotations

import http.server
import re
import threading

import pytest
from programs import EXAMPLES, run

pytest.importorskip("hypercorn")
pytest.importorskip("trio_websocket")
pytest.importorskip("httpx")

NAMES = ["hypercorn_app.py", "httpx_client.py", "websocket_broadcast.py"]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_uses_public_names(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert not re.search(r"\._[a-z]", text)


@pytest.mark.parametrize("how", [(), ("tls",)], ids=["plain", "tls"])
def test_a_broadcast_reaches_all_websockets(how):
    done = run("websocket_broadcast.py", 300, *how)
    assert done.stdout == "300 clients were greeted\n", done.stderr


def test_hypercorn_sends_a_reply_in_a_few_calls():
    done = run("hypercorn_app.py")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["HTTP/1.1", "HTTP/2"]
    for line in lines:
        # The handshake and the settings are among them.
        assert int(re.search(r"send_calls=(\d+)", line)[1]) <= 6


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
