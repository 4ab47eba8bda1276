from __future__ import annotations

import signal
from array import array

import pytest
import trio
from helpers import discard, need_unix_sockets
from trio import socket as tsocket
from trio.lowlevel import currently_ki_protected
from trio.testing import wait_all_tasks_blocked

from triobatch import BatchSocketStream, Buffers
from triobatch._streams import notsent_lowat as _notsent_lowat
from triobatch._streams.notsent_lowat import DEFAULT, lifted_for

NO_LIMIT = 2**31 - 1

pytestmark = pytest.mark.skipif(
    not hasattr(tsocket, "TCP_NOTSENT_LOWAT"),
    reason="this system has no TCP_NOTSENT_LOWAT",
)


@pytest.fixture
def family():
    return "tcp"


def value_of(stream):
    return stream.getsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NOTSENT_LOWAT)


def set_value(stream, value):
    stream.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NOTSENT_LOWAT, value)


@pytest.fixture
async def blocked(pair):
    """A stream in the midst of sending far more than fits."""
    left, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        yield left
        nursery.cancel_scope.cancel()


@pytest.fixture
async def blocked_once(pair):
    """A stream whose large batch was cancelled, with much of it waiting."""
    left, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return left


async def test_a_new_stream_has_what_trio_gives_it(pair):
    assert value_of(pair[0]) == DEFAULT
    sock = tsocket.socket()
    with sock:
        trio.SocketStream(sock)
        assert value_of(sock) == DEFAULT


def test_it_is_lifted_in_proportion_as_far_as_an_int_goes():
    assert lifted_for(10) == 20 + DEFAULT
    assert lifted_for(2**40) == NO_LIMIT


async def test_it_says_whether_it_has_set_it(pair, monkeypatch):
    sock = pair[0].socket
    assert _notsent_lowat.change(sock, DEFAULT, 5) is True
    # Somebody else has set it since.
    assert _notsent_lowat.change(sock, DEFAULT, 6) is False
    assert value_of(sock) == 5
    assert _notsent_lowat.set_default(sock) is True
    assert value_of(sock) == DEFAULT
    await pair[0].aclose()
    assert _notsent_lowat.change(sock, DEFAULT, 5) is False
    with tsocket.socket(tsocket.AF_UNIX) as unix:
        assert _notsent_lowat.set_default(unix) is False
    monkeypatch.setattr(_notsent_lowat, "_OPTION", None)
    assert _notsent_lowat.set_default(sock) is False


async def test_a_large_batch_lifts_it(blocked):
    assert 30 * 2**20 < value_of(blocked) <= lifted_for(30 * 2**20)


async def test_a_large_batch_to_a_fast_peer_is_sent_whole(pair):
    left, right = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discard, right)
        await left.send_buffers([bytes(2**20)] * 30)
        nursery.cancel_scope.cancel()
    assert left.statistics().bytes_sent == 30 * 2**20


@pytest.mark.parametrize("size", [1, DEFAULT])
async def test_a_batch_that_fits_never_lifts_it(pair, clog, size):
    left, _ = pair
    await clog(left)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(size)])
        await wait_all_tasks_blocked()
        assert value_of(left) == DEFAULT
        nursery.cancel_scope.cancel()


async def test_a_batch_a_byte_too_large_lifts_it(pair, clog):
    left, _ = pair
    await clog(left)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(DEFAULT + 1)])
        await wait_all_tasks_blocked()
        assert value_of(left) == lifted_for(DEFAULT + 1)
        nursery.cancel_scope.cancel()


async def test_what_waits_stays_in_proportion_to_a_batch(pair):
    # Without a limit a peer that does not read would be sent 4 MiB.
    left, _ = pair
    batch = bytes(2**16)
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send():
                while True:
                    await left.send_all(batch)

            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert left.statistics().bytes_sent < 6 * len(batch)


async def test_it_is_put_back_before_a_much_smaller_batch(blocked_once):
    left = blocked_once
    with trio.move_on_after(0):
        await left.send_buffers(Buffers([bytes(4 * DEFAULT)]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(4 * DEFAULT)])
        await wait_all_tasks_blocked()
        assert value_of(left) <= lifted_for(4 * DEFAULT)
        nursery.cancel_scope.cancel()


async def send_a_little(stream):
    await stream.send_buffers([b"x"])


async def send_little_buffers(stream):
    await stream.send_buffers(Buffers([b"x"]))


async def send_a_little_nowait(stream):
    try:
        stream.send_buffers_nowait(Buffers([b"x"]))
    except trio.WouldBlock:
        pass


async def wait_to_send(stream):
    await stream.wait_send_all_might_not_block()


@pytest.mark.parametrize(
    "action",
    [send_a_little, send_little_buffers, send_a_little_nowait, wait_to_send],
)
async def test_what_comes_after_a_large_batch_puts_it_back(pair, action):
    # Cancelled, so that the socket is full: had the value not been put back,
    # a little would be taken the sooner.
    left, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(action, left)
        await wait_all_tasks_blocked()
        assert value_of(left) == DEFAULT
        nursery.cancel_scope.cancel()


async def test_a_stream_that_broke_under_a_large_batch_is_just_broken(
    pair, reset
):
    left, right = pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.BrokenResourceError):
                await left.send_buffers([bytes(2**20)] * 30)

        await wait_all_tasks_blocked()
        await reset(right)
    with pytest.raises(trio.BrokenResourceError):
        await left.send_buffers([b"x"])
    assert value_of(left) == DEFAULT


async def test_a_stream_closed_under_a_large_batch_just_closes(pair):
    left, _ = pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await left.send_buffers([bytes(2**20)] * 30)

        await wait_all_tasks_blocked()
        await left.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await left.send_buffers([b"x"])


@pytest.mark.parametrize("value", [1, 4096, 2**17, NO_LIMIT])
async def test_a_users_value_is_left_alone(pair, value):
    left, _ = pair
    set_value(left, value)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        assert value_of(left) == value
        nursery.cancel_scope.cancel()
    await wait_a_moment_to_send(left)
    assert value_of(left) == value


async def wait_a_moment_to_send(stream):
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.wait_send_all_might_not_block()


async def test_trios_value_is_left_alone_too_if_a_user_set_it(pair):
    left, _ = pair
    set_value(left, DEFAULT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        assert value_of(left) == DEFAULT
        nursery.cancel_scope.cancel()


async def test_a_value_set_on_the_socket_itself_is_left_alone(pair):
    left, _ = pair
    set_value(left.socket, 2**17)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        assert value_of(left) == 2**17
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("value", [4096, DEFAULT, NO_LIMIT])
async def test_a_value_set_during_a_large_batch_stays(pair, value):
    left, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        set_value(left, value)
        nursery.cancel_scope.cancel()
    await wait_a_moment_to_send(left)
    assert value_of(left) == value


async def test_other_options_do_not_count_as_a_users_value(pair):
    left, _ = pair
    left.setsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NODELAY, 1)
    # The same number at another level.
    assert not _notsent_lowat.is_meant(
        tsocket.SOL_SOCKET, tsocket.TCP_NOTSENT_LOWAT
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        assert value_of(left) > DEFAULT
        nursery.cancel_scope.cancel()


async def test_a_value_that_was_refused_is_not_the_users(pair):
    left, _ = pair
    with pytest.raises(TypeError):
        set_value(left, "4096")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [bytes(2**20)] * 30)
        await wait_all_tasks_blocked()
        assert value_of(left) > DEFAULT
        nursery.cancel_scope.cancel()


async def test_unix_sockets_do_without():
    need_unix_sockets()
    left, right = tsocket.socketpair()
    with left, right:
        assert not _notsent_lowat.set_default(left)
        assert not _notsent_lowat.change(left, DEFAULT, 2**20)
        sender, receiver = map(BatchSocketStream, (left, right))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discard, receiver)
            assert await sender.send_buffers([bytes(2**20)] * 3) == 3 * 2**20
            nursery.cancel_scope.cancel()


async def test_where_there_is_no_such_option_nothing_is_set(monkeypatch):
    monkeypatch.setattr(_notsent_lowat, "_OPTION", None)
    with tsocket.socket() as sock:
        assert not _notsent_lowat.set_default(sock)
        assert not _notsent_lowat.is_meant(tsocket.IPPROTO_TCP, 25)


@pytest.mark.parametrize("step", ["lifted", "put back"])
def test_ctrl_c_never_comes_between_the_value_and_its_note(monkeypatch, step):
    """Or the value would pass for the user's own from then on."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    change = _notsent_lowat.change
    protected = []

    def change_and_press(sock, before, after):
        changed = change(sock, before, after)
        if (after == DEFAULT) is (step == "put back"):
            protected.append(currently_ki_protected())
            signal.raise_signal(signal.SIGINT)
        return changed

    async def main():
        async with BatchSocketStream(tsocket.socket()) as stream:
            half = stream._send
            if step == "put back":
                assert half._lift_for(10**6)
            monkeypatch.setattr(_notsent_lowat, "change", change_and_press)
            with pytest.raises(KeyboardInterrupt):
                if step == "put back":
                    half._put_back_before(1)
                else:
                    half._lift_for(10**6)
                await trio.lowlevel.checkpoint()
            noted = half._lifted or DEFAULT
            assert noted == value_of(stream)

    try:
        trio.run(main)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert protected == [True]


async def test_a_list_that_does_not_fit_lifts_it_at_once(make_sockets, play):
    left, right = map(BatchSocketStream, await make_sockets())
    size = 40_000
    # As where what waits for the network is as much as the value allows.
    play(left, [10_000])
    sent = left.send_buffers_nowait([bytes(size)])
    assert sent == (size if left._send._lifted else 10_000)
    # What is no list of bytes goes the long way, lifted or not.
    assert left.send_buffers_nowait([array("I", [1, 2])]) == 8
    received = 0
    while received < sent + 8:
        received += len(await right.receive_some())
