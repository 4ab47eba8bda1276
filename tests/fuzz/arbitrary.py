"""What somebody may hand to a public function, by mistake or by malice.

Each pool is a list of functions of a ``random.Random`` and of what the case
has at hand (``Bench``). Whatever an object of ours raises by itself is a
``Boom``, so that it is told apart from what the library raises.
"""

from __future__ import annotations

import io
import mmap
import socket
from array import array

from triobatch import (
    Buffers,
    Datagrams,
    FileSlice,
    Metadata,
    ProxyHeader,
    Run,
)


class Boom(Exception):  # noqa: N818 (it is no error of the library's)
    """What an argument raises when it is used."""


class LyingBytes(bytes):
    def __len__(self):
        return 3

    def __bytes__(self):
        return b"other"


class LyingTuple(tuple):
    __slots__ = ()

    def __len__(self):
        return 7

    def __iter__(self):
        return iter((b"x",))


class LyingList(list):
    def __len__(self):
        return 1000

    def __iter__(self):
        yield b"x"


class Text(str):
    __slots__ = ()


class Number(int):
    def __index__(self):
        return -5


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Raising:
    """Raises whatever it is asked."""

    def _raise(self, *_):
        raise Boom

    __index__ = __len__ = __iter__ = __bool__ = __int__ = __fspath__ = _raise
    __eq__ = __hash__ = __bytes__ = __call__ = fileno = __getitem__ = _raise


class Negative:
    def __len__(self):
        return int("-1")

    def __getitem__(self, _):
        return b"x"


def _broken_iterator():
    yield b"first"
    raise Boom


def _broken_pairs():
    yield b"first", None
    raise Boom


def _released():
    view = memoryview(b"abc")
    view.release()
    return view


def _closed():
    mapping = mmap.mmap(-1, 16)
    mapping.close()
    return mapping


SIZES = (0, 1, 2, 7, 64, 1200, 1472, 65507, 65508, 65536, 70000)

PAYLOADS = [
    lambda rng, bench: bytes(rng.choice(SIZES)),
    lambda rng, bench: b"x" * rng.randrange(3000),
    lambda rng, bench: bytearray(rng.randrange(3000)),
    lambda rng, bench: memoryview(bytearray(rng.randrange(3000))),
    lambda rng, bench: memoryview(bytes(100))[::2],
    lambda rng, bench: memoryview(bytes(100))[::-1],
    lambda rng, bench: memoryview(bytes(64)).cast("B", (8, 8)),
    lambda rng, bench: memoryview(bytes(64)).cast("d"),
    lambda rng, bench: array("I", range(rng.randrange(300))),
    lambda rng, bench: LyingBytes(b"abcdefgh"),
    lambda rng, bench: memoryview(LyingBytes(b"abcdefgh")),
    lambda rng, bench: _released(),
    lambda rng, bench: _closed(),
    lambda rng, bench: Buffers([b"ab", b"cde" * rng.randrange(500)]),
    lambda rng, bench: Buffers(),
]
NUMBERS = [
    lambda rng, bench: rng.randrange(-3, 130),
    lambda rng, bench: rng.choice((0, 1, 1, 2, 64)),
    lambda rng, bench: rng.choice((1024, 65535, 65536, 2**20)),
    lambda rng, bench: rng.choice(
        (2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30)
    ),
    lambda rng, bench: -rng.choice((2**31, 2**63, 2**63 + 1, 2**64, 10**30)),
    lambda rng, bench: rng.choice((True, False)),
    lambda rng, bench: rng.choice((1.0, float("nan"), float("inf"), 0.5)),
    lambda rng, bench: rng.choice(("1", b"1", Text("7"))),
    lambda rng, bench: Number(5),
    lambda rng, bench: Index(rng.choice((3, -1, 2**70))),
    lambda rng, bench: None,
]
ADDRESSES = [
    lambda rng, bench: None,
    lambda rng, bench: bench.address,
    lambda rng, bench: bench.address,
    lambda rng, bench: list(bench.address or "x"),
    lambda rng, bench: LyingTuple(bench.address or "x"),
    lambda rng, bench: ("127.0.0.1", rng.choice(NUMBERS)(rng, bench)),
    lambda rng, bench: ("::1", rng.choice(NUMBERS)(rng, bench)),
    lambda rng, bench: ("::1", 9, *(_number(rng, bench) for _ in "ab")),
    lambda rng, bench: ("127.0.0.1", 9, *range(rng.randrange(5))),
    lambda rng, bench: (
        rng.choice(("", "127.0.0.1\0", "999.1.1.1", "\ud800", b"127.0.0.1")),
        9,
    ),
    lambda rng, bench: (Text("127.0.0.1"), 9),
    lambda rng, bench: (None, None),
    lambda rng, bench: (),
    lambda rng, bench: rng.choice(("/nowhere", "\0abstract", "x" * 200, "")),
    lambda rng, bench: rng.choice((b"/nowhere", b"\0abstract", b"x" * 200)),
    lambda rng, bench: rng.choice(("a\0b", "\ud800", Text("/nowhere"))),
]
OBJECTS = [
    lambda rng, bench: None,
    lambda rng, bench: "text",
    lambda rng, bench: object(),
    lambda rng, bench: 5,
    lambda rng, bench: -1,
    lambda rng, bench: 1.5,
    lambda rng, bench: {},
    lambda rng, bench: {b"a": 1},
    lambda rng, bench: {b"a"},
    lambda rng, bench: (),
    lambda rng, bench: [],
    lambda rng, bench: [None],
    lambda rng, bench: [[b"x"]],
    lambda rng, bench: b"",
    lambda rng, bench: len,
    lambda rng, bench: int,
    lambda rng, bench: Raising(),
    lambda rng, bench: Negative(),
    lambda rng, bench: io.BytesIO(b"abc"),
    lambda rng, bench: float("nan"),
]
FIELDS = [
    lambda rng, bench: None,
    lambda rng, bench: {"tos", "ttl"},
    lambda rng, bench: frozenset({"timestamp", "local_address"}),
    lambda rng, bench: set(),
    lambda rng, bench: {"nonsense"},
    lambda rng, bench: "tos",
    lambda rng, bench: ["tos", "tos"],
    lambda rng, bench: {None},
]


def _number(rng, bench):
    return rng.choice(NUMBERS)(rng, bench)


def payload(rng, bench):
    """Return something that has bytes to give, now and then not."""
    pool = PAYLOADS if rng.random() < 0.95 else OBJECTS
    return rng.choice(pool)(rng, bench)


def address(rng, bench):
    """Return an address, most often the right one."""
    if rng.random() < 0.5:
        return bench.address
    return rng.choice(ADDRESSES)(rng, bench)


def attempt(make, *args):
    """Return what a constructor makes, or an object if it refuses."""
    try:
        return make(*args)
    except (TypeError, ValueError, BufferError, Boom):
        return object()


def metadata(rng, bench):
    """Return a ``Metadata``, or what is none."""
    if rng.random() < 0.5:
        return None
    if rng.random() < 0.1:
        return rng.choice(OBJECTS)(rng, bench)
    fields = {}
    for name in ("tos", "ttl", "interface_index"):
        if rng.random() < 0.4:
            fields[name] = _number(rng, bench)
    if rng.random() < 0.4:
        fields["local_address"] = rng.choice(
            ("127.0.0.1", "::1", "nonsense", "", 5, b"127.0.0.1", "\ud800")
        )
    try:
        return Metadata(**fields)
    except (TypeError, ValueError):
        return None


def datagram(rng, bench):
    """Return a (payload, address), or one with metadata, or neither."""
    if rng.random() < 0.03:
        return rng.choice(OBJECTS)(rng, bench)
    pair = payload(rng, bench), address(rng, bench)
    if rng.random() < 0.2:
        return (*pair, metadata(rng, bench))
    return LyingTuple(pair) if rng.random() < 0.02 else pair


def run(rng, bench):
    """Return a ``Run``, or what is none."""
    return attempt(
        Run, payload(rng, bench), _number(rng, bench), address(rng, bench)
    )


def _count(rng):
    return rng.choice((0, 1, 1, 2, 3, 5, 17, 65, 130))


def many(make, queue=None):
    """Return a pool of collections of what ``make`` makes."""

    def items(rng, bench):
        if rng.random() < 0.3:
            return [make(rng, bench)] * _count(rng)
        return [make(rng, bench) for _ in range(_count(rng))]

    pool = [
        items,
        items,
        items,
        lambda rng, bench: tuple(items(rng, bench)),
        lambda rng, bench: iter(items(rng, bench)),
        lambda rng, bench: LyingList(items(rng, bench)),
        lambda rng, bench: dict.fromkeys(range(3)),
        lambda rng, bench: _broken_iterator(),
        lambda rng, bench: _broken_pairs(),
        make,
    ]
    if queue is not None:
        pool += [lambda rng, bench: attempt(queue, items(rng, bench))] * 3
    return pool


def a_file(rng, bench):
    """Return a file, or a part of one."""
    file = bench.file
    if rng.random() < 0.3:
        return attempt(
            FileSlice, file, _number(rng, bench), _number(rng, bench)
        )
    return file if rng.random() < 0.7 else rng.choice(OBJECTS)(rng, bench)


def a_stream(rng, bench):
    """Return a stream or a socket that is at hand, the right one or not."""
    return rng.choice(bench.resources)


def a_header(rng, bench):
    """Return a ``ProxyHeader``, whose addresses may be none."""
    extensions = rng.choice(((), (), ((1, b"h2"),), ((300, b"x"),), (5,)))
    return ProxyHeader(
        address(rng, bench),
        address(rng, bench),
        rng.random() < 0.1,
        rng.choice(("stream", "stream", "datagram", "other", None)),
        extensions,
    )


async def handler(*_):
    """Return at once, whoever calls."""


def split(view):
    """Take all frames there are as one."""
    return [bytes(view)], len(view)


# By a parameter's name, what it is given most of the time.
BY_NAME = {
    "a": [a_stream],
    "address": ADDRESSES,
    "allow_broadcast": NUMBERS,
    "b": [a_stream],
    "buffer": PAYLOADS,
    "buffers": many(payload, Buffers) + PAYLOADS,
    "buffersize": NUMBERS,
    "chunk": PAYLOADS,
    "chunks": many(payload, Buffers),
    "data": PAYLOADS,
    "datagram": [datagram],
    "datagrams": many(datagram, Datagrams),
    "delimiter": PAYLOADS,
    "destination": ADDRESSES,
    "errors": [
        lambda rng, bench: rng.choice(("raise", "ignore", "ignore", "other"))
    ],
    "family": [
        lambda rng, bench: rng.choice(
            (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 9999, -1)
        )
    ],
    "fd": [
        lambda rng, bench: bench.fd,
        lambda rng, bench: bench.fd,
        lambda rng, bench: bench.fd,
        lambda rng, bench: rng.choice((-1, 10**6, 2**31, 2**64, "1", 1.5)),
    ],
    "fields": FIELDS,
    "file": [a_file],
    "filename": [
        lambda rng, bench: str(bench.directory / str(rng.random())),
        lambda rng, bench: bytes(bench.directory / ("x" * 60)),
        lambda rng, bench: rng.choice(
            ("", "\0abstract", "a\0b", b"", "\ud800")
        ),
    ],
    "group": [
        lambda rng, bench: rng.choice(
            ("239.1.2.3", "ff02::1", "127.0.0.1", "", "x\0", b"239.1.2.3")
        )
    ],
    "handler": [lambda rng, bench: handler, *OBJECTS],
    "header": many(payload, Buffers),
    "host": [lambda rng, bench: rng.choice(("127.0.0.1", "::1", "\0", b""))],
    "interface": [
        lambda rng, bench: rng.choice((None, "127.0.0.1", "lo", "", 1, 0)),
        *NUMBERS,
    ],
    "level": NUMBERS,
    "link": [lambda rng, bench: None, *OBJECTS],
    "listeners": [lambda rng, bench: [], *OBJECTS],
    "local_address": [
        lambda rng, bench: rng.choice(
            (None, ("127.0.0.1", 0), ("::1", 0), "127.0.0.1")
        ),
        *ADDRESSES,
    ],
    "messages": [
        lambda rng, bench: [
            (a_stream(rng, bench), payload(rng, bench))
            for _ in range(rng.randrange(4))
        ],
        *many(datagram),
    ],
    "metadata": [metadata],
    "option": NUMBERS,
    "payloads": many(payload),
    "port": [lambda rng, bench: 0, *NUMBERS],
    "reader": [a_stream],
    "remote_address": ADDRESSES,
    "result": [lambda rng, bench: None, *OBJECTS],
    "runs": many(run),
    "socket": [a_stream, *OBJECTS],
    "sockets": [lambda rng, bench: [], lambda rng, bench: bench.resources],
    "source": ADDRESSES,
    "split": [lambda rng, bench: split, *OBJECTS],
    "stream": [a_stream],
    "streams": [
        lambda rng, bench: [
            a_stream(rng, bench) for _ in range(rng.randrange(4))
        ],
        *OBJECTS,
    ],
    "target": [a_stream],
    "trailer": many(payload, Buffers),
    "value": NUMBERS + PAYLOADS,
}
BY_NAME["path"] = BY_NAME["filename"]


def argument(name, rng, bench):
    """Return something for a parameter of this name."""
    if rng.random() < 0.06 and name != "fd":
        return rng.choice(OBJECTS)(rng, bench)
    return rng.choice(BY_NAME.get(name, NUMBERS))(rng, bench)
