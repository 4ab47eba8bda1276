"""The cache example: its protocol, and Redis' own clients against it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from programs import EXAMPLES, run, started

import triobatch

sys.path.insert(0, str(EXAMPLES))
try:
    import cache_server
finally:
    sys.path.remove(str(EXAMPLES))

needs_redis_tools = pytest.mark.skipif(
    shutil.which("redis-benchmark") is None,
    reason="needs redis-tools",
)
WAYS = [[], ["--tasks"]]


def request(*words):
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def answered(cache, *requests):
    answers, rest = cache.answer(b"".join(requests))
    assert rest == b""
    return b"".join(answers)


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([request(b"PING")], b"+PONG\r\n"),
        ([request(b"ping", b"a\r\nb")], b"$4\r\na\r\nb\r\n"),
        ([b"PING\r\n"], b"+PONG\r\n"),
        ([b"\r\n", b"ping x\r\n"], b"$1\r\nx\r\n"),
        ([request(b"GET", b"k")], b"$-1\r\n"),
        (
            [request(b"SET", b"k", b"\r\n\0"), request(b"GET", b"k")],
            b"+OK\r\n$3\r\n\r\n\0\r\n",
        ),
        (
            [request(b"SET", b"k", b""), request(b"GET", b"k")],
            b"+OK\r\n$0\r\n\r\n",
        ),
        (
            [request(b"SET", b"k", b"v"), request(b"DEL", b"k", b"l", b"k")],
            b"+OK\r\n:1\r\n",
        ),
        ([request(b"EXPIRE", b"k", b"1")], b":0\r\n"),
        ([request(b"SET", b"k")], b"-ERR wrong number of arguments\r\n"),
        ([request(b"SET", b"k", b"v", b"NX")], b"-ERR syntax error\r\n"),
        (
            [request(b"SET", b"k", b"v", b"EX", b"soon")],
            cache_server.NOT_AN_INTEGER,
        ),
        ([request(b"A\r\nB")], b"-ERR unknown command 'A  B'\r\n"),
        ([b"*0\r\n", request(b"PING")], b"+PONG\r\n"),
    ],
)
def test_commands(requests, expected):
    assert answered(cache_server.Cache(), *requests) == expected


def test_values_expire():
    now = 0.0
    cache = cache_server.Cache(lambda: now)
    answered(cache, request(b"SET", b"k", b"v", b"EX", b"10"))
    answered(cache, request(b"SET", b"l", b"w", b"ex", b"10"))
    answered(cache, request(b"SET", b"l", b"w"))
    answered(cache, request(b"SET", b"m", b"x"))
    assert answered(cache, request(b"EXPIRE", b"m", b"20")) == b":1\r\n"
    now = 9.9
    assert answered(cache, request(b"GET", b"k")) == b"$1\r\nv\r\n"
    now = 10.0
    assert answered(cache, request(b"GET", b"k")) == b"$-1\r\n"
    assert answered(cache, request(b"GET", b"l")) == b"$1\r\nw\r\n"
    assert answered(cache, request(b"GET", b"m")) == b"$1\r\nx\r\n"
    now = 20.0
    assert answered(cache, request(b"GET", b"m")) == b"$-1\r\n"
    assert answered(cache, request(b"EXPIRE", b"l", b"-1")) == b":1\r\n"
    assert answered(cache, request(b"GET", b"l")) == b"$-1\r\n"


def test_a_request_in_pieces_is_put_together():
    whole = request(b"SET", b"k", b"v") + request(b"GET", b"k")
    for cut in range(len(whole) + 1):
        cache = cache_server.Cache()
        first, rest = cache.answer(whole[:cut])
        second, rest = cache.answer(rest + whole[cut:])
        assert b"".join(first + second) == b"+OK\r\n$1\r\nv\r\n"
        assert rest == b""


@pytest.mark.parametrize(
    "wrong",
    [
        b"*x\r\n",
        b"*-1\r\n",
        b"*99999999999\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n$9999999\r\n",
        b"*1\r\n$-1\r\n",
        b"x" * (cache_server.LARGEST_REQUEST + 1),
    ],
    ids=lambda wrong: wrong[:20],
)
def test_what_is_no_request_is_told(wrong):
    with pytest.raises(cache_server.ProtocolError) as raised:
        cache_server.Cache().answer(request(b"PING") + wrong)
    assert raised.value.args[0] == b"+PONG\r\n"
    assert raised.value.args[1].startswith(b"-ERR Protocol error: ")


@pytest.fixture(params=WAYS, ids=["group", "tasks"])
def port(request):
    with started("cache_server.py", "127.0.0.1:0", *request.param) as process:
        line = process.stdout.readline()
        yield int(re.fullmatch(r"listening at .*:(\d+)\n", line)[1])


async def test_a_client_in_pieces_and_one_that_errs(port):
    stream = await triobatch.open_tcp_stream("127.0.0.1", port)
    async with stream:
        for piece in (b"*1\r\n", b"$4\r\nPI", b"NG\r\n"):
            await stream.send_all(piece)
            await trio.lowlevel.checkpoint()
        assert await stream.receive_some() == b"+PONG\r\n"
        await stream.send_all(b"*what\r\n")
        assert (await stream.receive_some()).startswith(b"-ERR Protocol")
        assert await stream.receive_some() == b""


@needs_redis_tools
def test_redis_cli(port):
    def cli(*words):
        return subprocess.run(
            ["redis-cli", "-p", str(port), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    assert cli("ping") == "PONG"
    assert cli("set", "greeting", "hello", "ex", "60") == "OK"
    assert cli("get", "greeting") == "hello"
    assert cli("expire", "greeting", "10") == "1"
    assert cli("del", "greeting") == "1"
    assert cli("get", "greeting") == ""
    assert "unknown command" in cli("flushall")


@needs_redis_tools
@pytest.mark.parametrize("pipelined", ["1", "16"])
def test_redis_benchmark(port, pipelined):
    done = subprocess.run(
        [
            "redis-benchmark",
            "-p",
            str(port),
            "-t",
            "ping,get,set",
            "-c",
            "50",
            "-P",
            pipelined,
            "-n",
            "2000",
            "-q",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.count("requests per second") == 4


def test_no_room_to_listen_is_a_message_and_status_1(port):
    for options in WAYS:
        second = run("cache_server.py", f"127.0.0.1:{port}", *options)
        assert second.returncode == 1
        assert second.stderr.startswith("cannot listen at 127.0.0.1:")


# Requests, whole and broken, and words with line ends.
PARTS = st.one_of(
    st.lists(
        st.sampled_from([b"", b"a", b"GET", b"\r\n", b"$1\r\na", b"x" * 300]),
        min_size=1,
        max_size=10,
    ).map(lambda words: request(*words)),
    # What many send that are alike.
    st.lists(
        st.sampled_from([b"a", b"GET", b"\r\n"]), min_size=4, max_size=20
    ).map(
        lambda words: b"".join(map(request, words[::2], words[1::2])),
    ),
    st.sampled_from(
        [
            b"*",
            b"*0\r\n",
            b"*1\r\n",
            b"$1\r\n",
            b"\r\n",
            b"PING\r\n",
            b"*02\r\n",
        ]
    ),
    st.binary(max_size=4),
)


@given(st.lists(PARTS, max_size=12).map(b"".join), st.integers(0, 40))
def test_plain_requests_are_read_as_all_others(data, cut):
    data = data[: len(data) - cut]
    plain, end = cache_server.take_plain(data)
    words, position = [], 0
    while position < end:
        one, position = cache_server.take_request(data, position)
        words.append(one)
    assert (words, position) == (list(map(list, plain)), end)


def test_all_of_what_is_plain_is_read_so():
    data = request(b"SET", b"key", b"") + b"PING\r\n" + request(b"GET", b"key")
    assert cache_server.take_plain(data + b"*1\r") == (
        [[b"SET", b"key", b""], [b"PING"], [b"GET", b"key"]],
        len(data),
    )


ALIKE = [[b"GET", b"%d" % i] for i in range(9, 12)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"*2\r\n$3\r\nGET", []),
        (request(b"GET", b"9"), []),
        (request(b"GET", b"9") + b"*2\r\n$3\r\nGET\r\n", []),
        (b"".join(request(*words) for words in ALIKE), ALIKE),
        (b"".join(request(*words) for words in ALIKE) + b"*2\r\n", ALIKE),
        (request(b"GET", b"9") * 2 + request(b"PING"), [ALIKE[0]] * 2),
        (request(b"GET", b"9") + request(b"SET", b"9", b"x"), []),
        (request(b"GET", b"9") + request(b"GET", b"\r\n"), []),
        (request(b"GET", b"9") + b"*2\r\n$3\r\nGET\r\n$2\r\n9\r\n", []),
    ],
)
def test_requests_that_are_alike_are_read_at_once(data, expected):
    alike = cache_server.take_alike(data.split(b"\r\n"))
    assert list(map(list, alike)) == expected


def test_a_request_is_not_read_again_before_it_can_be_whole():
    value = b"\r\n" * 1000
    whole = request(b"SET", b"k", value)
    for cut in range(1, len(whole)):
        least = cache_server.least_size(whole[:cut])
        assert cut < least <= len(whole)
    # Once the value's size is there, it is all that is waited for.
    assert cache_server.least_size(whole[:50]) == len(whole)


def test_what_was_to_expire_and_was_set_again_is_not_kept():
    cache = cache_server.Cache()
    for _ in range(10_000):
        cache.run([b"SET", b"k", b"v", b"EX", b"999999999"])
    assert len(cache._next) < 100


@pytest.mark.parametrize("seconds", [b"0", b"-1"])
def test_a_value_is_not_replaced_by_one_that_has_expired(seconds):
    cache = cache_server.Cache()
    cache.run([b"SET", b"k", b"v"])
    answer = cache.run([b"SET", b"k", b"w", b"EX", seconds])
    assert answer == b"-ERR invalid expire time in 'set' command\r\n"
    assert cache.run([b"GET", b"k"]) == b"$1\r\nv\r\n"
