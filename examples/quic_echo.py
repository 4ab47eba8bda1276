r"""QUIC by aioquic on batches of datagrams: a client and a server.

    pip install aioquic trustme
    python examples/quic_echo.py --upload

runs both, with a certificate of this run, and says how fast it went. Or start
them apart, the server with a certificate of its own::

    python examples/quic_echo.py --serve --at 127.0.0.1:4433 \
        --certificate cert.pem --key key.pem
    python examples/quic_echo.py --at localhost:4433 --ca ca.pem

Streams are sent back, or (``--upload``) counted. aioquic grants a peer more as
soon as it has read, so what is sent back is bounded by the peer's patience
alone; a server for everybody counts what it owes.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from echo_server import (
    cancel_on_ctrl_c,
    end_with_the_reader,
    format_address,
    natural,
    parse_host_and_port,
)

import triobatch

try:
    import trustme
    from aioquic.quic import events
    from aioquic.quic.configuration import QuicConfiguration
    from quic_endpoint import Connection, Endpoint
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")

if TYPE_CHECKING:
    from aioquic.quic.connection import QuicConnection

# What a peer may send before it is read, and what is asked for at a time.
WINDOW = 16 << 20
PIECE_SIZE = 1 << 20
RECEIVE_BUFFER = 4 << 20
ECHO, UPLOAD = "echo", "upload"
COUNT = struct.Struct("!Q")


class Echo(Connection):
    """Sends every stream back, or counts it."""

    def __init__(self, quic: QuicConnection, endpoint: Endpoint[Any]) -> None:
        super().__init__(quic, endpoint)
        self._upload = False
        self._counts: dict[int, int] = {}

    def take(self, event: events.QuicEvent) -> None:
        """Answer what has come."""
        if isinstance(event, events.ProtocolNegotiated):
            self._upload = event.alpn_protocol == UPLOAD
        elif isinstance(event, events.StreamReset):
            self._counts.pop(event.stream_id, None)
        if not isinstance(event, events.StreamDataReceived):
            return
        stream, data, end = event.stream_id, event.data, event.end_stream
        if not self._upload:
            self._send(stream, data, end_stream=end)
            return
        self._counts[stream] = self._counts.get(stream, 0) + len(data)
        if end:
            count = COUNT.pack(self._counts.pop(stream))
            self._send(stream, count, end_stream=True)

    def _send(self, stream: int, data: bytes, *, end_stream: bool) -> None:
        # A peer may not want the answer (STOP_SENDING), or not be able to
        # have one (a stream of one direction): RFC 9000, sections 2.1, 3.5.
        with suppress(RuntimeError, ValueError):
            self.quic.send_stream_data(stream, data, end_stream)


class Client(Connection):
    """Sends streams, and keeps what comes back on them."""

    def __init__(self, quic: QuicConnection, endpoint: Endpoint[Any]) -> None:
        super().__init__(quic, endpoint)
        self._answers: dict[int, bytearray] = {}
        self._ended: set[int] = set()

    def take(self, event: events.QuicEvent) -> None:
        """Keep what has come."""
        if not isinstance(event, events.StreamDataReceived):
            return
        # A server may open streams of its own; nobody asked for them.
        if event.stream_id in self._answers:
            self._answers[event.stream_id] += event.data
            if event.end_stream:
                self._ended.add(event.stream_id)

    async def exchange(self, data: bytes) -> bytes:
        """Return what comes back on a stream; ``b""`` if it does not."""
        stream = self.quic.get_next_available_stream_id()
        self._answers[stream] = bytearray()
        self.quic.send_stream_data(stream, data, end_stream=True)
        self.touch()
        whole = await self.wait(lambda: stream in self._ended)
        answer = self._answers.pop(stream)
        return bytes(answer) if whole else b""


def configure(**options: object) -> QuicConfiguration:
    """Return what both sides say, and what one of them says beside."""
    return QuicConfiguration(
        max_data=WINDOW,
        max_stream_data=PIECE_SIZE,
        idle_timeout=10.0,
        **options,  # type: ignore[arg-type]
    )


async def exchange_all(
    client: Client, size: int, streams: int, *, upload: bool
) -> bool:
    """Send so many bytes, some pieces at a time; return if all is well."""
    sizes = [PIECE_SIZE] * (size // PIECE_SIZE)
    right = True

    async def work() -> None:
        nonlocal right
        while sizes:
            data = bytes(sizes.pop())
            expected = COUNT.pack(len(data)) if upload else data
            right &= await client.exchange(data) == expected

    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(work)
    return right


async def ask(
    address: tuple[str, int], ca: bytes, size: int, *, upload: bool
) -> int:
    """Be a client, say how fast it went; return the exit status."""
    configuration = configure(
        is_client=True,
        alpn_protocols=[UPLOAD if upload else ECHO],
        server_name=address[0],
    )
    configuration.load_verify_locations(cadata=ca)
    try:
        sock = await triobatch.open_udp_socket(
            remote_address=address, receive_buffer_size=RECEIVE_BUFFER
        )
    except OSError as error:
        print(f"{format_address(address)}: {error}", file=sys.stderr)
        return 1
    async with sock, trio.open_nursery() as nursery:
        endpoint = Endpoint(sock, Client)
        nursery.start_soon(endpoint.run)
        client = endpoint.connect(configuration, sock.socket.getpeername())
        right = await client.wait(lambda: client.is_established)
        start = trio.current_time()
        right = right and await exchange_all(client, size, 16, upload=upload)
        seconds = trio.current_time() - start
        why = client.reason or "wrong answers"
        await client.aclose()
        nursery.cancel_scope.cancel()
    if not right:
        print(f"{format_address(address)}: {why}", file=sys.stderr)
        return 1
    done = sock.statistics()
    print(
        f"{size:,} bytes {'sent' if upload else 'there and back'}, "
        f"{size / seconds / 1e6:.1f} MB/s: {done.datagrams_sent:,} datagrams "
        f"sent with {done.send_calls:,} system calls, "
        f"{done.datagrams_received:,} received with {done.receive_calls:,}"
    )
    return 0


async def serve(
    address: tuple[str, int],
    configuration: QuicConfiguration,
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a server, for ever."""
    async with await triobatch.open_udp_socket(
        local_address=address, receive_buffer_size=RECEIVE_BUFFER
    ) as sock:
        task_status.started(sock.socket.getsockname()[:2])
        await Endpoint(sock, Echo, configuration).run()


def configure_server(certificate: str, key: str | None) -> QuicConfiguration:
    """Return what a server with this certificate says."""
    configuration = configure(is_client=False, alpn_protocols=[ECHO, UPLOAD])
    configuration.load_cert_chain(certificate, key or certificate)
    return configuration


async def play(options: argparse.Namespace, nursery: trio.Nursery) -> int:
    """Be what the command line says; return the exit status."""
    if options.serve:
        own = configure_server(options.certificate, options.key)
        at = await nursery.start(serve, options.at, own)
        print(f"serving at {format_address(at)}", flush=True)
        await trio.sleep_forever()
    at, size = options.at, options.size * PIECE_SIZE
    if options.ca:
        ca = await trio.Path(options.ca).read_bytes()
    else:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        with issued.private_key_and_cert_chain_pem.tempfile() as path:
            own = configure_server(path, None)
        at = await nursery.start(serve, ("127.0.0.1", 0), own)
        ca = authority.cert_pem.bytes()
    return await ask(at, ca, size, upload=options.upload)


async def run(options: argparse.Namespace) -> int:
    """Play until it is over, or Ctrl-C; return the exit status."""
    # Ctrl-C is how a server ends; of a client, this is how shells have it.
    status = 0 if options.serve else 128 + signal.SIGINT
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        try:
            status = await play(options, nursery)
        except OSError as error:
            # No such file, or the port is another's.
            print(f"error: {error}", file=sys.stderr)
            status = 1
        nursery.cancel_scope.cancel()
    return status


def main() -> int:
    """Read the command line, and run."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(description="QUIC streams, sent back.")
    parser.add_argument(
        "--at",
        type=parse_host_and_port,
        default=("127.0.0.1", 4433),
        metavar="HOST:PORT",
        help="the server's address (default: 127.0.0.1:4433)",
    )
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--certificate", help="the server's, with its chain")
    parser.add_argument("--key", help="its key, unless it is in there")
    parser.add_argument("--ca", help="whom the client trusts")
    parser.add_argument(
        "--size", type=natural, default=16, help="in MiB (default: 16)"
    )
    parser.add_argument(
        "--upload", action="store_true", help="do not have it sent back"
    )
    options = parser.parse_args()
    if options.serve and not options.certificate:
        parser.error("a server needs --certificate")
    return trio.run(run, options)


if __name__ == "__main__":
    sys.exit(main())
