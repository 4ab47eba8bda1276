"""Batched datagrams for Trio: the half of the package that is here."""

from triobatch._buffers import Buffers
from triobatch._datagram_errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)
from triobatch._datagram_socket import DatagramSocket
from triobatch._datagram_statistics import DatagramStatistics
from triobatch._datagrams import Datagrams
from triobatch._error_queue import PeerError
from triobatch._metadata import Message, Metadata
from triobatch._open_udp_socket import open_udp_socket

__all__ = [
    "Buffers",
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
]
