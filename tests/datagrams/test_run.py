"""Runs, made by hand, and what they are views of."""

import pickle
from array import array

import pytest
from helpers import exports_lock

from triobatch._datagrams.run import Loan, Run, release

A = ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("data", "size", "datagrams"),
    [
        (b"", 0, [b""]),
        (b"", 1, [b""]),
        (b"a", 1, [b"a"]),
        (b"abc", 3, [b"abc"]),
        (b"abc", 65535, [b"abc"]),
        (b"abcd", 2, [b"ab", b"cd"]),
        (b"abcde", 2, [b"ab", b"cd", b"e"]),
        (bytes(65536), 65536, [bytes(65536)]),
        (array("I", [1, 2]), 4, [array("I", [i]).tobytes() for i in (1, 2)]),
    ],
)
def test_a_run_is_its_datagrams(data, size, datagrams):
    run = Run(data, size, A)
    assert run.address == A
    assert run.count == len(datagrams)
    assert list(map(bytes, run)) == datagrams
    # It can be gone through again.
    assert b"".join(run) == run.data == bytes(data)


@pytest.mark.parametrize("size", [-1, 0, 65536, 2**32])
def test_a_segment_size_is_one_of_a_datagram(size):
    with pytest.raises(ValueError, match=r"segment_size must be in 1..65535"):
        Run(bytes(70000), size)


@pytest.mark.parametrize("size", ["1", 1.0, None])
def test_a_segment_size_is_an_integer(size):
    with pytest.raises(TypeError, match="segment_size must be an int, not"):
        Run(b"ab", size)


@pytest.mark.parametrize("data", ["text", None, 7])
def test_data_is_bytes(data):
    with pytest.raises(TypeError, match="data must be a bytes-like object"):
        Run(data, 1)


def test_a_run_says_what_it_is():
    run = Run(b"abc", 2, A)
    assert repr(run) == f"<Run: 3 bytes by 2, of {A!r}>"
    run.data.release()
    assert repr(run) == f"<Run: released, of {A!r}>"
    with pytest.raises(ValueError, match="its scope has ended"):
        run.export()


def test_what_is_put_in_the_place_of_its_data_is_sent_by_its_bytes():
    run = Run(b"abcd", 4)
    run.data = array("I", [1, 2, 3])
    view, _ = run.export()
    assert (view.format, len(view)) == ("B", 12)
    run.data = memoryview(b"abcdef")[::2]
    with pytest.raises(BufferError, match="not contiguous"):
        run.export()


@pytest.fixture
def lent():
    """Return memory, its loan, a run of it, and what that has lent."""
    memory = bytearray(b"0123456789")
    views = []
    loan = Loan(memory)
    return memory, loan, loan.lend(2, 5, 2, A, views), views


@exports_lock
def test_a_loan_is_over_when_all_views_are_released(lent):
    memory, loan, run, views = lent
    memory[3:4] = b"x"
    assert bytes(run.data) == b"2x456"
    pieces = list(run)
    assert len(views) == 4
    release([run], views)
    assert views == []
    assert loan.end()
    for view in (run.data, *pieces):
        with pytest.raises(ValueError, match="released"):
            bytes(view)
    # Nor is the memory exported any more.
    memory.append(0)


@pytest.mark.parametrize(
    "keep",
    [
        lambda run: run.data[1:],
        lambda run: memoryview(run.data),
        lambda run: run.data.toreadonly(),
        lambda run: next(iter(run))[:1],
    ],
)
@exports_lock
def test_a_slice_of_a_view_keeps_the_loan(lent, keep):
    memory, loan, run, views = lent
    kept = keep(run)
    release([run], views)
    with pytest.raises(ValueError, match="released"):
        bytes(run.data)
    assert not loan.end()
    assert memory.count(bytes(kept)) == 1
    kept.release()
    del kept
    assert loan.end()


@exports_lock
def test_an_exported_view_keeps_the_loan(lent):
    _, loan, run, views = lent
    view = run.data
    # What a system call in another thread does to it for a while.
    kept = pickle.PickleBuffer(view)
    with pytest.raises(BufferError):
        view.release()
    release([run], views)
    with pytest.raises(ValueError, match="released"):
        bytes(run.data)
    assert not loan.end()
    assert bytes(kept) == bytes(view) == b"23456"
    kept.release()
    view.release()
    assert loan.end()


@exports_lock
def test_a_view_that_the_program_has_released_is_no_trouble(lent):
    _, loan, run, views = lent
    run.data.release()
    release([run], views)
    assert loan.end()
