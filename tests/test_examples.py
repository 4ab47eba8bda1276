"""The examples, run as a person runs them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import trio
from programs import EXAMPLES, command, run, started

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="uses Unix sockets and SIGINT"
)


def run_client(*arguments):
    return run("echo_client.py", *arguments)


def running_server(address):
    return started("echo_server.py", address)


def listening_at(server):
    return server.stdout.readline().removeprefix("listening at ").strip()


def check_report(line, name, chunks, size):
    report = re.fullmatch(
        r"sent (.*) \(chunks: (.*), bytes: (.*), system calls: (.*)\), "
        r"echoed at [\d,.]+ MB/s",
        line,
    )
    assert report.groups()[:3] == (name, f"{chunks:,}", f"{size:,}")
    return int(report[4].replace(",", ""))


def check_conversation(client, path):
    assert client.returncode == 0, client.stderr
    connected, greetings, file = client.stdout.splitlines()
    assert connected.startswith("connected to ")
    assert check_report(greetings, "greetings", 10, 150) == 1
    size = path.stat().st_size
    return check_report(
        file,
        path.name,
        1 + -(-size // 65536),
        len(f"{path.name}: {size} bytes\n") + size,
    )


def test_the_client_alone_starts_its_own_server():
    client = run_client()
    check_conversation(client, EXAMPLES / "echo_client.py")
    assert client.stderr == ""


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_client_and_server_talk_and_ctrl_c_stops_the_server(family, tmp_path):
    path = tmp_path / "echo.sock"
    address = f"unix:{path}" if family == "unix" else "127.0.0.1:0"
    file = tmp_path / "file"
    file.write_bytes(os.urandom(200_000))
    with running_server(address) as server:
        address = listening_at(server)
        client = run_client(address, "--file", file)
        check_conversation(client, file)
        assert client.stdout.startswith(f"connected to {address}\n")
        assert client.stderr == ""
        report = server.stdout.readline()
        assert report.startswith("echoed 200,169 bytes: received with ")

        server.send_signal(signal.SIGINT)
        assert server.communicate() == ("", "")
        assert server.returncode == 0
    assert not path.exists()


def test_a_large_file_shows_a_line_each_tenth_of_the_way(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(64 * 2**20)
    client = run_client("--file", file)
    calls = check_conversation(client, file)
    assert calls < 1025
    lines = client.stderr.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "100.0% of 67.1 MB"


def test_on_a_terminal_the_progress_is_one_line(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(16 * 2**20)
    # Deep enough for all of it, so that it can be read afterwards.
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command("echo_client.py", "--file", file),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as client:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            # How Linux says that the other end is closed.
            pass
        os.close(ours)
    assert client.returncode == 0
    *updates, end = shown.split(b"\r")
    assert end == b"\n"
    assert len(updates) > 10
    assert updates[-1] == b"100.0% of 16.8 MB"
    assert not any(b"\n" in update for update in updates)


@pytest.mark.parametrize(
    "name",
    [
        "chat_client.py",
        "echo_client.py",
        "udp_echo_client.py",
    ],
)
def test_output_that_nobody_reads_any_more_is_no_traceback(name):
    """As with ``| head -1``, and with a reader that is gone at once."""
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        command(name), stdout=writer, stderr=subprocess.PIPE, text=True
    ) as client:
        os.close(writer)
        _, errors = client.communicate()
    assert errors == ""
    assert client.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("size", [0, 65536, 65537])
def test_a_file_of_any_size_is_sent(size, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    check_conversation(run_client("--file", file), file)


def test_nothing_listening_on_tcp_is_a_message_and_status_1():
    with socket.socket() as unused:
        # Bound, so that nobody else gets the port, and not listening.
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        client = run_client(address)
    assert client.returncode == 1
    assert client.stdout == ""
    assert client.stderr.startswith(f"cannot connect to {address}: ")
    assert client.stderr.count("\n") == 1


def test_nothing_listening_on_a_unix_socket_is_a_message_and_status_1(
    tmp_path,
):
    client = run_client(f"unix:{tmp_path}/none")
    assert client.returncode == 1
    assert client.stdout == ""
    assert client.stderr.startswith(f"cannot connect to unix:{tmp_path}/none:")
    assert client.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["missing", "."])
def test_an_unreadable_file_is_a_message_and_status_1(name, tmp_path):
    client = run_client("--file", tmp_path / name)
    assert client.returncode == 1
    assert client.stdout == ""
    assert client.stderr.startswith(f"cannot read {tmp_path / name}: ")
    assert client.stderr.count("\n") == 1


@pytest.mark.parametrize("address", ["9000", "host:65536", "unix:x", "..:9"])
def test_a_malformed_address_is_a_usage_error(address):
    client = run_client(address)
    assert client.returncode == 2
    assert f"{address!r} is neither host:port nor unix:/path" in client.stderr


async def converse_with(handler, *arguments):
    """Run the client against a server of the test's own."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, [listener])
        port = listener.socket.getsockname()[1]
        client = await trio.run_process(
            command("echo_client.py", f"127.0.0.1:{port}", *arguments),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        nursery.cancel_scope.cancel()
    return client


async def test_a_differing_echo_is_a_message_and_status_1():
    async def shout(stream):
        async for data in stream:
            await stream.send_all(data.upper())

    client = await converse_with(shout)
    assert client.returncode == 1
    assert client.stderr == (
        b"error: greetings: the echo differs, after 0 bytes or later\n"
    )


async def test_an_echo_that_ends_early_is_a_message_and_status_1():
    async def stop_early(stream):
        data = await stream.receive_some(5)
        await stream.send_all(data)
        await stream.send_eof()
        async for _ in stream:
            pass

    client = await converse_with(stop_early)
    assert client.returncode == 1
    assert client.stderr == (
        b"error: greetings: the echo ends after 5 of 150 bytes\n"
    )


async def test_a_reset_connection_is_a_message_and_status_1(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(16 * 2**20)

    async def reset(stream):
        await stream.send_all(await stream.receive_some(150))
        await stream.receive_some(1)
        # What it does not read makes the kernel send a reset.

    client = await converse_with(reset, "--file", file)
    assert client.returncode == 1
    # Whether the reset or the end is seen first is a race within the kernel.
    assert client.stderr.startswith(b"error: large: ")
    assert client.stderr.count(b"\n") == 1


def test_ctrl_c_ends_the_client_cleanly():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with subprocess.Popen(
            command("echo_client.py", f"127.0.0.1:{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as client:
            assert client.stdout.readline().startswith("connected to ")
            client.send_signal(signal.SIGINT)
            assert client.communicate() == ("", "\ninterrupted\n")
            assert client.returncode == 130


def test_an_address_in_use_is_a_message_and_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running_server(address) as server:
            output, errors = server.communicate()
    assert server.returncode == 1
    assert output == ""
    assert errors.startswith(f"cannot listen at {address}: ")
    assert errors.count("\n") == 1


def test_a_client_that_vanishes_does_not_end_the_server():
    with running_server("127.0.0.1:0") as server:
        host, _, port = listening_at(server).rpartition(":")
        client = socket.create_connection((host, int(port)))
        # A close with linger 0 is a reset.
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        client.sendall(b"x")
        client.close()
        assert server.stdout.readline().startswith("echoed ")
        check_conversation(
            run_client(f"{host}:{port}"), EXAMPLES / "echo_client.py"
        )
