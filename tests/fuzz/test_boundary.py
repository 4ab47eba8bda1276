"""A few of the fuzzer's cases, always the same: `.ci/fuzz` makes the rest."""

from __future__ import annotations

import pytest
import trio
from fuzz import boundary
from needs import needs_unix_sockets

import triobatch

CASES = 120


def test_every_public_class_is_called_or_has_a_reason():
    names = {name.partition(".")[0] for name, _, _ in boundary.FUNCTIONS}
    assert {"Buffers", "DatagramSocket", "StreamGroup", "lowlevel"} <= names
    assert len(boundary.FUNCTIONS) > 150


@needs_unix_sockets
@pytest.mark.parametrize("start", range(0, CASES, 20))
def test_arbitrary_calls_succeed_or_raise_what_is_documented(start, tmp_path):
    (tmp_path / "file").write_bytes(b"file" * 1000)
    for seed in range(start, start + 20):
        boundary.run_case(seed, tmp_path)


def test_what_is_not_documented_is_found(tmp_path, monkeypatch):
    def broken(self, size):
        raise KeyError(size)

    monkeypatch.setattr(boundary.Buffers, "consume", broken)
    consume = [each for each in boundary.FUNCTIONS if "consume" in each[0]]
    monkeypatch.setattr(boundary, "FUNCTIONS", consume[:1])
    (tmp_path / "file").touch()
    with pytest.raises(boundary.Finding, match=r"Buffers\.consume"):
        boundary.run_case(0, tmp_path)


def test_a_queue_that_a_mistake_has_changed_is_found(tmp_path, monkeypatch):
    def broken(self, chunk):
        self.clear()
        raise TypeError("chunk")

    monkeypatch.setattr(boundary.Buffers, "append", broken)
    append = [each for each in boundary.FUNCTIONS if "append" in each[0]]
    monkeypatch.setattr(boundary, "FUNCTIONS", append[:1])
    (tmp_path / "file").touch()
    with pytest.raises(boundary.Finding, match="a queue has changed"):
        boundary.run_case(0, tmp_path)


async def test_all_that_a_late_call_has_opened_is_closed():
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    listeners += await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    with trio.move_on_after(0):
        await boundary.settle(listeners)
    assert [each.socket.fileno() for each in listeners] == [-1, -1]
