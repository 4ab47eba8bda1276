"""Stream groups, by an epoll set and by a task for each stream."""

from __future__ import annotations

import pytest

import triobatch
from triobatch._streams import group_readiness


@pytest.fixture(params=["epoll", "tasks"])
def sets(request, monkeypatch):
    """How a group learns what is ready."""
    if request.param == "tasks":
        monkeypatch.setattr(group_readiness, "_EPOLL", False)
    elif not group_readiness._EPOLL:
        pytest.skip("there is no epoll here")
    return request.param


@pytest.fixture
async def group(sets):
    """A group with a small queue."""
    async with triobatch.open_stream_group(
        receive_size=100, max_queued=1000
    ) as group:
        yield group


@pytest.fixture
def connect(make_streams, group):
    """An async function that adds a stream, and returns it and its peer."""

    async def add(send_size=None):
        stream, peer = await make_streams(send_size)
        group.add(stream)
        return stream, peer

    return add


@pytest.fixture
def fall_behind(group):
    """A function that sends to a member until bytes are queued."""

    def send(stream):
        sent = 0
        while not group.queued(stream):
            assert group.send_batch_nowait([(stream, b"x" * 65536)]) == []
            sent += 65536
        return sent

    return send
