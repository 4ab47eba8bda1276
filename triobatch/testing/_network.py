"""A network that exists in memory, with hosts, faults and a seed."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from math import inf

import trio

from triobatch._resource import async_scope
from triobatch._wire.addresses import (
    Address,
    decode_address,
    encode_address,
    endpoint,
)
from triobatch._wire.arguments import at_least, check_is, must_be
from triobatch._wire.described import described
from triobatch.testing._network_conditions import (
    NetworkConditions,
    NetworkStatistics,
)
from triobatch.testing._network_kernel import NetworkKernel
from triobatch.testing._network_socket import SimulatedDatagramSocket

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# What Linux gives from (net.ipv4.ip_local_port_range), and up to.
_EPHEMERAL = range(32768, 61000)
# What Linux gives a socket (net.core.rmem_default, net.core.wmem_default).
_BUFFER_SIZE = 212992
# How many of the last events are kept.
_HISTORY = 1000


@async_scope
async def open_simulated_network(
    seed: int | str,
    *,
    conditions: NetworkConditions | None = None,
) -> AsyncIterator[SimulatedNetwork]:
    """Open a network of hosts that exist in memory only.

    Its sockets do what ``DatagramSocket`` does, by the same code, but for the
    kernel and what is between the hosts: that loses, delays, reorders and
    doubles datagrams, fills buffers, and reports closed ports, as it is told
    and as the seed has it. ::

        async with open_simulated_network(
            7, conditions=NetworkConditions(delay=0.02, loss=0.1)
        ) as network:
            server = network.open_socket(("10.0.0.1", 53))
            client = network.open_socket(("10.0.0.2", 0))

    ``simulate`` opens one for a function, under a clock that jumps.

    Args:
      seed: What all chance comes from.
      conditions: What happens on every way for which nothing else is set;
        nothing by default.

    A task in a nursery of this block lets datagrams arrive. At the end the
    sockets are closed; whoever waits on one gets ``ClosedResourceError``. An
    exception of the block comes out as it is, without a group.
    """
    if not isinstance(seed, int | str):
        raise TypeError(must_be("seed must be an int or a str", seed))
    if conditions is not None:
        check_is(conditions, NetworkConditions, "conditions")
    network = SimulatedNetwork(seed, conditions or NetworkConditions())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network._deliver)
            try:
                yield network
            finally:
                network._close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The nursery has nothing to add: its task does not fail.
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        context = error.__context__
        try:
            raise error
        finally:
            # And not the group, which has it.
            error.__context__ = context
            del error, context


class SimulatedNetwork:
    """Hosts, and what is between them; see ``open_simulated_network``.

    Attributes:
      seed: What all chance comes from.
      random: A generator for what the program under test or its clients do
        by chance, so that the seed holds for that as well. The network has
        one of its own.
    """

    def __init__(self, seed: int | str, conditions: NetworkConditions) -> None:
        self.seed = seed
        self.random: random.Random = random.Random(f"program {seed}")  # noqa: S311
        self._default = conditions
        self._paths: dict[
            tuple[bytes | None, bytes | None], NetworkConditions
        ] = {}
        self._kernel = NetworkKernel(
            random.Random(f"network {seed}"),  # noqa: S311
            trio.current_time,
            self._conditions_of,
        )
        self._kernel.on_schedule = self._next_is_at
        self._kernel.on_event = self._note
        self._history: deque[tuple[float, str, bytes, bytes, int]] = deque(
            maxlen=_HISTORY
        )
        self._scope: trio.CancelScope | None = None

    @described
    def __repr__(self) -> str:
        return f"seed {self.seed!r}, {len(self._kernel.ports)} sockets"

    def open_socket(
        self,
        local_address: Address,
        *,
        remote_address: Address = None,
        error_queue: bool = False,
        send_buffer_size: int = _BUFFER_SIZE,
        receive_buffer_size: int = _BUFFER_SIZE,
    ) -> SimulatedDatagramSocket:
        """Return a new socket on a host, which is there from then on.

        Args:
          local_address: A numeric unicast address; port 0 lets the host
            choose.
          remote_address: The peer to connect it to: then it hears nobody
            else.
          error_queue: Keep what the network reports for ``receive_errors``.
          send_buffer_size: Bytes that wait for a path with a ``rate``; each
            datagram counts 768 bytes more, as Linux does.
          receive_buffer_size: Bytes that wait for being received, likewise.
            What does not fit is dropped, and counted.

        Raises:
          OSError: the address is in use.
          TypeError, ValueError: an address is none, or a size not positive.
        """
        sockaddr = _internet(local_address, "local_address")
        if endpoint(sockaddr)[:2] == b"\0\0":
            sockaddr = self._ephemeral(local_address)
        peer = b""
        if remote_address is not None:
            peer = _internet(remote_address, "remote_address")
            if len(peer) != len(sockaddr):
                raise ValueError(
                    "remote_address must be of the family of "
                    f"{local_address!r}, not {remote_address!r}"
                )
        send_buffer_size = at_least(1, send_buffer_size, "send_buffer_size")
        receive_buffer_size = at_least(
            1, receive_buffer_size, "receive_buffer_size"
        )
        return SimulatedDatagramSocket(
            self._kernel,
            sockaddr,
            peer,
            error_queue=error_queue,
            send_buffer_size=send_buffer_size,
            receive_buffer_size=receive_buffer_size,
        )

    def _ephemeral(self, address: Address) -> bytes:
        assert isinstance(address, tuple)
        for port in _EPHEMERAL:
            sockaddr = encode_address((address[0], port, *address[2:]))
            if not self._kernel.is_bound(sockaddr):
                return sockaddr
        raise ValueError(f"the host of {address!r} has no port left")

    def set_conditions(
        self,
        conditions: NetworkConditions,
        *,
        source: str | None = None,
        target: str | None = None,
    ) -> None:
        """Say what happens from now on to what leaves.

        What is set for both hosts holds before what is set for one, and for
        the source before the target. What is on its way is not touched. ::

            # The server cannot be reached any more; its answers can.
            network.set_conditions(
                NetworkConditions(loss=1), target="10.0.0.1"
            )

        Args:
          conditions: What happens.
          source: The numeric host it comes from; None for all.
          target: The numeric host it goes to; None for all.

        Raises:
          ValueError: a host is not numeric.
        """
        check_is(conditions, NetworkConditions, "conditions")
        if source is None and target is None:
            self._default = conditions
        else:
            self._paths[_host(source, "source"), _host(target, "target")] = (
                conditions
            )

    def change_conditions(
        self,
        *,
        source: str | None = None,
        target: str | None = None,
        **changes: float | None,
    ) -> None:
        """Change fields of ``NetworkConditions``, and leave the others.

        Args:
          source: As for ``set_conditions``.
          target: As for ``set_conditions``.
          changes: The fields, by name.

        Raises:
          TypeError: there is no such field.
        """
        before = self._conditions_of(
            _host(source, "source"), _host(target, "target")
        )
        self.set_conditions(
            replace(before, **changes),  # type: ignore[arg-type]
            source=source,
            target=target,
        )

    def _conditions_of(
        self, source: bytes | None, target: bytes | None
    ) -> NetworkConditions:
        paths = self._paths
        if paths:
            for hosts in ((source, target), (source, None), (None, target)):
                if hosts in paths:
                    return paths[hosts]
        return self._default

    def statistics(self) -> NetworkStatistics:
        """Return what has become of all datagrams up to this moment."""
        self._kernel.settle()
        return replace(self._kernel.statistics)

    def history(self) -> list[str]:
        """Return the last thousand events, a line each.

        Two runs with one seed have one history, of lines such as
        ``12.034000 10.0.0.2:32768 > 10.0.0.1:53 512 lost``.
        """
        return [
            f"{at:.6f} {_text(source)} > {_text(target)} {size} {verb}"
            for at, verb, source, target, size in self._history
        ]

    def _note(
        self, at: float, verb: str, source: bytes, target: bytes, size: int
    ) -> None:
        self._history.append((at, verb, source, target, size))

    def _next_is_at(self, at: float) -> None:
        if self._scope is not None:
            self._scope.deadline = at

    async def _deliver(self) -> None:
        """Let datagrams arrive at their times."""
        while True:
            self._kernel.settle()
            at = self._kernel.next_event
            with trio.CancelScope(
                deadline=inf if at is None else at
            ) as self._scope:
                await trio.sleep_forever()

    def _close(self) -> None:
        for port in list(self._kernel.ports.values()):
            self._kernel.close(port)


def _internet(address: Address, name: str) -> bytes:
    """Return the sockaddr of an address of a host.

    Raises:
      TypeError: it is no tuple.
      ValueError: it is not one of a single host.
    """
    if not isinstance(address, tuple):
        raise TypeError(
            f"{name} must be (host, port), "
            f"not {type(address).__name__}: {address!r}"
        )
    try:
        sockaddr = encode_address(address)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    host = endpoint(sockaddr)[2:]
    if not any(host) or host[12:] == bytes(4):
        raise ValueError(f"{name} must be of a single host, not {address!r}")
    return sockaddr


def _host(host: str | None, name: str) -> bytes | None:
    if host is None:
        return None
    if not isinstance(host, str):
        raise TypeError(must_be(f"{name} must be a str or None", host))
    return endpoint(encode_address((host, 0)))[2:]


def _text(sockaddr: bytes) -> str:
    address = decode_address(sockaddr)
    assert isinstance(address, tuple)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
