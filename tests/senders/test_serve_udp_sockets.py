"""Serving datagrams on sockets that one has, and how serve_udp opens some."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from needs import needs_reuse_port, needs_unix_sockets
from trio.testing import wait_all_tasks_blocked

from triobatch import (
    open_udp_socket,
    open_unix_datagram_socket,
    serve_datagrams,
    serve_udp,
)
from triobatch.testing import memory_datagram_pair


async def echo(datagrams, sender):
    await sender.send_batch(datagrams)


async def bound():
    return await open_udp_socket(local_address=("127.0.0.1", 0))


async def start(nursery, *arguments, **options):
    return await nursery.start(
        lambda task_status: serve_datagrams(
            *arguments, **options, task_status=task_status
        )
    )


async def ask(address, payload):
    async with await open_udp_socket(remote_address=address) as client:
        await client.send(payload)
        return (await client.receive())[0]


async def test_each_socket_is_served(nursery):
    sockets = [await bound(), await bound()]
    assert await start(nursery, echo, sockets) == sockets
    for sock in sockets:
        assert await ask(sock.local_address, b"hello") == b"hello"


@needs_unix_sockets
async def test_unix_and_memory_sockets_are_served(nursery, tmp_path):
    near, far = memory_datagram_pair()
    name, client_name = (os.fspath(tmp_path / each) for each in "ab")
    served = await open_unix_datagram_socket(name)
    async with await open_unix_datagram_socket(client_name) as client:
        await start(nursery, echo, [served, near])
        await far.send(b"memory")
        assert (await far.receive())[0] == b"memory"
        await client.send(b"unix", name)
        assert await client.receive() == (b"unix", name)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert not await trio.Path(name).exists()


async def test_what_a_peer_makes_the_kernel_refuse_does_not_end_it(nursery):
    answers = 0

    async def answer(datagrams, sender):
        nonlocal answers
        await sender.send_batch([(b"", ("::1", 9)), *datagrams])
        answers += 1

    [sock] = await start(nursery, answer, [await bound()])
    assert await ask(sock.local_address, b"hello") == b"hello"
    assert sock.statistics().refused == 1


@pytest.mark.parametrize("how", ["cancelled", "by a handler", "by a socket"])
async def test_the_sockets_are_closed_however_it_ends(how):
    class HandlerError(Exception):
        pass

    async def fail(_datagrams, _sender):
        raise HandlerError

    sockets = [await bound(), await bound()]
    address = sockets[0].local_address

    async def end():
        async with trio.open_nursery() as nursery:
            await start(nursery, fail, sockets)
            if how == "cancelled":
                nursery.cancel_scope.cancel()
            elif how == "by a handler":
                async with await open_udp_socket() as client:
                    await client.send(b"x", address)
            else:
                await wait_all_tasks_blocked()
                await sockets[1].aclose()

    if how == "cancelled":
        await end()
    else:
        expected = (
            HandlerError if how == "by a handler" else trio.ClosedResourceError
        )
        with pytest.RaisesGroup(expected, flatten_subgroups=True):
            await end()
    assert [sock.socket.fileno() for sock in sockets] == [-1, -1]


async def test_a_late_cancellation_does_not_replace_the_reason():
    scope = trio.CancelScope()

    class HandlerError(Exception):
        pass

    async def fail(_datagrams, _sender):
        scope.cancel()
        raise HandlerError

    sock = await bound()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", sock.local_address)
    # Outside of the scope, which takes its own cancellations.
    with pytest.RaisesGroup(HandlerError, flatten_subgroups=True), scope:
        await serve_datagrams(fail, [sock])


async def test_the_handlers_nursery_and_the_batches_are_the_callers(nursery):
    seen = []
    go_on = trio.Event()

    async def note(datagrams, _sender):
        parent = trio.lowlevel.current_task().parent_nursery
        seen.append((len(datagrams), parent))
        if len(seen) == 2:
            go_on.set()

    sock = await bound()
    async with await open_udp_socket() as client:
        await client.send_many([b"x"] * 3, sock.local_address)
    async with trio.open_nursery() as handlers:
        await start(
            nursery, note, [sock], max_datagrams=2, handler_nursery=handlers
        )
        await go_on.wait()
        assert seen == [(2, handlers), (1, handlers)]


async def test_a_limit_above_what_c_counts_to_is_none(nursery):
    sock = await bound()
    await start(nursery, echo, [sock], max_datagrams=2**70)
    async with await open_udp_socket() as client:
        await client.send(b"x", sock.local_address)
        with trio.fail_after(60):
            assert (await client.receive())[0] == b"x"


async def test_what_is_impossible_is_refused_and_closes_nothing():
    async with await bound() as sock:
        with pytest.raises(TypeError, match="DatagramSockets, not str"):
            await serve_datagrams(echo, [sock, "socket"])
        with pytest.raises(ValueError, match="empty"):
            await serve_datagrams(echo, [])
        with pytest.raises(ValueError, match="max_datagrams"):
            await serve_datagrams(echo, [sock], max_datagrams=0)
        assert sock.socket.fileno() != -1
    with pytest.raises(ValueError, match="max_datagrams"):
        await serve_udp(echo, 0, host="127.0.0.1", max_datagrams=0)


@pytest.mark.parametrize("kind", [tuple, iter, lambda found: map(id, found)])
async def test_any_iterable_of_sockets_is_read_once(nursery, kind):
    sockets = [await bound(), await bound()]
    if not isinstance(next(iter(kind(sockets))), type(sockets[0])):
        with pytest.raises(TypeError, match="DatagramSockets, not int"):
            await serve_datagrams(echo, kind(sockets))
        for sock in sockets:
            assert sock.socket.fileno() != -1
            await sock.aclose()
        return
    assert await start(nursery, echo, kind(sockets)) == sockets
    for sock in sockets:
        assert await ask(sock.local_address, b"hello") == b"hello"


async def test_a_handler_that_cancels_the_servers_own_nursery_ends_it():
    async def stop(datagrams, sender):
        trio.lowlevel.current_task().parent_nursery.cancel_scope.cancel()

    near, far = memory_datagram_pair()
    await far.send(b"stop")
    with pytest.raises(RuntimeError, match="own nursery was cancelled"):
        await serve_datagrams(stop, [near])
    with pytest.raises(trio.ClosedResourceError):
        await near.send(b"closed")


@needs_reuse_port
async def test_serve_udp_shares_its_port_on_request(nursery):
    served = []
    for _ in range(2):
        port = served[0].local_address[1] if served else 0
        served += await nursery.start(
            lambda task_status, port=port: serve_udp(
                echo,
                port,
                host="127.0.0.1",
                reuse_port=True,
                receive_buffer_size=100_000,
                task_status=task_status,
            )
        )
    assert served[0].local_address == served[1].local_address
    for sock in served:
        option = socket.SOL_SOCKET, socket.SO_RCVBUF
        # The kernel doubles what it is asked for (socket(7)).
        assert sock.getsockopt(*option) == 200_000
    for _ in range(20):
        assert await ask(served[0].local_address, b"hello") == b"hello"
    # Of 20 peers, all at one of two: once in half a million runs.
    counts = [sock.statistics().datagrams_received for sock in served]
    assert sum(counts) == 20
    assert all(counts)
    with pytest.raises(OSError, match="in use"):
        await serve_udp(echo, served[0].local_address[1], host="127.0.0.1")


@needs_unix_sockets
async def test_a_datagram_that_is_cut_does_not_end_it(nursery, tmp_path):
    name = os.fspath(tmp_path / "name")
    sending, received = trio.open_memory_channel(10)

    async def keep(datagrams, _sender):
        for payload, _ in datagrams:
            await sending.send(payload)

    served = await open_unix_datagram_socket(name)
    await start(nursery, keep, [served])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        # More than a slot has, which no peer of UDP can send.
        for payload in (b"before", b"x" * 100_000, b"behind"):
            client.sendto(payload, name)
    assert [await received.receive() for _ in range(2)] == [
        b"before",
        b"behind",
    ]
    assert served.statistics().truncated == 1
