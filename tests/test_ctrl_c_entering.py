"""Ctrl-C at the moment when a function that cleans up is entered."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio
from trio.testing import memory_stream_pair

import triobatch
from triobatch.testing import open_simulated_network

pytestmark = [
    pytest.mark.usefixtures("python_handles_ctrl_c"),
    pytest.mark.skipif(
        os.name == "nt", reason="Windows has no signals to send to oneself"
    ),
]


def press_when_entered(module, name):
    """Press Ctrl-C in the first frame of a function, before its first line."""

    def profile(frame, event, _):
        code = frame.f_code
        if (
            event == "call"
            and code.co_name == name
            and code.co_filename.endswith(module)
        ):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(profile)


def interrupted(main):
    """Run until Ctrl-C comes out, in a nursery's group or not."""
    error = None
    try:
        trio.run(main)
    except BaseException as raised:  # noqa: BLE001 (looked at below)
        error = raised
    finally:
        entered = sys.getprofile() is None
        sys.setprofile(None)
    assert entered
    # A nursery's group, which is no built-in class on 3.10.
    while hasattr(error, "exceptions"):
        (error,) = error.exceptions
    assert type(error) is KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("shared_listener.py", "_close"),
        ("contextlib.py", "push_async_callback"),
    ],
)
def test_ctrl_c_leaves_no_shared_listener_open(module, name):
    listeners = []

    async def main():
        for _ in range(2):
            listeners.extend(
                await triobatch.open_tcp_listeners(0, host="127.0.0.1")
            )
        async with triobatch.open_shared_listeners(listeners):
            press_when_entered(module, name)

    interrupted(main)
    assert [one.socket.fileno() for one in listeners] == [-1, -1]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("serve_udp.py", "serve_datagrams"),
        ("serve_udp.py", "_close"),
        ("contextlib.py", "push_async_callback"),
    ],
)
def test_ctrl_c_leaves_no_served_socket_open(module, name):
    sockets = []

    async def handler(datagrams, sender):
        """Nothing comes."""

    async def main():
        for _ in range(2):
            sock = await triobatch.open_udp_socket(
                local_address=("127.0.0.1", 0)
            )
            sockets.append(sock)
        with trio.move_on_after(0.01):
            press_when_entered(module, name)
            await triobatch.serve_datagrams(handler, sockets)

    interrupted(main)
    assert [one.socket.fileno() for one in sockets] == [-1, -1]


def stream():
    return memory_stream_pair()[0]


@pytest.mark.parametrize("module", ["_resource.py", "contextlib.py"])
@pytest.mark.parametrize("name", ["__aenter__", "__aexit__"])
@pytest.mark.parametrize(
    "scope",
    [
        triobatch.open_stream_group,
        lambda: triobatch.open_batch_sender(stream()),
        lambda: triobatch.open_shared_stream(stream()),
        lambda: triobatch.open_shared_listeners([]),
        lambda: open_simulated_network(seed=1),
    ],
)
def test_ctrl_c_does_not_keep_a_scope_from_being_left(module, name, scope):
    async def main():
        entering = scope()
        if name == "__aenter__":
            press_when_entered(module, name)
        async with entering:
            if name == "__aexit__":
                press_when_entered(module, name)
        # Where a scope has no checkpoint that Ctrl-C comes out of.
        await trio.lowlevel.checkpoint()

    interrupted(main)
