from collections.abc import Sequence
from typing import Any

from typing_extensions import Buffer

from triobatch._wire.addresses import Address
from triobatch._wire.metadata import Message, Metadata

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
def pack(
    payloads: list[Buffer],
    peer: bytes,
    limit: tuple[int, int, int],
    batch: int,
    /,
) -> int: ...
def pack_pairs(
    pairs: Sequence[tuple[Any, ...]],
    address: Address,
    peer: bytes,
    limit: tuple[int, int, int],
    batch: int,
    /,
) -> int: ...
def take(
    arena: int, addresses: dict[bytes, Address], limit: int, /
) -> list[tuple[bytes, Address]]: ...
def facts(
    arena: int, addresses: dict[bytes, Address], /
) -> list[tuple[int, Address, int]]: ...
def take_messages(
    arena: int,
    addresses: dict[bytes, Address],
    limit: int,
    metadata_of: dict[bytes, Metadata],
    message_type: type[Message],
    stamp_header: bytes,
    timestamps: bool,
    /,
) -> list[Message]: ...
def flatten(
    messages: list[bytes | list[bytes]],
    iovecs: int,
    counts: int,
    room: int,
    /,
) -> list[bytes] | int | None: ...
def split(memory: int, sizes: int, count: int, /) -> list[bytes | int]: ...
