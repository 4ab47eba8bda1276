"""Serving UDP in the conventions of trio.serve_tcp."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio

from triobatch import open_udp_socket, serve_datagrams, serve_udp
from triobatch._wire.metadata import metadata_options


async def echo(datagrams, sender):
    await sender.send_batch(datagrams)


async def ask(address, payload):
    async with await open_udp_socket(remote_address=address[:2]) as client:
        await client.send(payload)
        return (await client.receive())[0]


async def test_it_answers(nursery):
    [sock] = await nursery.start(
        lambda task_status: serve_udp(
            echo, 0, host="127.0.0.1", task_status=task_status
        )
    )
    assert await ask(sock.socket.getsockname(), b"hello") == b"hello"


async def test_it_serves_every_address_of_a_host(nursery):
    sockets = await nursery.start(
        lambda task_status: serve_udp(echo, 0, task_status=task_status)
    )
    families = {sock.socket.family for sock in sockets}
    assert socket.AF_INET in families
    assert len(families) == len(sockets)
    for sock in sockets:
        port = sock.socket.getsockname()[1]
        host = "::1" if sock.socket.family == socket.AF_INET6 else "127.0.0.1"
        assert await ask((host, port), b"hello") == b"hello"


async def test_what_has_arrived_is_one_batch(nursery):
    sizes = []
    go_on = trio.Event()

    async def note(datagrams, _sender):
        sizes.append(len(datagrams))
        if sum(sizes) == 21:
            go_on.set()

    [sock] = await nursery.start(
        lambda task_status: serve_udp(
            note,
            0,
            host="127.0.0.1",
            max_datagrams=10,
            task_status=task_status,
        )
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(21):
            client.sendto(b"x", sock.socket.getsockname())
    await go_on.wait()
    assert sizes == [10, 10, 1]


async def test_handlers_run_in_the_nursery_that_is_given(nursery):
    async with trio.open_nursery() as handlers:
        seen = None
        done = trio.Event()

        async def note(_datagrams, _sender):
            nonlocal seen
            seen = trio.lowlevel.current_task().parent_nursery
            done.set()

        [sock] = await nursery.start(
            lambda task_status: serve_udp(
                note,
                0,
                host="127.0.0.1",
                handler_nursery=handlers,
                task_status=task_status,
            )
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", sock.socket.getsockname())
        await done.wait()
        assert seen is handlers


async def test_an_exception_of_a_handler_ends_it_and_closes_the_sockets():
    sockets = []

    async def fail(_datagrams, _sender):
        raise ZeroDivisionError

    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with trio.open_nursery() as nursery:
            sockets += await nursery.start(
                lambda task_status: serve_udp(
                    fail, 0, host="127.0.0.1", task_status=task_status
                )
            )
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", sockets[0].socket.getsockname())
    assert sockets[0].socket.fileno() == -1


async def test_an_address_in_use_is_an_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            await serve_udp(echo, taken.getsockname()[1], host="127.0.0.1")


async def test_a_batch_has_at_most_64_datagrams_by_default(nursery):
    for serve in (
        partial(serve_udp, port=0, host="127.0.0.1"),
        partial(
            serve_datagrams,
            sockets=[await open_udp_socket(local_address=("127.0.0.1", 0))],
        ),
    ):
        sizes = []
        done = trio.Event()

        async def note(datagrams, _sender, sizes=sizes, done=done):
            sizes.append(len(datagrams))
            if sum(sizes) == 70:
                done.set()

        [sock] = await nursery.start(partial(serve, note))
        # As trains, of which one call may bring more than a batch has.
        async with await open_udp_socket() as client:
            await client.send_many([b"x"] * 70, sock.socket.getsockname())
        await done.wait()
        assert sizes == [64, 6]


async def test_the_address_asked_is_known_from_the_first_datagram_on(
    monkeypatch,
):
    class ServedError(Exception):
        pass

    async def serve(handler, sockets, **_):
        for sock in sockets:
            with sock.socket as plain:
                for level, option in metadata_options(
                    int(plain.family), frozenset({"local_address"})
                ):
                    assert plain.getsockopt(level, option) == 1
        raise ServedError

    monkeypatch.setattr("triobatch._senders.serve_udp.serve_datagrams", serve)
    with pytest.raises(ServedError):
        await serve_udp(echo, 0)
