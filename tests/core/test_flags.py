from __future__ import annotations

import runpy
import socket
import sys

import pytest

from triobatch._core import flags

# include/linux/socket.h
NUMBERS = [("MSG_NOSIGNAL", 0x4000), ("MSG_MORE", 0x8000)]


@pytest.mark.parametrize(("name", "number"), NUMBERS)
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_linux_has_flags_that_python_has_no_name_for(
    monkeypatch, system, name, number
):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.delattr(socket, name, raising=False)
    found = runpy.run_path(flags.__file__)[name]
    assert found == (number if system == "linux" else 0)


@pytest.mark.parametrize(("name", "number"), NUMBERS)
def test_they_are_what_python_knows(name, number):
    if not hasattr(socket, name):
        pytest.skip("Python has no name for it")
    assert getattr(flags, name) == getattr(socket, name)
    assert sys.platform != "linux" or getattr(flags, name) == number
