"""Batched socket I/O for Trio.

Many buffers, or many datagrams, in one system call; with exact progress under
cancellation. What there is, by what it is for:

Streams
    open                    open_tcp_stream, open_unix_socket
    listen and serve        serve_tcp, open_tcp_listeners, open_unix_listener,
                            inherited_sockets
    send many chunks        BatchSocketStream.send_buffers, Buffers;
                            send_buffers for TLS and all other streams
    send without waiting    BatchSocketStream.send_buffers_nowait
    send a file             BatchSocketStream.send_file, send_file, FileSlice
    parse what comes        BufferedReceiveStream, receive_proxy_header
    join two                relay

Many streams
    one message to all      broadcast, broadcast_nowait
    one task for all        serve_tcp_batches, open_stream_group

Datagrams
    open                    open_udp_socket, open_unix_datagram_socket
    serve                   serve_udp, serve_datagrams
    send many               DatagramSocket.send_batch, send_many,
                            send_segments; Datagrams, Metadata
    receive many            DatagramSocket.receive_batch, receive_messages,
                            batches
    pass on uncut           DatagramSocket.receive_runs, send_runs

Many tasks, one socket
    small messages          open_batch_sender
    for a library           open_shared_stream, open_shared_listeners

Annotations                 Address, Datagram, Payload, Handler, Status, ...;
                            AbstractDatagramSocket for what tests replace
The system calls            lowlevel
Tests                       triobatch.testing
What works here             capabilities, or python -m triobatch
"""

from triobatch import _write_to as _write_to
from triobatch import lowlevel
from triobatch._capabilities import Capabilities, capabilities
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.errors import (
    DatagramError,
    DatagramErrorGroup,
    Errors,
    TruncatedDatagramError,
)
from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.open_unix import open_unix_datagram_socket
from triobatch._datagrams.run import Run
from triobatch._datagrams.socket import DatagramSocket
from triobatch._datagrams.statistics import DatagramStatistics
from triobatch._inherited import inherited_sockets
from triobatch._queues.buffers import Buffers, Payload
from triobatch._queues.datagrams import Datagram, Datagrams, ReceivedDatagram
from triobatch._queues.file_slice import File, FileSlice
from triobatch._senders.datagram_sender import DatagramBatchSender
from triobatch._senders.open import open_batch_sender
from triobatch._senders.serve_udp import Handler, serve_datagrams, serve_udp
from triobatch._senders.shared_listener import (
    SharedListener,
    open_shared_listeners,
)
from triobatch._senders.shared_stream import SharedStream, open_shared_stream
from triobatch._senders.statistics import SenderStatistics
from triobatch._senders.stream_sender import BatchSender
from triobatch._streams.broadcast import broadcast, broadcast_nowait
from triobatch._streams.broadcast_result import (
    BroadcastResult,
    Delivery,
    Status,
)
from triobatch._streams.buffered import BufferedReceiveStream
from triobatch._streams.group import StreamGroup, open_stream_group
from triobatch._streams.group_statistics import GroupStatistics
from triobatch._streams.listener import (
    BatchSocketListener,
    StreamHandler,
    open_tcp_listeners,
    open_tcp_stream,
    open_unix_listener,
    open_unix_socket,
    serve_tcp,
)
from triobatch._streams.proxy import receive_proxy_header
from triobatch._streams.received import FrameTooLargeError
from triobatch._streams.relay import relay
from triobatch._streams.send_buffers import send_buffers
from triobatch._streams.send_file import send_file
from triobatch._streams.serve_tcp_batches import (
    BatchHandler,
    serve_tcp_batches,
)
from triobatch._streams.stream import BatchSocketStream, StreamStatistics
from triobatch._version import __version__
from triobatch._wire.addresses import Address
from triobatch._wire.error_queue import PeerError
from triobatch._wire.metadata import Message, Metadata
from triobatch._wire.proxy import ProxyHeader
from triobatch._wire.proxy_extensions import ProxyHeaderError
from triobatch._wire.public import settle as _settle

__all__ = [
    "__version__",
    # Chunks
    "Buffers",
    "FileSlice",
    # Streams
    "BatchSocketListener",
    "BatchSocketStream",
    "BufferedReceiveStream",
    "FrameTooLargeError",
    "ProxyHeader",
    "ProxyHeaderError",
    "StreamStatistics",
    "open_tcp_listeners",
    "open_tcp_stream",
    "open_unix_listener",
    "open_unix_socket",
    "receive_proxy_header",
    "relay",
    "send_buffers",
    "send_file",
    "serve_tcp",
    # Many streams at once
    "GroupStatistics",
    "StreamGroup",
    "open_stream_group",
    "serve_tcp_batches",
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
    "Run",
    "TruncatedDatagramError",
    "open_udp_socket",
    "open_unix_datagram_socket",
    "serve_datagrams",
    "serve_udp",
    # From systemd
    "inherited_sockets",
    # In a nursery
    "BatchSender",
    "BroadcastResult",
    "DatagramBatchSender",
    "Delivery",
    "SenderStatistics",
    "SharedListener",
    "SharedStream",
    "broadcast",
    "broadcast_nowait",
    "open_batch_sender",
    "open_shared_listeners",
    "open_shared_stream",
    # To annotate with
    "Address",
    "BatchHandler",
    "Datagram",
    "Errors",
    "File",
    "Handler",
    "Payload",
    "ReceivedDatagram",
    "Status",
    "StreamHandler",
    # Under the bonnet
    "Capabilities",
    "capabilities",
    "lowlevel",
]

_settle(__name__, globals())
