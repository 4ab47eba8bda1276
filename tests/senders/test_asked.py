"""Answers leave from the address that was asked."""

import socket
import subprocess
from functools import partial

import pytest
import trio
from needs import needs_metadata
from network import needs_namespaces, two_hosts

from triobatch import (
    DatagramSocket,
    open_batch_sender,
    open_udp_socket,
    serve_udp,
)
from triobatch._senders import asked
from triobatch._senders.asked import AskedReceiver, ask, has_many
from triobatch._senders.serve_udp import _serve
from triobatch._wire.metadata import metadata_options

WILDCARDS = {
    "v4": (socket.AF_INET, "0.0.0.0"),
    "v6": (socket.AF_INET6, "::"),
    "dual": (socket.AF_INET6, "::"),
}


async def answer_batch(datagrams, sender):
    await sender.send_batch(datagrams)


async def answer_each(datagrams, sender):
    for payload, address in datagrams:
        await sender.send(payload, address)


async def answer_now(datagrams, sender):
    for payload, address in datagrams:
        sender.send_nowait(payload, address)


async def answer_queued(datagrams, sender):
    for payload, address in datagrams:
        await sender.queue(payload, address)


ANSWERS = [answer_batch, answer_each, answer_now, answer_queued]


async def connected(host, port):
    """Return a socket that hears nobody else."""
    return await open_udp_socket(remote_address=(host, port))


async def bound(kind, make=socket.socket):
    """Return a socket on all interfaces."""
    family, host = WILDCARDS[kind]
    plain = make(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        plain.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, kind != "dual"
        )
    sock = trio.socket.from_stdlib_socket(plain)
    await sock.bind((host, 9000 if make is not socket.socket else 0))
    return DatagramSocket(sock)


@needs_metadata
@pytest.mark.parametrize("handler", ANSWERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
async def test_a_second_address_answers_as_itself(nursery, handler, host):
    [sock] = await nursery.start(
        partial(serve_udp, handler, 0, host="0.0.0.0")
    )
    port = sock.socket.getsockname()[1]
    async with await connected(host, port) as client:
        for _ in range(2):
            await client.send(b"question")
            with trio.fail_after(60):
                assert await client.receive() == (b"question", (host, port))


@needs_metadata
async def test_those_who_ask_at_once_get_answers_from_each_address(nursery):
    seen = []

    async def answer(datagrams, sender):
        seen.append((len(datagrams), sender.metadata.local_address))
        await sender.send_batch(datagrams)

    [sock] = await nursery.start(partial(serve_udp, answer, 0, host="0.0.0.0"))
    port = sock.socket.getsockname()[1]
    hosts = [f"127.0.0.{i}" for i in (1, 2, 3)]
    clients = [await connected(host, port) for host in hosts]
    for i in range(10):
        for client in clients:
            client.send_nowait(b"%d" % i)
    for client, host in zip(clients, hosts, strict=True):
        for i in range(10):
            with trio.fail_after(60):
                got = await client.receive()
            assert got == (b"%d" % i, (host, port))
        await client.aclose()
    assert sorted(seen) == [(10, host) for host in hosts]
    statistics = sock.statistics()
    assert statistics.datagrams_sent == 30
    # They are all there before the first handler runs.
    assert statistics.send_calls == 1
    assert statistics.gso_runs == 3


@needs_metadata
async def test_a_sender_that_is_kept_answers_from_its_address_later(nursery):
    kept = {}

    async def keep(datagrams, sender):
        [(payload, address)] = datagrams
        kept[payload] = sender, address

    [sock] = await nursery.start(partial(serve_udp, keep, 0, host="0.0.0.0"))
    port = sock.socket.getsockname()[1]
    clients = {}
    for host in ("127.0.0.2", "127.0.0.3"):
        clients[host] = await connected(host, port)
        await clients[host].send(host.encode())
        await trio.testing.wait_all_tasks_blocked()
    for host, client in clients.items():
        sender, address = kept[host.encode()]
        await sender.send(b"news", address)
        with trio.fail_after(60):
            assert await client.receive() == (b"news", (host, port))
        await client.aclose()


@needs_metadata
async def test_the_senders_of_one_address_are_one_and_bounded(
    nursery, monkeypatch
):
    monkeypatch.setattr(asked, "MAX_SENDERS", 2)
    seen = []

    async def note(_datagrams, sender):
        seen.append(sender)

    [sock] = await nursery.start(partial(serve_udp, note, 0, host="0.0.0.0"))
    port = sock.socket.getsockname()[1]
    async with await open_udp_socket() as client:
        for last in (1, 2, 1, 3, 1):
            await client.send(b"x", (f"127.0.0.{last}", port))
            await trio.testing.wait_all_tasks_blocked()
    assert seen[0] is seen[2]
    assert seen[4] is not seen[0]
    assert [s.metadata.local_address[-1] for s in seen] == list("12131")


@pytest.mark.parametrize(
    ("family", "host", "many"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET, "224.0.0.251", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "ff02::fb", True),
        (socket.AF_INET6, "::ffff:0.0.0.0", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", False),
    ],
)
async def test_only_who_has_many_addresses_asks(family, host, many):
    sock = trio.socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False)
    scope = socket.if_nametoindex("lo") if host.startswith("ff02") else 0
    address = (host, 0, 0, scope) if family == socket.AF_INET6 else (host, 0)
    await sock.bind(address)
    async with DatagramSocket(sock) as bound_socket:
        assert has_many(bound_socket) is many


async def test_who_has_one_address_does_not_ask(make_socket):
    sock = await make_socket()
    async with open_batch_sender(sock) as sender:
        receiver = AskedReceiver(sock, sender, 64)
        sock.send_nowait(b"x", sock.socket.getsockname())
        assert await receiver.receive() == [
            ([(b"x", sock.socket.getsockname())], sender)
        ]


@pytest.mark.parametrize("kind", ["v4", "v6"])
async def test_the_kernel_is_asked_from_the_first_datagram_on(kind):
    family, _ = WILDCARDS[kind]
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        ask(sock)
        for level, option in metadata_options(int(family), {"local_address"}):
            assert sock.getsockopt(level, option) == 1


async def test_a_unix_socket_has_one_name(datagram_pair):
    assert not has_many(datagram_pair[0])


def link_local(space):
    """Return the address of the host's end, and its interface's index."""
    words = subprocess.run(
        ("ip", "-n", space.name, "-6", "-o", "address", "show", "veth"),
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    [address] = [word for word in words if word.startswith("fe80")]
    return address.split("/")[0], int(words[0].rstrip(":"))


@needs_metadata
@needs_namespaces
@pytest.mark.parametrize("kind", WILDCARDS)
async def test_a_host_with_several_addresses_answers_from_the_one_asked(
    nursery, kind
):
    v4 = [("10.77.0.2", "10.77.0.2"), ("10.77.0.3", "10.77.0.3")]
    # A broadcast is answered from an address of the interface.
    v4 += [("10.77.0.255", "10.77.0.2"), ("255.255.255.255", "10.77.0.2")]
    v4 += [("239.1.2.3", "10.77.0.2")]
    v6 = [("fd00::2", "fd00::2"), ("fd00::3", "fd00::3")]
    with two_hosts() as (near, far):
        for space, hosts in (
            (near, ["fd00::1/64"]),
            (far, ["10.77.0.3/24", "fd00::2/64", "fd00::3/64"]),
        ):
            space.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0")
            for host in hosts:
                dad = ["nodad"] if ":" in host else []
                space.run("ip", "address", "add", host, "dev", "veth", *dad)
        fe80, _ = link_local(far)
        _, index = link_local(near)
        v6 += [(fe80, fe80), ("ff02::1", None)]
        sock = await bound(kind, far.socket)
        if kind != "v6":
            sock.socket.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton("239.1.2.3") + socket.inet_aton("10.77.0.2"),
            )
        nursery.start_soon(_serve, answer_batch, sock, 64, nursery)
        await trio.testing.wait_all_tasks_blocked()
        cases = {"v4": v4, "v6": v6, "dual": v4 + v6}[kind]
        for target, source in cases:
            six = ":" in target
            family = socket.AF_INET6 if six else socket.AF_INET
            asking = near.socket(family, socket.SOCK_DGRAM)
            if not six:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                asking.setsockopt(
                    socket.SOL_SOCKET,
                    getattr(socket, "SO_BINDTODEVICE", 25),
                    b"veth",
                )
            asking.bind(("fd00::1" if six else "10.77.0.1", 0))
            scope = index if target in {fe80, "ff02::1"} else 0
            address = (target, 9000, 0, scope) if six else (target, 9000)
            asking.sendto(b"question", address)
            with trio.fail_after(60):
                await trio.lowlevel.wait_readable(asking)
            payload, peer = asking.recvfrom(100)
            asking.close()
            assert payload == b"question"
            if source is None:
                assert peer[0] in ("fd00::2", "fd00::3", fe80)
            else:
                assert peer[0] == source, target
        assert sock.statistics().refused == 0
        nursery.cancel_scope.cancel()
        await sock.aclose()
