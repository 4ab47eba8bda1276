"""Balancers that exist, in front of two nodes of our workers."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import textwrap
import time
from pathlib import Path

import network
import pytest
from programs import command

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

pytestmark = network.needs_namespaces
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None or not STREAM_MODULE.exists(),
    reason="needs nginx with its stream module",
)
needs_haproxy = network.needs_command("haproxy")

NODES = ("10.78.0.2", "10.78.1.2")
FRONT = "10.78.9.1"
PORT = 9000

NGINX = """
    load_module {module};
    daemon off;
    pid {directory}/nginx.pid;
    error_log {directory}/nginx.log info;
    events {{}}
    stream {{
        upstream nodes {{
            server {nodes[0]}:{port} max_fails=1 fail_timeout=30s;
            server {nodes[1]}:{port} max_fails=1 fail_timeout=30s;
        }}
        server {{
            listen {front}:{port} {listen};
            proxy_pass nodes;
            {options}
        }}
    }}
"""
# One answer a question: then the session is over, and the next may go to
# another node.
NGINX_UDP = "proxy_responses 1; proxy_timeout 1s;"
NGINX_TCP = "proxy_protocol on; proxy_connect_timeout 1s;"
HAPROXY = """
    defaults
        mode tcp
        timeout connect 1s
        timeout client 20s
        timeout server 20s
        retries 3
        option redispatch 1
    frontend front
        bind {front}:{port}
        default_backend nodes
    backend nodes
        balance roundrobin
        server first {nodes[0]}:{port} send-proxy-v2
        server second {nodes[1]}:{port} send-proxy-v2
"""


class Node:
    """Two workers in a network namespace of their own."""

    def __init__(self, space, host, example, stack):
        self.process = stack.enter_context(
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", space.name),
                    *command(example, f"{host}:{PORT}", "--workers", 2),
                ],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PROXY_PROTOCOL": "1"},
            )
        )
        stack.callback(self.process.kill)
        lines = [self.process.stdout.readline() for _ in range(3)]
        assert lines[2] == f"listening at {host}:{PORT}\n"
        self.workers = [int(line.split()[-1]) for line in lines[:2]]

    def fail(self):
        """Kill it, workers and all, with what they have."""
        watched = [os.pidfd_open(pid) for pid in self.workers]
        self.process.kill()
        for pid, fd in zip(self.workers, watched, strict=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert select.select([fd], [], [], 20)[0]
            os.close(fd)


@contextlib.contextmanager
def site(example):
    """Join a front and two nodes; yield the front and the nodes."""
    with (
        network.namespaces(3) as (front, *spaces),
        contextlib.ExitStack() as stack,
    ):
        front.run("ip", "address", "add", f"{FRONT}/32", "dev", "lo")
        for number, (space, host) in enumerate(
            zip(spaces, NODES, strict=True)
        ):
            front.run(
                *("ip", "link", "add", f"veth{number}", "type", "veth"),
                *("peer", "name", "veth", "netns", space.name),
            )
            near = f"10.78.{number}.1/24"
            front.run("ip", "address", "add", near, "dev", f"veth{number}")
            front.run("ip", "link", "set", f"veth{number}", "up")
            space.run("ip", "address", "add", f"{host}/24", "dev", "veth")
            space.run("ip", "link", "set", "veth", "up")
        yield (
            front,
            [
                Node(space, host, example, stack)
                for space, host in zip(spaces, NODES, strict=True)
            ],
        )


@contextlib.contextmanager
def balancer(front, *arguments):
    """Run a balancer in front."""
    with subprocess.Popen(
        ["ip", "netns", "exec", front.name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def nginx(front, directory, listen, options):
    path = directory / "nginx.conf"
    # Its workers have another user.
    directory.chmod(0o755)
    path.write_text(
        textwrap.dedent(NGINX).format(
            module=STREAM_MODULE,
            directory=directory,
            nodes=NODES,
            port=PORT,
            front=FRONT,
            listen=listen,
            options=options,
        )
    )
    return balancer(
        front, "nginx", "-p", directory, "-c", path, "-e", "stderr"
    )


def haproxy(front, directory):
    path = directory / "haproxy.cfg"
    path.write_text(
        textwrap.dedent(HAPROXY).format(front=FRONT, port=PORT, nodes=NODES)
    )
    return balancer(front, "haproxy", "-f", path)


def ask_by_udp(front, number):
    """Return the process that answers a client, None if there is no answer."""
    question = b"question-%d" % number
    with front.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((FRONT, PORT))
        try:
            client.send(question)
            answer = client.recv(1000)
        except (TimeoutError, ConnectionRefusedError):
            return None
    if not answer:
        # What nginx makes of a node that refuses.
        return None
    pid, echoed = answer.split()
    assert echoed == question
    return int(pid)


def ask_by_tcp(front, number):
    """Return the process that answers, which is told who we are."""
    question = b"question-%d\n" % number
    with front.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect((FRONT, PORT))
        client.sendall(question)
        with client.makefile("rb") as answers:
            line = answers.readline()
        assert line, "the balancer has closed the connection"
        pid, address, echoed = line.split()
        # Not the balancer's, which is on the network of the node.
        assert address.decode() == "{}:{}".format(*client.getsockname())
    assert echoed + b"\n" == question
    return int(pid)


def wait_until_it_is_there(front, ask, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        with contextlib.suppress(ConnectionRefusedError):
            if ask(front, 0) is not None:
                return
        time.sleep(0.05)
    pytest.fail("the balancer does not listen")


def check_both_nodes_serve_and_then_one(front, nodes, ask, most_lost):
    served = [ask(front, number) for number in range(40)]
    for node in nodes:
        assert set(served) & set(node.workers)
    assert None not in served
    nodes[0].fail()
    served = [ask(front, number) for number in range(40)]
    assert served.count(None) <= most_lost
    assert {pid for pid in served if pid} <= set(nodes[1].workers)


@needs_nginx
def test_nginx_balances_datagrams_and_takes_out_a_node_that_is_gone(tmp_path):
    with (
        site("udp_workers.py") as (front, nodes),
        nginx(front, tmp_path, "udp reuseport", NGINX_UDP) as process,
    ):
        wait_until_it_is_there(front, ask_by_udp, process)
        # Nobody sends a datagram again: the one that finds out is lost.
        check_both_nodes_serve_and_then_one(
            front, nodes, ask_by_udp, most_lost=1
        )


@needs_nginx
def test_nginx_balances_connections_and_tells_who_is_behind_them(tmp_path):
    with (
        site("workers.py") as (front, nodes),
        nginx(front, tmp_path, "", NGINX_TCP) as process,
    ):
        wait_until_it_is_there(front, ask_by_tcp, process)
        check_both_nodes_serve_and_then_one(
            front, nodes, ask_by_tcp, most_lost=0
        )


@needs_haproxy
def test_haproxy_balances_connections_and_tells_who_is_behind_them(tmp_path):
    with (
        site("workers.py") as (front, nodes),
        haproxy(front, tmp_path) as process,
    ):
        wait_until_it_is_there(front, ask_by_tcp, process)
        check_both_nodes_serve_and_then_one(
            front, nodes, ask_by_tcp, most_lost=0
        )
