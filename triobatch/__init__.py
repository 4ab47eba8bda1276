"""Batched datagrams for Trio: the half of the package that is here."""

from ._buffers import Buffers
from ._datagram_errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)
from ._datagram_socket import DatagramSocket
from ._datagram_statistics import DatagramStatistics
from ._datagrams import Datagrams
from ._error_queue import PeerError
from ._metadata import Message, Metadata
from ._open_udp_socket import open_udp_socket

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
