"""The calls that are made of one."""

from __future__ import annotations

import errno

import pytest

from triobatch.testing import os_error
from triobatch.testing._kernel_calls import KernelCalls


class Log(KernelCalls):
    """Takes every message but those with an exclamation mark."""

    def __init__(self, most=64):
        super().__init__(most)
        self.log = []

    def _send(self, fd, payload, segment_size, peer, control):
        if b"!" in payload:
            raise os_error(errno.EPERM)
        self.log.append((payload, segment_size, peer, control))


def test_what_holds_for_all_holds_for_each():
    kernel = Log()
    assert (
        kernel.send_datagrams(3, b"abbccc", [1, 2, 3], [0, 1, 0], [b"p"], ())
        == 3
    )
    assert kernel.log == [
        (b"a", 0, b"p", ()),
        (b"bb", 1, b"p", ()),
        (b"ccc", 0, b"p", ()),
    ]


def test_what_differs_is_each_ones_own():
    kernel = Log()
    controls = [((0, 1, b"x"),), ()]
    kernel.send_datagrams(3, b"ab", [1, 1], [0, 0], [b"p", b"q"], (), controls)
    assert [item[2:] for item in kernel.log] == [
        (b"p", controls[0]),
        (b"q", ()),
    ]


def test_an_error_ends_the_call_and_is_met_by_the_next():
    kernel = Log()
    assert kernel.send_datagrams(3, b"a!", [1, 1], [0, 0], [b""], ()) == 1
    with pytest.raises(PermissionError):
        kernel.send_datagrams(3, b"!", [1], [0], [b""], ())


def test_a_call_looks_at_so_many_messages_and_no_more():
    kernel = Log(2)
    assert kernel.send_runs(3, [b"a", b"b", b"c"], [0] * 3, b"", ()) == 2
    assert kernel.send_segments(3, b"abcdef", 1, 2, b"", ()) == 4
    assert [item[:2] for item in kernel.log] == [
        (b"a", 0),
        (b"b", 0),
        (b"ab", 1),
        (b"cd", 1),
    ]


def test_each_goes_past_what_is_refused():
    kernel = Log()
    tries = bytes(int(number == errno.EPERM) for number in range(256))
    tried = kernel.send_past(
        3, [b"a!", b"b"], [1, 1, 1], [0] * 3, [b"p"], (), tries
    )
    assert tried.errors == bytes([0, errno.EPERM, 0])
    assert [item[0] for item in kernel.log] == [b"a", b"b"]


def test_the_last_segment_may_be_alone():
    kernel = Log()
    assert kernel.send_segments(3, b"abcde", 2, 4, b"", ()) == 5
    assert [item[:2] for item in kernel.log] == [(b"abcd", 2), (b"e", 0)]
