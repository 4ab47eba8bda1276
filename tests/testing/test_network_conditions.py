"""What a network can be told to do."""

from __future__ import annotations

import math

import pytest

from triobatch.testing import NetworkConditions


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("delay", -1),
        ("delay", math.inf),
        ("jitter", -0.1),
        ("jitter", math.nan),
        ("loss", 1.1),
        ("duplication", -0.1),
        ("congestion", math.nan),
        ("rate", 0),
        ("rate", -1),
        ("mtu", 67),
        ("mtu", 65536),
    ],
)
def test_what_no_network_does_is_refused(name, wrong):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        NetworkConditions(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "right"),
    [("loss", 0), ("loss", 1), ("mtu", 68), ("mtu", 65535), ("rate", 0.1)],
)
def test_the_bounds_are_allowed(name, right):
    assert getattr(NetworkConditions(**{name: right}), name) == right
