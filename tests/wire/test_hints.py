"""Annotations of what is public, as a running program reads them."""

import inspect
import typing

import pytest

import triobatch
import triobatch.testing
from triobatch._wire import hints


def functions_of(cls):
    """Return what a class, and those above it here, define."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "triobatch":
            for name, item in vars(base).items():
                function = getattr(item, "fget", item)
                function = getattr(function, "__func__", function)
                # What NamedTuple generates has its annotations from the class.
                if inspect.isfunction(function) and not (
                    function.__module__.startswith("namedtuple_")
                ):
                    yield f"{cls.__name__}.{name}", function


def annotated():
    for module in (triobatch, triobatch.lowlevel, triobatch.testing):
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isclass(item):
                yield name, item
                yield from functions_of(item)
            elif inspect.isfunction(item):
                yield name, item


ANNOTATED = dict(annotated())


@pytest.mark.parametrize("name", ANNOTATED)
def test_every_annotation_can_be_read(name):
    hints = typing.get_type_hints(ANNOTATED[name])
    assert not any(isinstance(hint, str) for hint in hints.values())


def test_the_search_finds_them():
    assert len(ANNOTATED) > 300
    assert {
        "open_udp_socket",
        "StreamGroup.send_batch_nowait",
        "DatagramSocket.local_address",
        "sendmmsg",
        "simulate",
    } <= ANNOTATED.keys()


def test_annotations_say_what_a_type_checker_reads():
    method = triobatch.BatchSocketStream.receive_some
    assert typing.get_type_hints(method) == {
        "max_bytes": int | None,
        "return": bytes,
    }
    found = typing.get_type_hints(triobatch.DatagramSocket.send)
    assert found["data"] == hints.Buffer | triobatch.Buffers


@pytest.mark.parametrize("value", [b"", bytearray(), memoryview(b"")])
def test_what_has_the_buffer_protocol_is_a_buffer(value):
    assert isinstance(value, hints.Buffer)
    assert not isinstance("", hints.Buffer)
