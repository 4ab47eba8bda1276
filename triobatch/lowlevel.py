"""The system calls themselves, for those who want them.

Each function makes one system call on a descriptor, without a loop and without
waiting, and raises ``OSError`` when it fails.
"""

from triobatch._core.files import preadv, pwritev, readv, writev
from triobatch._datagrams.lowlevel import recvmmsg, sendmmsg
from triobatch._wire.public import settle as _settle

__all__ = [
    "preadv",
    "pwritev",
    "readv",
    "recvmmsg",
    "sendmmsg",
    "writev",
]

_settle(__name__, globals())
