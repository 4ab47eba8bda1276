"""What counts as bytes: views of whatever has the buffer protocol."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeGuard

    from typing_extensions import Buffer

# What a queue holds: bytes as they are, and views of the bytes of the rest.
Chunk: TypeAlias = bytes | memoryview


def is_buffer(candidate: object) -> bool:
    """Whether it has the buffer protocol."""
    try:
        memoryview(cast("Buffer", candidate)).release()
    except TypeError:
        return False
    return True


def view_of_bytes(buffer: Buffer, name: str = "chunk") -> memoryview:
    """Return a one-dimensional view of the bytes of ``buffer``.

    Args:
      buffer: What has them.
      name: What the caller calls it, for the errors.

    Raises:
      TypeError: it does not have the buffer protocol.
      BufferError: its bytes do not lie side by side, in order.
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"{name} must be a bytes-like object, not {type(buffer).__name__}"
        ) from None
    if not view.c_contiguous:
        shape, strides = view.shape, view.strides
        # Or the traceback would hold it exported.
        view.release()
        raise BufferError(
            f"{name} is not contiguous: shape {shape}, strides {strides}"
        )
    if view.ndim == 1 and view.format == "B":
        return view
    with view:
        if not view.nbytes:
            # memoryview.cast() refuses a shape with zeros.
            return memoryview(b"" if view.readonly else bytearray())
        return view.cast("B")


def as_payload(payload: Buffer) -> Chunk:
    """Return ``payload`` in a form whose ``len`` is its size in bytes.

    Raises:
      TypeError: it does not have the buffer protocol.
      BufferError: its bytes do not lie side by side, in order.
    """
    if isinstance(payload, bytes):
        return payload
    view = view_of_bytes(payload, "payload")
    return view if view.nbytes else b""


def as_payloads(payloads: Iterable[Buffer]) -> list[Chunk]:
    """Return a list of payloads; see ``as_payload``."""
    listed = list(payloads)
    if are_bytes(listed):
        return listed
    return list(map(as_payload, listed))


def are_bytes(payloads: list[Buffer]) -> TypeGuard[list[Chunk]]:
    """Tell whether all payloads are plain ``bytes``, which is the rule."""
    # The fastest way to ask: 15 ns an item.
    return list(map(type, payloads)).count(bytes) == len(payloads)


def take_in(chunks: list[object]) -> tuple[list[Chunk], int]:
    """Export whatever is not bytes, and leave out what is empty."""
    kept: list[Chunk] = []
    size = 0
    try:
        for index, chunk in enumerate(chunks):
            if type(chunk) is bytes:
                if chunk:
                    kept.append(chunk)
                    size += len(chunk)
                continue
            view = view_of_bytes(cast("Buffer", chunk), f"chunk {index}")
            if view.nbytes:
                kept.append(view)
                size += view.nbytes
            else:
                view.release()
    except BaseException:
        release(kept)
        raise
    return kept, size


def release(chunks: Iterable[Chunk | None]) -> None:
    for chunk in chunks:
        if type(chunk) is memoryview:
            chunk.release()


def read_only(buffer: object) -> TypeError:
    """Return the error for a buffer that cannot be written to."""
    return TypeError(
        f"buffer must be writable, not a read-only {type(buffer).__name__}"
    )


@contextmanager
def writable_views(
    buffers: Buffer | Sequence[Buffer],
) -> Iterator[list[memoryview]]:
    """Export one or many writable buffers; the views of those with room.

    Raises:
      TypeError: a buffer is read-only, or not a buffer.
      BufferError: a buffer is not contiguous.
      ValueError: none of them has room for a byte.
    """
    if is_buffer(buffers):
        offered = [cast("Buffer", buffers)]
    else:
        offered = list(cast("Sequence[Buffer]", buffers))
    views: list[memoryview] = []
    try:
        for buffer in offered:
            views.append(view_of_bytes(buffer, "buffer"))
            if views[-1].readonly:
                raise read_only(buffer)
        filled = [view for view in views if view.nbytes]
        if not filled:
            raise ValueError("buffers must have room for at least 1 byte")
        yield filled
    finally:
        release(views)
