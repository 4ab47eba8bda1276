"""The system calls themselves, for those who want them.

Each function makes one system call on a descriptor, without a loop and without
waiting, and raises ``OSError`` when it fails.
"""

from triobatch._datagram_lowlevel import recvmmsg, sendmmsg
from triobatch._syscalls import preadv, pwritev, readv, writev

__all__ = [
    "preadv",
    "pwritev",
    "readv",
    "recvmmsg",
    "sendmmsg",
    "writev",
]
