"""Numbers that both C and Python know: they are the same."""

import re
import sys
from pathlib import Path

import extensions
import pytest

import triobatch
from triobatch._core import chunks, datagrams_python, groups_python
from triobatch._streams import gather
from triobatch._wire import control

NATIVE = Path(triobatch.__file__).parent / "_native"

needs_core = pytest.mark.skipif(
    extensions.find(extensions.C_CORE, extensions.C_CORE) is None,
    reason="needs the C core",
)


def numbers_in(name):
    """Return the constants of a C source: #define A 1, enum { A = 1 };."""
    text = (NATIVE / name).read_text(encoding="utf-8")
    found = re.findall(r"(?m)^#define (TB_\w+) (\d+)$", text)
    for constants in re.findall(r"(?m)^enum \{ (TB_.*) \};$", text):
        found += re.findall(r"(TB_\w+) = (\d+)", constants)
    return {constant: int(value) for constant, value in found}


NUMBERS = numbers_in("core.h") | numbers_in("answers.h")


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("TB_SOL_UDP", control.SOL_UDP),
        ("TB_UDP_SEGMENT", control.UDP_SEGMENT),
        ("TB_UDP_GRO", control.UDP_GRO),
        ("TB_MESSAGES", datagrams_python.MAX_MESSAGES),
    ],
)
def test_c_and_python_agree(constant, value):
    assert NUMBERS[constant] == value


def test_python_offers_no_more_iovecs_than_c_passes_on():
    assert 1 <= chunks.IOV_MAX <= NUMBERS["TB_IOV_MAX"]


@needs_core
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another")
def test_the_iovec_limit_is_the_kernels():
    # Every Linux has this one (UIO_MAXIOV).
    assert NUMBERS["TB_IOV_MAX"] == chunks.IOV_MAX


@needs_core
def test_what_was_compiled_is_what_the_sources_say():
    lib = extensions.load(extensions.C_CORE, extensions.C_CORE).lib
    for constant in ("TB_IOV_MAX", "TB_MESSAGES", "TB_CONTROL_SIZE"):
        assert getattr(lib, constant) == NUMBERS[constant]


def test_a_group_copies_what_a_stream_would():
    numbers = numbers_in("groups.c")
    assert numbers["TB_COPY_BELOW"] == gather.COPY_BELOW
    assert groups_python._COPY_BELOW == gather.COPY_BELOW
