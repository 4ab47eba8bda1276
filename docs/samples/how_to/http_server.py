"""An HTTP server with h11: headers and body leave in one call."""
# Needs h11.

from __future__ import annotations

import functools

import h11
import trio

import triobatch

PAGE = b"<p>Hello.</p>\n" * 1000
PATIENCE = 30  # seconds for a request, and for its response
HEADERS = [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))]


async def receive_request(
    http: h11.Connection, stream: triobatch.BatchSocketStream
) -> h11.Request | None:
    """Return the next request when all of it has come; None at the end."""
    request = None
    with trio.fail_after(PATIENCE):
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed):
                return None


def response_to(http: h11.Connection) -> list[bytes]:
    """Return the pieces of a response, none of which is copied."""
    events = [
        h11.Response(status_code=200, headers=HEADERS),
        h11.Data(data=PAGE),
        h11.EndOfMessage(),
    ]
    pieces: list[bytes] = []
    for event in events:
        pieces += http.send_with_data_passthrough(event) or []
    return pieces


async def serve_requests(stream: triobatch.BatchSocketStream) -> None:
    http = h11.Connection(h11.SERVER)
    try:
        while await receive_request(http, stream):
            with trio.fail_after(PATIENCE):
                await stream.send_buffers(response_to(http))
            if http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()
    except (h11.ProtocolError, trio.BrokenResourceError, trio.TooSlowError):
        return  # it has spoken nonsense, or gone, or fallen asleep


# Try it: two requests, one behind the other.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, serve_requests, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", port
        ) as stream:
            get = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            await stream.send_all(get + b"\r\n")
            await stream.send_all(get + b"Connection: close\r\n\r\n")
            reader = triobatch.BufferedReceiveStream(stream)
            for _ in range(2):
                header = await reader.receive_until(b"\r\n\r\n", 4096)
                print(header.splitlines()[0])
                body = await reader.receive_exactly(len(PAGE))
                print("the page is whole:", body == PAGE)
            print("the end:", await reader.receive_some())
        nursery.cancel_scope.cancel()


trio.run(main)
