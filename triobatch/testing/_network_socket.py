"""A datagram socket of a simulated network."""

from __future__ import annotations

import trio

from triobatch._core import calls
from triobatch._core.receive_memory import spares
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.message_inbox import MessageInbox
from triobatch._datagrams.receiving import Filling, ReceiveHalf
from triobatch._datagrams.sending import SendHalf
from triobatch._resource import open_fd
from triobatch._wire.addresses import Address, decode_address
from triobatch._wire.described import address_text, described
from triobatch.testing._network_kernel import SEGMENTS, NetworkKernel
from triobatch.testing._network_ports import Port, PortReadiness


class SimulatedDatagramSocket(AbstractDatagramSocket):
    """A socket on a host in memory; see ``SimulatedNetwork.open_socket``."""

    def __init__(
        self,
        kernel: NetworkKernel,
        sockaddr: bytes,
        peer: bytes,
        *,
        error_queue: bool,
        send_buffer_size: int,
        receive_buffer_size: int,
    ) -> None:
        port = self._port = Port(
            sockaddr,
            peer,
            send_buffer_size=send_buffer_size,
            receive_buffer_size=receive_buffer_size,
            keep_errors=error_queue,
        )
        kernel.open(port)
        self._readiness = PortReadiness(port, kernel.settle, kernel.close)
        inbox = MessageInbox(spares(calls.MAX_MESSAGES, port.family))
        super().__init__(
            SendHalf(
                port, self._readiness, SEGMENTS, kernel, trio.current_time
            ),
            ReceiveHalf(
                port, self._readiness, Filling(inbox, port.family, kernel)
            ),
        )

    @described
    def __repr__(self) -> str:
        if self._port.fd == -1:
            return "closed"
        return address_text(decode_address(self._port.sockaddr))

    @property
    def local_address(self) -> Address:
        """Where it is bound."""
        open_fd(self._port)
        return decode_address(self._port.sockaddr)

    @property
    def remote_address(self) -> Address:
        """The peer it is connected to, or None."""
        open_fd(self._port)
        return decode_address(self._port.peer)

    async def aclose(self) -> None:
        """Close the socket; whoever waits gets ``ClosedResourceError``.

        What has arrived and was not received is lost, and what is on its way
        finds a closed port.
        """
        self._readiness.close()
        self._receive.inbox.close()
        await trio.lowlevel.checkpoint()

    def _kernel_drops(self) -> int:
        return self._port.drops
