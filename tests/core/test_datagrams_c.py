"""The C core's calls on datagram sockets, beside the Python core's."""

import extensions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triobatch._core import datagrams_python
from triobatch._core.chunks import COPY_SIZE

CORES = {"python": datagrams_python}
datagrams_c = extensions.find("triobatch._core.datagrams_c", extensions.C_CORE)
if datagrams_c is not None:
    CORES["c"] = datagrams_c


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]


def copied(core, payloads):
    """Return what was copied, and the size of a segment."""
    found = core.copy_segments(payloads)
    if found is None:
        return None
    data, size, give_back = found
    copy = bytes(data)
    if give_back is not None:
        give_back()
    return copy, size


@pytest.mark.parametrize(
    ("payloads", "size"),
    [
        ([], None),
        ([b"abc"], None),
        ([b"abc", b"def"], 3),
        ([b"abc", b"def", b"g"], 3),
        ([b"abc", b"d"], 3),
        ([b"abc", b"d", b"efg"], None),
        ([b"abc", b"d", b"e"], None),
        ([b"abc", b"defg"], None),
        ([b"abc", b""], None),
        ([b"", b""], None),
        ([b"abc", bytearray(b"def")], None),
        ([b"abc", "def"], None),
        ([b"abc", 7], None),
        ([bytes(COPY_SIZE // 2)] * 2, COPY_SIZE // 2),
        ([bytes(COPY_SIZE // 2)] * 2 + [b"x"], None),
        ([bytes(COPY_SIZE // 2 + 1)] * 2, None),
    ],
)
def test_payloads_of_one_size_are_copied_side_by_side(core, payloads, size):
    expected = None if size is None else (b"".join(payloads), size)
    assert copied(core, payloads) == expected


@pytest.mark.skipif(datagrams_c is None, reason="needs the C core")
@given(st.lists(st.binary(max_size=2), max_size=5))
def test_both_cores_copy_the_same(payloads):
    assert copied(datagrams_c, payloads) == copied(datagrams_python, payloads)


@pytest.mark.skipif(datagrams_c is None, reason="needs the C core")
def test_without_the_extension_they_are_joined(monkeypatch):
    monkeypatch.setattr(datagrams_c, "_copy_segments", None)
    found = datagrams_c.copy_segments([b"abc", b"def", b"g"])
    assert found == (b"abcdefg", 3, None)
