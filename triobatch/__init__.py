"""Batched socket I/O for Trio.

Many buffers, or many datagrams, in one system call; with exact progress under
cancellation.
"""

from triobatch import lowlevel
from triobatch._batch_sender import BatchSender
from triobatch._broadcast import broadcast, broadcast_nowait
from triobatch._broadcast_result import BroadcastResult, Delivery
from triobatch._buffers import Buffers
from triobatch._capabilities import Capabilities, capabilities
from triobatch._datagram_batch_sender import DatagramBatchSender
from triobatch._datagram_errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)
from triobatch._datagram_socket import DatagramSocket
from triobatch._datagram_statistics import DatagramStatistics
from triobatch._datagrams import Datagrams
from triobatch._error_queue import PeerError
from triobatch._listener import (
    BatchSocketListener,
    open_tcp_listeners,
    open_tcp_stream,
    open_unix_listener,
    open_unix_socket,
    serve_tcp,
)
from triobatch._metadata import Message, Metadata
from triobatch._open_udp_socket import open_udp_socket
from triobatch._send_buffers import send_buffers
from triobatch._sender import open_batch_sender
from triobatch._sender_statistics import SenderStatistics
from triobatch._serve_udp import serve_udp
from triobatch._stream import BatchSocketStream
from triobatch._stream_statistics import StreamStatistics
from triobatch._version import __version__

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
