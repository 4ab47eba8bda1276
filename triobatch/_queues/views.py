"""What counts as bytes: views of whatever has the buffer protocol.

A size and an address come from one question here: ``bytes`` proper, which a C
core may measure by ``len()`` and read from their address, or a view, which is
both at once. A subclass of ``bytes`` has a ``len()`` of its own, so it is seen
as a view: asked for its size and for its memory apart, it would send less than
it holds, or what lies behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from triobatch._wire.hints import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeGuard

# What a queue holds: bytes as they are, and views of the bytes of the rest.
Chunk: TypeAlias = bytes | memoryview

_T = TypeVar("_T")


def _exports_lock() -> bool:
    exported = bytearray(1)
    with memoryview(exported):
        try:
            exported.clear()
        except BufferError:
            return True
    return False  # pragma: no cover (PyPy)


# Whether memory stays where it is, and as large, while there is a view of it.
# PyPy's does not: a bytearray that is resized leaves its views another size,
# and whoever has its address what was somebody else's by then.
EXPORTS_LOCK: Final = _exports_lock()


def is_buffer(candidate: object) -> bool:
    """Whether it has the buffer protocol."""
    try:
        memoryview(cast("Buffer", candidate)).release()
    except TypeError:
        return False
    except (ValueError, BufferError):
        # One that has nothing to export now; see ``view_of_bytes``.
        return True
    return True


def view_of_bytes(buffer: Buffer, name: str = "chunk") -> memoryview:
    """Return a one-dimensional view of the bytes of ``buffer``.

    Args:
      buffer: What has them.
      name: What the caller calls it, for the errors.

    Raises:
      TypeError: it does not have the buffer protocol.
      BufferError: its bytes do not lie side by side, in order, or it has
        none to give.
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"{name} must be a bytes-like object, not {type(buffer).__name__}"
        ) from None
    except ValueError as error:
        # A view that was released, a closed mmap, an array of dates.
        raise BufferError(
            f"{name} has no bytes to give: {type(buffer).__name__}: {error}"
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


def kept_view(buffer: Buffer, name: str = "chunk") -> memoryview:
    """Return a view of bytes to be sent, which stay until it is released.

    Of a copy, where exports lock nothing. Args and errors are those of
    ``view_of_bytes``.
    """
    view = view_of_bytes(buffer, name)
    if EXPORTS_LOCK or type(view.obj) is bytes:
        return view
    with view:
        return memoryview(bytes(view))


def as_payload(payload: Buffer, name: str = "payload") -> Chunk:
    """Return ``payload`` in a form whose ``len`` is its size in bytes.

    Args:
      payload: What has them.
      name: What the caller calls it, for the errors.

    Raises:
      TypeError: it does not have the buffer protocol.
      BufferError: its bytes do not lie side by side, in order.
    """
    if type(payload) is bytes:
        return payload
    view = kept_view(payload, name)
    return view if view.nbytes else b""


def as_payloads(payloads: Iterable[Buffer]) -> list[Chunk]:
    """Return a list of payloads; see ``as_payload``."""
    listed = list_of(payloads, "payloads", "bytes-like objects")
    if are_bytes(listed):
        return listed
    taken: list[Chunk] = []
    try:
        for index, payload in enumerate(listed):
            taken.append(as_payload(payload, f"payload {index}"))
    except BaseException:
        # Or an error that is kept would keep them.
        release(taken)
        raise
    return taken


def list_of(items: Iterable[_T], name: str, of: str) -> list[_T]:
    """Return a list of several items, unless they are one by mistake.

    Raises:
      TypeError: they are no iterable, or what has bytes itself.
    """
    if type(items) is list:
        return items.copy()
    if not isinstance(items, tuple) and (
        isinstance(items, str)
        or not isinstance(items, Iterable)
        or is_buffer(items)
    ):
        raise TypeError(
            f"{name} must be an iterable of {of}, not {type(items).__name__}"
        )
    return list(items)


def check_chunks(chunks: object, name: str = "chunks") -> None:
    """Raise ``TypeError`` if it is no iterable, or one chunk by mistake.

    An mmap or an array would be taken for an iterable of its items.
    """
    if (
        isinstance(chunks, str)
        or not isinstance(chunks, Iterable)
        or is_buffer(chunks)
    ):
        raise TypeError(
            f"{name} must be an iterable of bytes-like objects, "
            f"not {type(chunks).__name__}"
        )


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
            view = kept_view(cast("Buffer", chunk), f"chunk {index}")
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
        offered = list_of(
            cast("Sequence[Buffer]", buffers), "buffers", "writable buffers"
        )
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
