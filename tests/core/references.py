"""Count references over the functions of the list extension.

For a debug build of Python (``python3-dbg``), and the extension compiled for
it, in a folder that is given: ``sys.gettotalrefcount()`` has to stay where it
is over loops of each function, errors included.

    python3-dbg tests/core/references.py DIRECTORY
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import sys
from pathlib import Path

LOOPS = 100
# What is passed by its address has to live on.
KEPT: list[object] = []
NAME = b"\2\0" + bytes(14)


def load(directory):
    """Return the extension that lies there."""
    [path] = Path(directory).glob("_chunks_c*.so")
    spec = importlib.util.spec_from_file_location("_chunks_c", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Arena(ctypes.Structure):
    """struct tb_arena of core.h."""

    _fields_ = (
        ("memory", ctypes.c_char_p),
        ("slots", ctypes.c_size_t),
        ("slot_size", ctypes.c_size_t),
        ("names", ctypes.c_char_p),
        ("name_size", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_size", ctypes.c_size_t),
        ("sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("flags", ctypes.POINTER(ctypes.c_uint32)),
        ("name_sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("control_sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("segment_sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("filling", ctypes.POINTER(ctypes.c_uint32)),
    )


class Batch(ctypes.Structure):
    """struct tb_batch of core.h."""

    _fields_ = (
        ("memory", ctypes.c_char_p),
        ("room", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("run_size", ctypes.c_size_t),
        ("count", ctypes.c_uint32),
        ("runs", ctypes.c_uint32),
        ("segment_size", ctypes.c_uint16),
        ("name_size", ctypes.c_uint16),
        ("name", ctypes.c_char * 128),
    )


def column(*numbers):
    """Return an array of uint32_t."""
    return (ctypes.c_uint32 * len(numbers))(*numbers)


class Missing(dict):
    """As the table of addresses: decodes what it does not know."""

    def __missing__(self, key):
        return ("127.0.0.1", len(key))


class Refusing(dict):
    """Decodes nothing."""

    def __missing__(self, key):
        raise KeyError(key)


def cases(ext):
    """Return (name, call) for each function, on the way and off it."""
    memory = ctypes.create_string_buffer(4096)
    at = ctypes.addressof(memory)
    numbers = (ctypes.c_ssize_t * 3)(3, -11, 2)
    iovecs = ctypes.create_string_buffer(16 * 64)
    counts = ctypes.create_string_buffer(4 * 64)
    address, peer = ("127.0.0.1", 7), NAME
    room = ctypes.create_string_buffer(4096)
    batch = Batch(ctypes.cast(room, ctypes.c_char_p), 4096)
    filling = column(2, 4, 0, 0)
    arena = Arena(
        b"x" * 200,
        2,
        100,
        NAME * 2,
        16,
        None,
        0,
        column(90, 30),
        column(0, 0),
        column(16, 16),
        column(0, 0),
        column(30, 0),
        filling,
    )
    KEPT.extend((memory, numbers, iovecs, counts, room, batch, arena))
    of_arena, of_batch = ctypes.addressof(arena), ctypes.addressof(batch)
    limit = (64, 65535, 1472)
    chunks = [b"abc", b"de", b"f" * 300]
    mixed = [b"abc", memoryview(b"de"), bytearray(b"f")]
    pairs = [(bytes(8), address), (bytearray(8), ("127.0.0.1", 7))]

    def take(addresses, most):
        filling[2] = filling[3] = 0
        return ext.take(of_arena, addresses, most)

    def flatten(messages, most=64):
        return ext.flatten(
            messages,
            ctypes.addressof(iovecs),
            ctypes.addressof(counts),
            most,
        )

    return [
        ("measure", lambda: ext.measure(chunks)),
        ("measure others", lambda: ext.measure(mixed)),
        ("measure no list", lambda: ext.measure(7)),
        ("locate", lambda: ext.locate(chunks, 0, 1, 4)),
        ("locate past it", lambda: ext.locate(chunks, 0, 9, 4)),
        ("locate of nothing", lambda: ext.locate([None], 0, 0, 4)),
        ("copy", lambda: ext.copy(chunks, 0, 1, at, 4096)),
        ("copy others", lambda: ext.copy(mixed, 0, 0, at, 4096)),
        ("copy too much", lambda: ext.copy(chunks, 0, 0, at, 4)),
        ("copy nowhere", lambda: ext.copy(chunks, 0, 0, "x", 4)),
        ("point", lambda: ext.point(chunks, 1, ctypes.addressof(iovecs))),
        ("point others", lambda: ext.point(mixed, 0, at)),
        ("flatten", lambda: flatten([b"a", [b"b", b"c"], []])),
        ("flatten too many", lambda: flatten([b"a", [b"b"] * 9], 3)),
        ("flatten others", lambda: flatten([b"a", [b"b", 7], b"c"])),
        ("flatten nothing", lambda: flatten([b"a", None])),
        ("split", lambda: ext.split(at, ctypes.addressof(numbers), 3)),
        ("split nowhere", lambda: ext.split(0, 0, 3)),
        ("take", lambda: take(Missing(), 64)),
        ("take some", lambda: take(Missing(), 2)),
        ("take as many as there are", lambda: take(Missing(), 2**70)),
        ("take of nobody", lambda: take(Refusing(), 64)),
        ("facts", lambda: ext.facts(of_arena, Missing())),
        ("facts of nobody", lambda: ext.facts(of_arena, Refusing())),
        ("pack", lambda: ext.pack([bytes(8)] * 4, peer, limit, of_batch)),
        ("pack views", lambda: ext.pack(mixed, peer, limit, of_batch)),
        (
            "pack a view",
            lambda: ext.pack([memoryview(b"abc")], peer, limit, of_batch),
        ),
        (
            "pack half a view",
            lambda: ext.pack([memoryview(b"abc")[::2]], peer, limit, of_batch),
        ),
        ("pack text", lambda: ext.pack(["a"], peer, limit, of_batch)),
        ("pack for nobody", lambda: ext.pack([b"a"], None, limit, of_batch)),
        ("pack no limit", lambda: ext.pack([b"a"], peer, ("",), of_batch)),
        (
            "pack_pairs",
            lambda: ext.pack_pairs(pairs, address, peer, limit, of_batch),
        ),
        (
            "pack_pairs of others",
            lambda: ext.pack_pairs(
                [*pairs, (b"", None)], address, peer, limit, of_batch
            ),
        ),
        (
            "pack_pairs of no pairs",
            lambda: ext.pack_pairs([7], address, peer, limit, of_batch),
        ),
        ("no arguments", lambda: [_try(f) for f in _functions(ext)]),
    ]


def _functions(ext):
    return [getattr(ext, name) for name in dir(ext) if name[0] != "_"]


def _try(call):
    try:
        call()
    except (TypeError, ValueError, KeyError, BufferError):
        pass


def growth(call):
    """Return how many references a loop of calls adds."""
    for _ in range(LOOPS):
        _try(call)
    gc.collect()
    before = sys.gettotalrefcount()
    for _ in range(LOOPS):
        _try(call)
    gc.collect()
    return sys.gettotalrefcount() - before


def main():
    """Go through all of them; say which one keeps or loses references."""
    ext = load(sys.argv[1])
    found = {}
    # What measuring itself adds.
    growth(lambda: None)
    listed = cases(ext)
    for name, call in listed:
        added = growth(call)
        if abs(added) >= LOOPS // 2:
            found[name] = added
    print(f"references: {len(listed)} cases, {found or 'none'} not even")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
