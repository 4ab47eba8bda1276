"""Streams whose descriptor may be used itself, and those where it may not."""

import pytest

from triobatch import BatchSocketStream
from triobatch._streams.plain import (
    RECEIVE_METHODS,
    SEND_METHODS,
    is_plain,
    is_plain_both_ways,
)


def test_no_way_to_send_is_forgotten():
    ways = {name for name in dir(BatchSocketStream) if name.startswith("send")}
    # A file goes by what a subclass defines first; see send_file.
    assert set(SEND_METHODS) == ways - {"send_eof", "send_file"}


def test_no_way_to_receive_is_forgotten():
    names = dir(BatchSocketStream)
    ways = {name for name in names if name.startswith("receive")}
    assert set(RECEIVE_METHODS) == ways


@pytest.mark.parametrize("name", [*SEND_METHODS, *RECEIVE_METHODS])
def test_a_method_of_its_own_makes_a_subclass_another(name):
    kind = type("Own", (BatchSocketStream,), {name: lambda self: None})
    stream = kind.__new__(kind)
    assert not is_plain_both_ways(stream)
    assert is_plain(stream) == (name in RECEIVE_METHODS)


def test_a_subclass_that_adds_something_is_plain():
    kind = type("More", (BatchSocketStream,), {"name": "more"})
    assert is_plain_both_ways(kind.__new__(kind))
