"""Batched socket I/O for Trio.

Many buffers, or many datagrams, in one system call; with exact progress under
cancellation.
"""

from triobatch import _write_to as _write_to
from triobatch import lowlevel
from triobatch._capabilities import Capabilities, capabilities
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)
from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.socket import DatagramSocket
from triobatch._datagrams.statistics import DatagramStatistics
from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagrams
from triobatch._senders.datagram_sender import DatagramBatchSender
from triobatch._senders.open import open_batch_sender
from triobatch._senders.serve_udp import serve_udp
from triobatch._senders.stream_sender import BatchSender
from triobatch._senders.task import SenderStatistics
from triobatch._streams.broadcast import (
    BroadcastResult,
    Delivery,
    broadcast,
    broadcast_nowait,
)
from triobatch._streams.listener import (
    BatchSocketListener,
    open_tcp_listeners,
    open_tcp_stream,
    open_unix_listener,
    open_unix_socket,
    serve_tcp,
)
from triobatch._streams.send_buffers import send_buffers
from triobatch._streams.stream import BatchSocketStream, StreamStatistics
from triobatch._version import __version__
from triobatch._wire.error_queue import PeerError
from triobatch._wire.metadata import Message, Metadata

__all__ = [
    "__version__",
    # Chunks
    "Buffers",
    # Streams
    "BatchSocketListener",
    "BatchSocketStream",
    "StreamStatistics",
    "open_tcp_listeners",
    "open_tcp_stream",
    "open_unix_listener",
    "open_unix_socket",
    "send_buffers",
    "serve_tcp",
    # Datagrams
    "AbstractDatagramSocket",
    "DatagramError",
    "DatagramErrorGroup",
    "DatagramSocket",
    "DatagramStatistics",
    "Datagrams",
    "Message",
    "Metadata",
    "PeerError",
    "TruncatedDatagramError",
    "open_udp_socket",
    "serve_udp",
    # In a nursery
    "BatchSender",
    "BroadcastResult",
    "DatagramBatchSender",
    "Delivery",
    "SenderStatistics",
    "broadcast",
    "broadcast_nowait",
    "open_batch_sender",
    # Under the bonnet
    "Capabilities",
    "capabilities",
    "lowlevel",
]
