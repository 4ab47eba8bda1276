"""A batch whose datagrams have metadata of their own.

Control messages are a message's, and a run is one message: so a run ends
where they change, as it does where the destination changes, and all of it
still goes with one sendmmsg(2).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from triobatch._datagrams import gso
from triobatch._datagrams.dispatch import Dispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._wire.control import Control


class MixedDispatch(Dispatch):
    """The state of one such call; an ``AnyDispatch``.

    Args:
      controls: What goes with each datagram.

    The others are a ``Dispatch``'s.
    """

    __slots__ = ("_controls",)

    def __init__(
        self, *arguments: Any, controls: list[Control], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._controls = controls

    def _columns(self) -> list[list[Any]]:
        return [*super()._columns(), self._controls]

    def _plan_runs(
        self, _first: int, sizes: list[int], peers: list[bytes]
    ) -> gso.Messages:
        controls = self._controls[_first : _first + len(sizes)]
        return plan(sizes, peers, controls, self._limit)

    def _plan_each(self, first: int) -> gso.Messages:
        messages = super()._plan_each(first)
        last = first + len(messages.sizes)
        return messages._replace(controls=self._controls[first:last])


def plan(
    sizes: list[int],
    peers: list[bytes],
    controls: list[Control],
    limit_of: Callable[[bytes], gso.Limit],
) -> gso.Messages:
    """Cut a batch into messages, as ``gso.plan`` does.

    Args:
      sizes: Bytes a datagram, at least one item.
      peers: The sockaddr of each.
      controls: What goes with each.
      limit_of: Returns a destination's limit.
    """
    planned = gso.Messages([], [], [], [])
    own: list[Control] = []
    start = 0
    for control, same in groupby(controls):
        end = start + len(list(same))
        if end - start == 1:
            # The rule, where each has its own: 10 us less than a plan.
            planned.sizes.append(sizes[start])
            planned.segment_sizes.append(0)
            planned.counts.append(1)
            planned.peers.append(peers[start])
            own.append(control)
            start = end
            continue
        part = gso.plan(sizes[start:end], peers[start:end], limit_of)
        count = len(part.sizes)
        to_one = len(part.peers) == 1
        planned.sizes.extend(part.sizes)
        planned.segment_sizes.extend(part.segment_sizes)
        planned.counts.extend(part.counts)
        planned.peers.extend(part.peers * count if to_one else part.peers)
        own += [control] * count
        start = end
    return planned._replace(controls=own)
