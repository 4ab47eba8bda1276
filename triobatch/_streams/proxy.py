"""Receiving the header that a proxy puts in front of a connection."""

from __future__ import annotations

from triobatch._streams.buffered import BufferedReceiveStream
from triobatch._wire.arguments import at_least
from triobatch._wire.proxy import ProxyHeader, header_size, parse_header

# "This block is always smaller than an MSS" (2.2), but for what proxies add.
DEFAULT_LIMIT = 4096


async def receive_proxy_header(
    reader: BufferedReceiveStream, *, limit: int = DEFAULT_LIMIT
) -> ProxyHeader:
    """Receive a PROXY protocol header, version 1 or 2.

    A header is believed, so call this only where nobody but a proxy can
    connect. It must be there: without one the connection is refused.

    Args:
      reader: From whose first byte on to receive.
      limit: The most bytes that the header may have.

    Returns:
      What it says. Its ``source`` is None where the connection's own
      addresses are meant: a health check, or an unknown protocol.

    Raises:
      TypeError: ``reader`` is something else, a stream without a buffer.
      ProxyHeaderError: there is none, or it is malformed, or larger than
        ``limit``. It is told as soon as it can be, and nothing is taken.
      EOFError: the stream ended before the header did.
      trio.BusyResourceError: another task is receiving from this stream.
      trio.ClosedResourceError: this stream was closed.
      trio.BrokenResourceError: the connection broke.

    Set a deadline: a client that sends nothing is waited for. When cancelled,
    what came is kept. See
    https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt.
    """
    if not isinstance(reader, BufferedReceiveStream):
        raise TypeError(
            "reader must be a BufferedReceiveStream, not "
            f"{type(reader).__name__}"
        )
    if type(limit) is not int or limit < 1:
        limit = at_least(1, limit, "limit")
    header: ProxyHeader | None = None

    def measure() -> int | None:
        nonlocal header
        size = header_size(reader._received.view(), limit)
        if size is not None:
            # Before it is taken.
            header = parse_header(bytes(reader._received.view(size)))
        return size

    await reader._receive_measured(measure)
    if header is None:
        raise reader._ended("a PROXY protocol header")
    return header
