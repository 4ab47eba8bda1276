"""State machines beside Trio: operations that are disturbed on their way.

An operation runs as the main task of a run of its own, since that is where
Trio delivers Ctrl-C. At one of its steps, which an instrument counts, it is
cancelled, or interrupted, or something else happens.

Examples are always the same, and few; ``TRIOBATCH_MODEL_EXAMPLES=5000`` runs
others, and so many.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

import outcome
import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from receive_buffer import grow_receive_buffer
from trio.testing import wait_all_tasks_blocked

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

EXAMPLES = int(os.environ.get("TRIOBATCH_MODEL_EXAMPLES", "0"))
# What failed among many is printed as it is: to make it smaller takes longer
# than to read it.
PHASES = [Phase.generate] if EXAMPLES else [Phase.generate, Phase.shrink]
# Any sequence of bytes in which a gap or a repetition shows.
PATTERN = bytes(range(251)) * 4500


def machine_test(machine, steps=15, examples=12):
    """Return the test case of a machine."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    timeout = pytest.mark.timeout(max(120, 2 * EXAMPLES))
    return pytest.mark.models(timeout(case))


def sequence(start, size):
    """Return bytes ``start`` to ``start + size`` of any sequence."""
    return PATTERN[start % 251 :][:size]


def cut(data, sizes):
    """Return data in pieces of so many bytes, and what is left."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return pieces


# Of an operation that was cancelled, or interrupted.
DISTURBED = outcome.Error(InterruptedError("disturbed"))


class Disturbance(trio.abc.Instrument):
    """What happens at a step of the operation.

    Args:
      kind: None, "cancel", "ctrl-c", or any other, which is the caller's.
      after: At which step, from 1.
      act: What another kind does; called between two tasks.
    """

    def __init__(self, kind, after, act=None):
        self.kind, self.after, self.act = kind, after, act
        self.scope = self.task = None
        self.steps = 0

    def before_task_step(self, task):
        if task is not self.task:
            return
        self.steps += 1
        if self.steps == self.after:
            self.strike()

    def strike(self):
        """Let it happen."""
        if self.kind == "cancel":
            self.scope.cancel()
        elif self.kind == "ctrl-c":
            signal.raise_signal(signal.SIGINT)
        elif self.act is not None:
            trio.lowlevel.current_trio_token().run_sync_soon(self.act)

    @trio.lowlevel.enable_ki_protection
    async def at_last(self):
        """Let it happen when the operation comes to no more steps."""
        await wait_all_tasks_blocked(0.001)
        if self.steps < self.after:
            self.steps = self.after
            self.strike()


disturbances = st.one_of(
    st.just((None, 0)),
    st.tuples(st.sampled_from(["cancel", "ctrl-c"]), st.integers(1, 6)),
)


def disturbed(operation, kind=None, after=0, *, act=None, beside=()):
    """Run an operation, and disturb it.

    Args:
      operation: An async function.
      kind: See ``Disturbance``.
      after: See ``Disturbance``.
      act: See ``Disturbance``.
      beside: Async functions that run meanwhile, and are ended then.

    Returns:
      An ``outcome.Outcome``: what it returned or raised, in time; or
      ``DISTURBED``, if it was cancelled or interrupted.
    """
    disturbance = Disturbance(kind, after, act)
    result = DISTURBED

    # Ctrl-C has to be an outcome, wherever it comes out.
    @trio.lowlevel.enable_ki_protection
    async def main():
        nonlocal result
        try:
            async with trio.open_nursery() as nursery:
                for function in beside:
                    nursery.start_soon(function)
                nursery.start_soon(disturbance.at_last)
                with trio.fail_after(60):
                    try:
                        with trio.CancelScope() as scope:
                            disturbance.scope = scope
                            disturbance.task = trio.lowlevel.current_task()
                            result = await outcome_of(operation)
                    except Exception as error:  # noqa: BLE001
                        # What came beside the cancellation.
                        result = outcome.Error(error)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if not has(group, KeyboardInterrupt):
                raise

    with python_handles_ctrl_c(), contextlib.suppress(KeyboardInterrupt):
        trio.run(main, instruments=[disturbance])
    return result


def has(error, kind):
    """Whether an error is, or a group holds, one of a kind."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(kind) is not None
    return isinstance(error, kind)


async def outcome_of(operation):
    try:
        return outcome.Value(await unprotected(operation))
    except BaseException as error:
        if has(error, trio.Cancelled):
            raise
        if has(error, KeyboardInterrupt):
            return DISTURBED
        return outcome.Error(error)


@trio.lowlevel.disable_ki_protection
async def unprotected(operation):
    return await operation()


@contextlib.contextmanager
def python_handles_ctrl_c():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def stream_sockets(family):
    """Return two standard sockets with small buffers."""
    if family == "unix":
        pair = socket.socketpair()
        for sock in pair:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            first = socket.create_connection(listener.getsockname())
            pair = first, listener.accept()[0]
        for sock in pair:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    for sock in pair:
        sock.setblocking(False)
    return pair


# The families of streams, and of datagrams, that there are.
_UNIX = ["unix"] if hasattr(socket, "AF_UNIX") else []
STREAM_FAMILIES = [*_UNIX, "tcp"]
DATAGRAM_FAMILIES = [*_UNIX, "udp"]


def datagram_sockets(family):
    """Return two standard datagram sockets."""
    if family == "unix":
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    else:
        pair = [
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)
        ]
        for sock in pair:
            sock.bind(("127.0.0.1", 0))
            grow_receive_buffer(sock)
        pair[0].connect(pair[1].getsockname())
        pair[1].connect(pair[0].getsockname())
    for sock in pair:
        sock.setblocking(False)
    return pair
