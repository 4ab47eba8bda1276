"""A server over UDP, and its counts on a page that Prometheus asks for."""

from __future__ import annotations

import functools

import trio

import triobatch

PATIENCE = 5  # seconds

# How whoever asks leaves without a proper end.
LEAVING = (
    EOFError,
    triobatch.FrameTooLargeError,
    trio.BrokenResourceError,
    trio.TooSlowError,
)

sockets: list[triobatch.DatagramSocket] = []


def page() -> bytes:
    received = sum(sock.statistics().datagrams_received for sock in sockets)
    return (
        b"# TYPE echo_datagrams_received_total counter\n"
        b"echo_datagrams_received_total %d\n" % received
    )


async def serve_page(stream: triobatch.BatchSocketStream) -> None:
    """Answer one request over HTTP, whatever it asks for."""
    reader = triobatch.BufferedReceiveStream(stream)
    try:
        with trio.fail_after(PATIENCE):
            if not await reader.receive_until(b"\r\n\r\n", limit=8192):
                return
            body = page()
            header = (
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                b"Content-Type: text/plain; version=0.0.4\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            await stream.send_buffers([header, body])
    except LEAVING:
        pass


async def echo(
    batch: list[triobatch.ReceivedDatagram],
    sender: triobatch.DatagramBatchSender,
) -> None:
    await sender.send_batch(batch)


# Try it: three datagrams, and a look at the page.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_udp, host="127.0.0.1")
        sockets[:] = await nursery.start(serve, echo, 0)
        show = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(show, serve_page, 0)
        client = await triobatch.open_udp_socket(
            remote_address=sockets[0].local_address
        )
        async with client:
            for _ in range(3):
                await client.send(b"hello")
                await client.receive()
        address = listeners[0].socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\n\r\n")
            answer = b"".join([data async for data in stream])
            print(answer.partition(b"\r\n\r\n")[2].decode(), end="")
        nursery.cancel_scope.cancel()


trio.run(main)
