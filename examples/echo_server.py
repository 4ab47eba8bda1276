"""Send back whatever arrives, over TCP or a Unix socket.

Start it in one terminal, and the client in another::

    python examples/echo_server.py 127.0.0.1:9000
    python examples/echo_client.py 127.0.0.1:9000

or with ``unix:/tmp/echo.sock`` in the place of ``127.0.0.1:9000``. Ctrl-C
stops it.
"""

from __future__ import annotations

import argparse
import functools
import signal
import socket
import sys
from typing import TYPE_CHECKING, TypeAlias

import trio

import triobatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from triobatch import (
        BatchSocketListener,
        BatchSocketStream,
        StreamGroup,
    )

    BatchHandler: TypeAlias = Callable[
        [StreamGroup, list[tuple[BatchSocketStream, bytes]]], Awaitable[object]
    ]

# The path of a Unix socket, or a host and a TCP port.
Address: TypeAlias = "str | tuple[str, int]"


def parse_address(text: str) -> Address:
    """Read ``unix:/path`` or ``host:port``."""
    if text.startswith("unix:/"):
        return text.removeprefix("unix:")
    try:
        return parse_host_and_port(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither host:port nor unix:/path"
        ) from None


def parse_host_and_port(text: str) -> tuple[str, int]:
    """Read ``host:port``."""
    host, _, port = text.rpartition(":")
    # An IPv6 address is written in brackets: [::1]:9000.
    host = host.removeprefix("[").removesuffix("]")
    try:
        # As a look-up begins; it takes no "..", for one.
        name = host.encode("idna")
    except UnicodeError:
        name = b""
    if not name or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return host, int(port)


def natural(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def end_with_the_reader() -> None:
    """End as other programs do when nobody reads the output (``| head``).

    Not where a peer that closes could raise that signal, too: here nothing is
    sent without MSG_NOSIGNAL (send(2)).
    """
    # Linux has that flag, and PyPy's module no name for it.
    if hasattr(socket, "MSG_NOSIGNAL") or sys.platform == "linux":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def format_address(
    address: Address | tuple[str, int, int, int],
) -> str:
    """Write an address as ``parse_address`` reads it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def echo(stream: BatchSocketStream) -> None:
    """Send back what arrives on one connection, until its end."""
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        # The client is gone. An exception would end the whole server.
        return


async def echo_and_report(stream: BatchSocketStream) -> None:
    """Serve one connection, and say what it took."""
    await echo(stream)
    done = stream.statistics()
    print(
        f"echoed {done.bytes_sent:,} bytes: received with "
        f"{done.receive_calls:,} system calls, sent with {done.send_calls:,}",
        flush=True,
    )


async def listen(address: Address) -> list[BatchSocketListener]:
    """Listen on a Unix socket or a TCP port; port 0 is any free one."""
    if isinstance(address, str):
        return [await triobatch.open_unix_listener(address)]
    host, port = address
    return await triobatch.open_tcp_listeners(port, host=host)


async def cancel_on_ctrl_c(
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make Ctrl-C a cancellation, so that every task can clean up."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        # Whoever is told that it serves may stop it at once.
        task_status.started()
        async for _ in signals:
            scope.cancel()


def cannot_listen(address: Address, error: OSError) -> int:
    """Say why a server cannot start; return its exit status."""
    name = format_address(address)
    print(f"cannot listen at {name}: {error}", file=sys.stderr)
    return 1


def say(text: str) -> None:
    """Print a line at once; end as ``end_with_the_reader`` does, anywhere."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)


def announce(address: Address, text: str = "listening at {}") -> None:
    """Tell whoever starts a server where it is."""
    say(text.format(format_address(address)))


async def serve(
    address: Address,
    start: Callable[[list[BatchSocketListener]], Awaitable[object]],
    text: str = "listening at {}",
) -> int:
    """Listen, say where, and serve until Ctrl-C; return the exit status."""
    try:
        listeners = await listen(address)
    except OSError as error:
        return cannot_listen(address, error)
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        nursery.start_soon(start, listeners)
        for listener in listeners:
            announce(listener.socket.getsockname(), text)
    return 0


async def serve_batches(
    address: tuple[str, int],
    handler: BatchHandler,
    *beside: Callable[[], Awaitable[object]],
) -> int:
    """Serve all connections as one group; otherwise as ``serve``.

    Args:
      address: Where.
      handler: For ``triobatch.serve_tcp_batches``.
      beside: What runs in tasks of its own meanwhile.
    """
    host, port = address
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        start = functools.partial(
            triobatch.serve_tcp_batches, handler, port, host=host
        )
        try:
            listeners = await nursery.start(start)
        except OSError as error:
            nursery.cancel_scope.cancel()
            return cannot_listen(address, error)
        for task in beside:
            nursery.start_soon(task)
        for listener in listeners:
            announce(listener.socket.getsockname())
    return 0


def main() -> int:
    """Read the command line, and serve."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(
        description="Send back whatever arrives, over TCP or a Unix socket."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_address,
        default="127.0.0.1:9000",
        help="host:port or unix:/path (default: %(default)s)",
    )
    echoes = functools.partial(trio.serve_listeners, echo_and_report)
    return trio.run(serve, parser.parse_args().address, echoes)


if __name__ == "__main__":
    sys.exit(main())
