"""The socket options of a stream, and the one that it changes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from triobatch._streams import notsent_lowat as _notsent_lowat

if TYPE_CHECKING:
    from trio.socket import SocketType
    from typing_extensions import Buffer

    from triobatch._streams.sending import SendHalf


class StreamOptions:
    """What ``BatchSocketStream`` has of them, as ``trio.SocketStream``."""

    socket: SocketType
    _send: SendHalf

    @overload
    def setsockopt(
        self, level: int, option: int, value: int | Buffer
    ) -> None: ...

    @overload
    def setsockopt(
        self, level: int, option: int, value: None, length: int
    ) -> None: ...

    def setsockopt(
        self,
        level: int,
        option: int,
        value: int | Buffer | None,
        length: int | None = None,
    ) -> None:
        """Set a socket option; see ``socket.socket.setsockopt``."""
        if length is None:
            if value is None:
                raise TypeError("value must not be None without a length")
            self.socket.setsockopt(level, option, value)
        elif value is not None:
            raise TypeError(
                f"value must be None when length is given, not {value!r}"
            )
        else:
            self.socket.setsockopt(level, option, value, length)
        if _notsent_lowat.is_meant(level, option):
            self._send.may_lift = False

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...

    @overload
    def getsockopt(
        self, level: int, option: int, buffersize: int
    ) -> bytes: ...

    def getsockopt(
        self, level: int, option: int, buffersize: int = 0
    ) -> int | bytes:
        """Return a socket option; see ``socket.socket.getsockopt``."""
        if buffersize:
            return self.socket.getsockopt(level, option, buffersize)
        return self.socket.getsockopt(level, option)
