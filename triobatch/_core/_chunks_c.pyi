from collections.abc import Sequence

from typing_extensions import Buffer

from triobatch._wire.addresses import Address

def measure(chunks: list[object], /) -> int: ...
def locate(
    chunks: list[bytes | memoryview], index: int, offset: int, size: int, /
) -> tuple[int, int]: ...
def point(
    chunks: list[bytes | memoryview], offset: int, address: int, /
) -> bool: ...
def copy(
    chunks: Sequence[Buffer],
    index: int,
    offset: int,
    address: int,
    room: int,
    /,
) -> tuple[int, int]: ...
def copy_segments(
    chunks: Sequence[Buffer], address: int, room: int, /
) -> tuple[int, int]: ...
def cut(
    pairs: list[tuple[bytes, Address]],
    address: int,
    count: int,
    size: int,
    peer: Address,
    /,
) -> None: ...
def flatten(
    messages: list[bytes | list[bytes]],
    iovecs: int,
    counts: int,
    room: int,
    /,
) -> list[bytes] | int | None: ...
def split(memory: int, sizes: int, count: int, /) -> list[bytes | int]: ...
