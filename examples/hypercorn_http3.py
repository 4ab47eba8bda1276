"""ASGI over HTTP/3: Hypercorn's protocol, on batches of datagrams."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

import trio

import triobatch

try:
    import trustme
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.quic.configuration import QuicConfiguration
    from hypercorn.config import Config
    from hypercorn.events import RawData
    from hypercorn.protocol.quic import QuicProtocol
    from hypercorn.trio.task_group import TaskGroup
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import ConnectionState
    from hypercorn.utils import wrap_app
    from quic_endpoint import Connection, Endpoint
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")

PIECES = [b"piece %d\n" % number for number in range(64)]


async def serve(sock: triobatch.DatagramSocket, config: Config) -> None:
    """Serve for ever, as ``UDPServer`` does, which opens its own socket."""
    sending = triobatch.open_batch_sender(sock)
    async with sending as sender, TaskGroup() as tasks:

        async def application(scope: Any, receive: Any, answer: Any) -> None:
            with sender.corked():  # Short: it holds back all clients.
                await answer({"type": "http.response.start", "status": 200})
                for body in [*PIECES, b""]:
                    more = {"body": body, "more_body": body != b""}
                    await answer({"type": "http.response.body", **more})

        async def send(event: Any) -> None:
            await sender.queue(event.data, event.address)

        app, worker = wrap_app(application, 2**16, "asgi"), WorkerContext(None)
        at, state = sock.socket.getsockname(), ConnectionState({})
        quic = QuicProtocol(app, config, worker, tasks, state, at, send)
        while True:
            for data, address in await sock.receive_batch():
                await quic.handle(RawData(data, address))  # type: ignore[arg-type]


class Client(Connection):
    """Asks once, and keeps the answer."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.http, self.body, self.ended = H3Connection(self.quic), b"", False

    def take(self, event: Any) -> None:
        """Keep what has come."""
        for part in self.http.handle_event(event):
            self.body += getattr(part, "data", b"")
            self.ended |= getattr(part, "stream_ended", False)


async def main(config: Config, trusted: QuicConfiguration) -> Any:
    """Serve, ask, and return what it took."""
    local = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    at = local.socket.getsockname()
    remote = await triobatch.open_udp_socket(remote_address=at)
    async with local, remote, trio.open_nursery() as nursery:
        nursery.start_soon(serve, local, config)
        endpoint = Endpoint(remote, Client)
        nursery.start_soon(endpoint.run)
        client = endpoint.connect(trusted, at)
        await client.wait(lambda: client.is_established)
        words = b":method GET :scheme https :authority me :path /".split()
        headers = [*zip(words[::2], words[1::2], strict=True)]
        stream = client.quic.get_next_available_stream_id()
        client.http.send_headers(stream, headers, end_stream=True)
        client.touch()
        assert await client.wait(lambda: client.ended), client.reason
        assert client.body == b"".join(PIECES)
        nursery.cancel_scope.cancel()
    return local.statistics()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    authority = trustme.CA()
    trusted = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name="127.0.0.1"
    )
    trusted.load_verify_locations(cadata=authority.cert_pem.bytes())
    issued = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    with issued.tempfile() as path:
        config = Config()
        config.certfile = config.keyfile = path
        done = trio.run(main, config, trusted)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(f"HTTP/3 {done.datagrams_sent} datagrams, {done.send_calls} calls")
