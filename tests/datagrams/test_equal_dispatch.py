"""Equal payloads for one destination, outcome by outcome."""

import pytest
from helpers import address_of, received
from needs import needs_gso
from receive_buffer import needs_room

from triobatch._core.probes import gso_segments
from triobatch._datagrams.errors import DatagramErrorGroup

EQUAL = [(b"%d" % i).ljust(100) for i in range(1000)]


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


@needs_gso
@needs_room
@pytest.mark.parametrize("lines", [["EIO"], [2, "EINVAL"], [1, "EMSGSIZE"]])
@pytest.mark.parametrize("method", ["send_many", "send_segments"])
async def test_send_many_survives_what_send_batch_does(
    hosts, play, lines, method
):
    sender, receiver = hosts
    target = address_of(receiver)
    play(sender, lines)
    if method == "send_many":
        assert await sender.send_many(EQUAL, target) == 1000
    else:
        data = b"".join(EQUAL)
        assert await sender.send_segments(data, 100, target) == 1000
    assert await received(receiver) == EQUAL


@needs_gso
@needs_room
async def test_a_segment_is_refused_at_its_place_in_the_whole(hosts, play):
    sender, receiver = hosts
    script, _ = play(sender, [1, "EPERM", "EPERM"])
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_many(EQUAL, address_of(receiver))
    first_left = gso_segments()
    assert [error.index for error in info.value.exceptions] == [first_left]
    assert script.left == []
    assert info.value.sent == 999
    arrived = await received(receiver)
    assert arrived == EQUAL[:first_left] + EQUAL[first_left + 1 :]


@needs_gso
@pytest.mark.parametrize("refusal", ["EIO", "EINVAL", "EMSGSIZE"])
async def test_a_refused_run_goes_again_unsegmented(hosts, play, refusal):
    sender, receiver = hosts
    # What may be a report of the network is believed the second time.
    tries = 2 if refusal == "EMSGSIZE" else 1
    script, _ = play(sender, [refusal] * tries)
    await sender.send_many(EQUAL[:10], address_of(receiver))
    assert script.offered[0] == [1000]
    alone = [size for call in script.offered[tries:] for size in call]
    assert alone == [100] * 10
    assert sender.statistics().gso_refusals == {refusal: 1}
    # It rests for this destination...
    await sender.send_many(EQUAL[:10], address_of(receiver))
    assert script.offered[-1] == [100] * 10
    # ...and for no other.
    await sender.send_many(EQUAL[:10], address_of(sender))
    assert script.offered[-1] == [1000]
    assert await received(receiver) == EQUAL[:10] * 2


async def test_64_equal_payloads_cost_one_call(hosts):
    sender, receiver = hosts
    await sender.send_many([bytes(1200)] * 64, address_of(receiver))
    assert sender.statistics().send_calls == 1


@needs_gso
async def test_segmentation_is_not_blamed_where_one_fails_and_the_rest_goes(
    hosts, play
):
    sender, receiver = hosts
    play(sender, ["EINVAL", "EINVAL"])
    with pytest.raises(DatagramErrorGroup, match="1 of 5 datagrams refused"):
        await sender.send_many([b"xy"] * 5, address_of(receiver))
    assert sender.statistics().gso_refusals == {}
    assert await sender.send_many([b"xy"] * 5, address_of(receiver)) == 5
    assert sender.statistics().gso_runs == 1


@needs_gso
async def test_a_refusal_that_send_many_meets_is_counted(make_socket, play):
    sender, receiver = await make_socket(), await make_socket()
    play(sender, ["EIO"])
    target = receiver.socket.getsockname()
    assert await sender.send_many([b"xy"] * 5, target) == 5
    assert sender.statistics().gso_refusals == {"EIO": 1}
