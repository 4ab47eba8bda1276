"""What a sender tells of what it has done."""

from __future__ import annotations

import dataclasses

import pytest

from triobatch import open_batch_sender


async def test_statistics_are_values_of_that_moment(pair):
    async with open_batch_sender(pair[0]) as sender:
        before = sender.statistics()
        await sender.send(b"x")
        await sender.flush()
        assert before.messages == 0
        assert sender.statistics().messages == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.messages = 1
    # A server may keep one for each of its connections.
    assert not hasattr(before, "__dict__")
