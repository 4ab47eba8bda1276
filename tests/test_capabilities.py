"""What is said about this machine."""

import dataclasses
import os
import platform

import pytest

from triobatch import Capabilities, capabilities
from triobatch._core import chunks as _chunks
from triobatch._core.choice import CORE, CORE_REASON
from triobatch._core.probes import gso_segments, has_gro


def test_the_core_is_the_one_that_runs():
    found = capabilities()
    assert (found.core, found.core_reason) == (CORE, CORE_REASON)


def test_the_chunk_extension_is_told_apart_from_the_core():
    assert capabilities().chunk_extension == (
        _chunks.measure.__module__ == "triobatch._core._chunks_c"
    )


def test_the_kernel_is_named_with_its_release():
    assert capabilities().kernel == f"{platform.system()} {platform.release()}"


@pytest.mark.skipif(
    not hasattr(os, "sysconf") or "SC_IOV_MAX" not in os.sysconf_names,
    reason="the system does not say",
)
def test_iov_max_is_what_the_system_says():
    stated = os.sysconf("SC_IOV_MAX")
    assert capabilities().iov_max == (stated if 0 < stated < 1024 else 1024)


@pytest.mark.parametrize(
    ("stated", "used"),
    [
        (16, 16),
        (1023, 1023),
        (1024, 1024),
        (1025, 1024),
        (0, 1024),
        (-1, 1024),
    ],
)
def test_iov_max_never_passes_1024(monkeypatch, stated, used):
    monkeypatch.setattr(os, "sysconf", lambda name: stated, raising=False)
    assert _chunks._system_iov_max() == used


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_iov_max_is_low_where_the_system_does_not_say(monkeypatch, error):
    def refuse(name):
        raise error

    monkeypatch.setattr(os, "sysconf", refuse, raising=False)
    assert _chunks._system_iov_max() == 16


def test_capabilities_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        capabilities().core = "rust"


def test_datagram_calls_are_those_of_the_kernel_and_the_core():
    found = capabilities()
    assert found.sendmmsg == (CORE == "c")
    assert found.gso_segments == gso_segments()
    assert found.gro == has_gro()


def test_each_one_gets_a_line():
    found = Capabilities(
        core="c",
        core_reason="it was built",
        chunk_extension=True,
        kernel="Linux 6",
        iov_max=1024,
        sendmmsg=True,
        gso_segments=128,
        gro=False,
    )
    assert str(found).splitlines() == [
        "core             c",
        "core_reason      it was built",
        "chunk_extension  True",
        "kernel           Linux 6",
        "iov_max          1024",
        "sendmmsg         True",
        "gso_segments     128",
        "gro              False",
    ]
