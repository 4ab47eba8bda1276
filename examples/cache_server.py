"""A cache that speaks Redis' protocol: GET, SET, DEL, EXPIRE and PING.

Start it in one terminal, and Redis' own clients in another::

    python examples/cache_server.py 127.0.0.1:6379
    redis-cli set greeting hello ex 60
    redis-benchmark -t get,set -c 50 -P 16

Its answers are there at once, so all clients are one stream group: a batch of
requests in, a batch of answers out, and no task for a client. ``--tasks``
serves each client in a task of its own with ``trio.serve_tcp``, to compare.
Ctrl-C stops it.

The protocol is RESP 2 (https://redis.io/docs/latest/develop/reference/
protocol-spec/); clients may send requests without waiting for the answers.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import sys
import time
from typing import TYPE_CHECKING

import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    parse_host_and_port,
    serve_batches,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from triobatch import BatchSocketStream, StreamGroup

# A request is no longer than this and what one receive brings, in bytes.
LARGEST_REQUEST = 2**20
# Words of one request.
MOST_WORDS = 1024

# What most requests begin with, and their words.
COUNTS = {b"*%d" % count: count for count in range(1, 9)}
SIZES = {b"$%d" % size: size for size in range(2**14)}

OK = b"+OK\r\n"
NIL = b"$-1\r\n"
NOT_AN_INTEGER = b"-ERR value is not an integer or out of range\r\n"


class ProtocolError(Exception):
    """What a client sent is no request; nothing after it can be one."""


def take_request(data: bytes, start: int) -> tuple[list[bytes], int] | None:
    """Read one request.

    Args:
      data: What has come.
      start: Where the request begins.

    Returns:
      Its words, and where the next one begins; None if it is not complete.

    Raises:
      ProtocolError: it is no request.
    """
    end = data.find(b"\r\n", start)
    if end < 0:
        return None
    if data[start : start + 1] != b"*":
        # As a person types it.
        return data[start:end].split(), end + 2
    count = read_size(data[start + 1 : end], MOST_WORDS)
    position = end + 2
    words = []
    for _ in range(count):
        end = data.find(b"\r\n", position)
        if end < 0:
            return None
        if data[position] != 0x24:
            raise ProtocolError("expected '$'")
        size = read_size(data[position + 1 : end], LARGEST_REQUEST)
        position = end + 2
        stop = position + size
        if len(data) < stop + 2:
            return None
        words.append(data[position:stop])
        position = stop + 2
    return words, position


def take_plain(data: bytes) -> tuple[list[Sequence[bytes]], int]:
    """Read the requests that are lines, as most are: 0.7 us each, not 3.

    Returns:
      Their words, and where the first one begins that is not plain: some word
      of it has a line end, it is not complete, or it is none.
    """
    lines = data.split(b"\r\n")
    line, last = 0, len(lines) - 1
    requests = take_alike(lines)
    if requests:
        line = len(requests) * (1 + 2 * len(requests[0]))
    while line < last:
        count = COUNTS.get(lines[line])
        if count is None:
            if lines[line][:1] == b"*":
                break
            # As a person types it.
            requests.append(lines[line].split())
            line += 1
            continue
        end = line + 1 + 2 * count
        words = lines[line + 2 : end : 2]
        sizes = map(SIZES.get, lines[line + 1 : end : 2])
        if end > last or list(sizes) != list(map(len, words)):
            break
        requests.append(words)
        line = end
    return requests, len(data) - len(b"\r\n".join(lines[line:]))


def take_alike(lines: list[bytes]) -> list[Sequence[bytes]]:
    """Read all at once, if they have as many words as the first: in 0.4 us.

    Returns:
      Their words; nothing if some have more or fewer, or are not plain, or
      there is only one.
    """
    count = COUNTS.get(lines[0], 0)
    step = 1 + 2 * count
    end = (len(lines) - 1) // step * step
    if end <= step or not count or set(lines[:end:step]) != {lines[0]}:
        return []
    columns = []
    for place in range(2, step, 2):
        words = lines[place:end:step]
        sizes = map(SIZES.get, lines[place - 1 : end : step])
        if list(sizes) != list(map(len, words)):
            return []
        columns.append(words)
    return list(zip(*columns, strict=True))


def least_size(data: bytes) -> int:
    """Return how many bytes the request that is not complete has at least.

    It is not read again before they are there: that takes time for each line
    end in its values.
    """
    end = data.find(b"\r\n")
    words = int(data[1:end]) if data[:1] == b"*" and end > 0 else 0
    for _ in range(words):
        position = end + 2
        end = data.find(b"\r\n", position)
        if end < 0:
            break
        end += 2 + int(data[position + 1 : end])
        if end + 2 > len(data):
            return end + 2
    return len(data) + 1


def read_size(digits: bytes, largest: int) -> int:
    """Return a number from 0 to ``largest``."""
    if not digits.isdigit() or len(digits) > 9 or int(digits) > largest:
        raise ProtocolError("invalid length")
    return int(digits)


class Cache:
    """Keys, values and when they expire. It knows no sockets.

    Args:
      clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Values, as GET answers with them.
        self._answers: dict[bytes, bytes] = {}
        self._deadlines: dict[bytes, float] = {}
        self._next: list[tuple[float, bytes]] = []
        self._commands: dict[bytes, Callable[..., bytes]] = {
            b"GET": self.get,
            b"SET": self.set,
            b"DEL": self.delete,
            b"EXPIRE": self.expire,
            b"PING": self.ping,
        }

    def answer(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Answer the requests that are complete.

        Returns:
          The answers, and what is left over.

        Raises:
          ProtocolError: a request is none. Its ``args`` have the answers to
            those before.
        """
        if self._next:
            self._drop_expired()
        requests, position = take_plain(data)
        run = self.run
        answers = [run(words) for words in requests if words]
        size = len(data)
        try:
            while position < size:
                taken = take_request(data, position)
                if taken is None:
                    break
                words, position = taken
                if words:
                    answers.append(self.run(words))
            if size - position > LARGEST_REQUEST:
                raise ProtocolError("too big a request")
        except ProtocolError as error:
            text = f"-ERR Protocol error: {error}\r\n"
            raise ProtocolError(*answers, text.encode()) from None
        return answers, data[position:]

    def run(self, words: Sequence[bytes]) -> bytes:
        """Run one command, and return its answer."""
        command = self._commands.get(words[0])
        if command is None:
            command = self._commands.get(words[0].upper())
            if command is None:
                name = words[0][:64].decode("ascii", "replace")
                name = name.replace("\r", " ").replace("\n", " ")
                return f"-ERR unknown command '{name}'\r\n".encode()
        try:
            return command(*words[1:])
        except TypeError:
            return b"-ERR wrong number of arguments\r\n"

    def get(self, key: bytes, /) -> bytes:
        """Return a value."""
        return self._answers.get(key, NIL)

    def set(self, key: bytes, value: bytes, /, *options: bytes) -> bytes:
        """Keep a value, until a time if ``EX seconds`` says so."""
        if options and (len(options) != 2 or options[0].upper() != b"EX"):
            return b"-ERR syntax error\r\n"
        if options and not is_integer(options[1]):
            return NOT_AN_INTEGER
        if options and int(options[1]) <= 0:
            return b"-ERR invalid expire time in 'set' command\r\n"
        # It is asked for more often than it is set.
        self._answers[key] = b"$%d\r\n%b\r\n" % (len(value), value)
        if self._deadlines:
            self._deadlines.pop(key, None)
        if options:
            self.expire(key, options[1])
        return OK

    def delete(self, key: bytes, /, *more: bytes) -> bytes:
        """Drop values; return how many there were."""
        count = 0
        for each in (key, *more):
            count += self._answers.pop(each, None) is not None
            self._deadlines.pop(each, None)
        return b":%d\r\n" % count

    def expire(self, key: bytes, seconds: bytes, /) -> bytes:
        """Have a value dropped after some seconds."""
        if not is_integer(seconds):
            return NOT_AN_INTEGER
        if key not in self._answers:
            return b":0\r\n"
        deadline = self._clock() + int(seconds)
        self._deadlines[key] = deadline
        heapq.heappush(self._next, (deadline, key))
        if len(self._next) > 64 + 2 * len(self._deadlines):
            # Most are of keys that were given another time since.
            self._next = [(at, each) for each, at in self._deadlines.items()]
            heapq.heapify(self._next)
        self._drop_expired()
        return b":1\r\n"

    def ping(self, message: bytes | None = None, /) -> bytes:
        """Return what was said."""
        if message is None:
            return b"+PONG\r\n"
        return b"$%d\r\n%b\r\n" % (len(message), message)

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._next and self._next[0][0] <= now:
            deadline, key = heapq.heappop(self._next)
            # It may have been set again, or given another time.
            if self._deadlines.get(key) == deadline:
                del self._deadlines[key], self._answers[key]


def is_integer(digits: bytes) -> bool:
    """Tell whether it is one that a time can be."""
    return digits.removeprefix(b"-").isdigit() and len(digits) <= 10


class Server:
    """A cache for all connections as one group."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        # And how many bytes it has at least.
        self._unfinished: dict[BatchSocketStream, tuple[bytes, int]] = {}

    async def serve(
        self,
        group: StreamGroup,
        batch: list[tuple[BatchSocketStream, bytes]],
    ) -> None:
        """Answer a batch of requests."""
        unfinished = self._unfinished
        messages: list[tuple[BatchSocketStream, bytes | list[bytes]]] = []
        wrong = []
        for stream, data in batch:
            if unfinished:
                if not data:
                    unfinished.pop(stream, None)
                elif stream in unfinished:
                    rest, least = unfinished[stream]
                    data = rest + data  # noqa: PLW2901
                    if len(data) < least:
                        unfinished[stream] = data, least
                        continue
                    del unfinished[stream]
            try:
                answers, rest = self._cache.answer(data)
            except ProtocolError as error:
                answers, rest = list(error.args), b""
                wrong.append(stream)
            if rest:
                unfinished[stream] = rest, least_size(rest)
            if answers:
                messages.append((stream, answers))
        refused = group.send_batch_nowait(messages)
        # Who does not take the answers is not waited for; nor is who sends
        # something else, whom one answer that may not fit has to do.
        for stream in {*wrong, *(stream for stream, _ in refused)}:
            unfinished.pop(stream, None)
            await stream.aclose()


async def serve_tasks(cache: Cache, stream: trio.SocketStream) -> None:
    """Serve one connection, as any Trio program would."""
    unfinished, least = b"", 0
    try:
        async for data in stream:
            unfinished += data
            if len(unfinished) < least:
                continue
            try:
                answers, unfinished = cache.answer(unfinished)
            except ProtocolError as error:
                await stream.send_all(b"".join(error.args))
                return
            least = least_size(unfinished) if unfinished else 0
            if answers:
                await stream.send_all(b"".join(answers))
    except trio.BrokenResourceError:
        return


async def run_tasks(address: tuple[str, int]) -> int:
    """Serve each connection in a task of its own."""
    host, port = address
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        serve = functools.partial(serve_tasks, Cache())
        start = functools.partial(trio.serve_tcp, serve, port, host=host)
        try:
            listeners = await nursery.start(start)
        except OSError as error:
            nursery.cancel_scope.cancel()
            return cannot_listen(address, error)
        for listener in listeners:
            announce(listener.socket.getsockname())
    return 0


def main() -> int:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(
        description="A cache that speaks Redis' protocol."
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_host_and_port,
        default="127.0.0.1:6379",
        help="host:port (default: %(default)s)",
    )
    parser.add_argument(
        "--tasks",
        action="store_true",
        help="serve each client in a task of its own, with trio.serve_tcp",
    )
    arguments = parser.parse_args()
    if arguments.tasks:
        return trio.run(run_tasks, arguments.address)
    return trio.run(serve_batches, arguments.address, Server(Cache()).serve)


if __name__ == "__main__":
    sys.exit(main())
