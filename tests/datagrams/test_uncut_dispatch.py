"""What equal datagrams and runs have in common when something is refused."""

import pytest
import trio
from helpers import address_of, received

from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.run import Run


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


WAYS = {
    "equal": lambda sender, payloads, target, **options: sender.send_many(
        payloads, target, **options
    ),
    "runs": lambda sender, payloads, target, **options: sender.send_runs(
        [Run(payload, len(payload)) for payload in payloads], target, **options
    ),
}


@pytest.fixture(params=WAYS)
def send(request):
    return WAYS[request.param]


# None is cut up, so that each is a message of its own.
LARGE = [(b"%d" % i).ljust(40000) for i in range(4)]


async def test_a_refusal_has_its_place_in_the_whole(hosts, play, send):
    sender, receiver = hosts
    play(sender, [1, "EPERM", None])
    with pytest.raises(DatagramErrorGroup) as info:
        await send(sender, LARGE, address_of(receiver))
    assert [error.index for error in info.value.exceptions] == [1]
    assert (info.value.sent, info.value.left) == (3, 0)
    assert await received(receiver) == [LARGE[0], *LARGE[2:]]


async def test_what_is_ignored_is_counted(hosts, play, send):
    sender, receiver = hosts
    play(sender, [1, "EPERM", "EPERM"])
    target = address_of(receiver)
    assert await send(sender, LARGE, target, errors="ignore") == 2
    assert sender.statistics().refused == 2


async def test_all_wait_for_the_one_destination(hosts, play, send):
    sender, receiver = hosts
    play(sender, [1, "EAGAIN", None])
    with trio.fail_after(60):
        assert await send(sender, LARGE, address_of(receiver)) == 4
    assert await received(receiver) == LARGE
