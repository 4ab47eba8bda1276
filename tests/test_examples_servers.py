"""The example servers, run as a person runs them, with their clients."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest
from programs import run, running

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stops servers with SIGINT"
)
needs_dnspython = pytest.mark.skipif(
    importlib.util.find_spec("dns") is None, reason="dnspython is optional"
)


def test_everybody_in_the_room_gets_every_line():
    client = run("chat_client.py", "--clients", "20", "--lines", "30")
    assert client.returncode == 0, client.stderr
    assert "20 clients got 600 lines each, in order" in client.stdout
    assert "the client that did not read was dropped" in client.stdout


def test_more_lines_than_may_be_queued_are_sent():
    client = run("chat_client.py", "--clients", "2", "--lines", "3000")
    assert client.returncode == 0, client.stderr
    assert "2 clients got 6,000 lines each, in order" in client.stdout


def test_a_client_that_never_reads_may_have_room_for_a_short_talk():
    client = run("chat_client.py", "--clients", "1", "--lines", "1")
    assert client.returncode == 0, client.stderr
    assert client.stdout.endswith("had room for all of it\n")


@pytest.mark.parametrize("option", ["--clients", "--lines"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_less_than_one_client_or_line_is_a_usage_error(option, value):
    client = run("chat_client.py", f"{option}={value}")
    assert client.returncode == 2
    assert f"{value!r} is no number from 1 on" in client.stderr


def test_a_chat_server_of_its_own_drops_the_slow_client():
    with running("chat_server.py", "127.0.0.1:0") as address:
        client = run("chat_client.py", address)
    assert client.returncode == 0, client.stderr


def test_tls_echoes_batches():
    client = run("tls_echo.py")
    assert client.returncode == 0, client.stderr
    assert client.stdout.endswith("the echo is right\n")
    assert "1000 messages of 1000 tasks" in client.stdout


@needs_dnspython
@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_dns_answers_are_right(options):
    with running("dns_server.py", "127.0.0.1:0", *options) as address:
        client = run("dns_client.py", address, "--seconds", "0.2")
    assert client.returncode == 0, client.stderr
    assert client.stdout.endswith("the answers are right\n")


@needs_dnspython
@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_an_answer_that_is_too_large_says_so(options, tmp_path):
    flags, message, query = (
        importlib.import_module(f"dns.{name}")
        for name in ("flags", "message", "query")
    )
    zone = tmp_path / "zone"
    records = "".join(f"big IN A 192.0.2.{i}\n" for i in range(40))
    zone.write_text(
        "$ORIGIN example.org.\n$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n"
        "@ IN NS ns\n" + records
    )

    def ask(size):
        question = message.make_query(
            "big.example.org", "A", use_edns=size > 0, payload=size
        )
        return query.udp(question, host, timeout=10, port=int(port))

    with running(
        "dns_server.py", "127.0.0.1:0", "--zone", zone, *options
    ) as address:
        host, _, port = address.rpartition(":")
        for size in (0, 512):
            answer = ask(size)
            assert answer.flags & flags.TC
            assert not answer.answer
        # And who takes more gets all.
        answer = ask(4096)
        assert not answer.flags & flags.TC
        assert len(answer.answer[0]) == 40


@needs_dnspython
def test_no_dns_server_is_a_message_and_status_1():
    # Bound by nobody, so that the kernel refuses what is sent there.
    client = run("dns_client.py", "127.0.0.1:1")
    assert client.returncode == 1
    assert client.stderr.startswith("cannot ask 127.0.0.1:1: ")
