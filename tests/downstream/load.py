"""Let other people's clients load the examples, and ask what got lost.

    python tests/downstream/load.py [SECONDS]

wrk and curl on the file server, dnsperf on the DNS server, redis-benchmark on
the cache, httpx on Hypercorn, aioquic's asyncio client on the QUIC server:
each for its share of the time. It ends with 1 at the first wrong answer. A
client that is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

sys.path.insert(0, str(Path(__file__).parents[1]))

from programs import EXAMPLES, running

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = 3_000_000


def output(*command: object) -> str:
    """Run a client to its end; return what it printed."""
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout


def http(seconds: int) -> str:
    """Ask the file server for small files and large ones, and for ranges."""
    with tempfile.TemporaryDirectory() as directory:
        large = Path(directory, "large")
        large.write_bytes(bytes(i % 251 for i in range(LARGE)))
        Path(directory, "small").write_bytes(b"x" * 500)
        with running(
            "file_server.py", "127.0.0.1:0", "--directory", directory
        ) as url:
            answered = 0
            for name in ("small", "large"):
                report = output(
                    *("wrk", "-t", 2, "-c", 64, "-d", f"{seconds}s"),
                    f"{url}{name}",
                )
                for trouble in ("Socket errors", "Non-2xx"):
                    assert trouble not in report, report
                answered += int(found(r"(\d+) requests in", report))
            for first, last in ((0, 0), (17, 70_000), (LARGE - 9, LARGE - 1)):
                part = subprocess.run(
                    ["curl", "-sf", "-r", f"{first}-{last}", f"{url}large"],
                    capture_output=True,
                    check=True,
                    timeout=60,
                ).stdout
                assert part == large.read_bytes()[first : last + 1]
    return f"{answered} answers, none wrong; ranges as asked"


def dns(seconds: int) -> str:
    """Ask the DNS server for names that are there, and that are not."""
    with tempfile.NamedTemporaryFile("w") as questions:
        questions.write("example.org SOA\nnothing.example.org A\n" * 50)
        questions.flush()
        with running("dns_server.py", "127.0.0.1:0") as address:
            host, port = address.split(":")
            report = output(
                *("dnsperf", "-s", host, "-p", port, "-d", questions.name),
                *("-l", seconds, "-c", 8, "-q", 100),
            )
    assert found(r"Queries lost:\s+(\d+)", report) == "0", report
    assert "SERVFAIL" not in report, report
    answered = found(r"Queries completed:\s+(\d+)", report)
    return f"{answered} answers, 0 lost"


def cache(seconds: int) -> str:
    """Set and get, pipelined and not."""
    with running("cache_server.py", "127.0.0.1:0") as address:
        host, port = address.split(":")
        for pipelined in (1, 16):
            report = output(
                *("redis-benchmark", "-h", host, "-p", port, "-t", "set,get"),
                *("-c", 50, "-P", pipelined, "-n", seconds * 10_000),
                *("-r", 1000, "--csv"),
            )
            assert "rror" not in report, report
    return f"{seconds * 40_000} commands"


def httpx(seconds: int) -> str:
    """Get a file by httpx, and ask Hypercorn by HTTP/1.1 and HTTP/2."""
    asked = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "file").write_bytes(b"x" * LARGE)
        with running(
            "file_server.py", "127.0.0.1:0", "--directory", directory
        ) as root:
            url = f"{root}file"
            while not asked or time.monotonic() < end:
                got = output(sys.executable, EXAMPLES / "httpx_client.py", url)
                assert got == f"200 {LARGE} bytes\n", got
                output(sys.executable, EXAMPLES / "hypercorn_app.py")
                asked += 1
    return f"{asked} clients of each"


def quic(seconds: int) -> str:
    """Send streams there and back by aioquic's own client, on asyncio."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["echo"], server_name="127.0.0.1"
    )
    configuration.load_verify_locations(cadata=authority.cert_pem.bytes())
    message = bytes(range(256)) * 400

    async def ask(host: str, port: int) -> int:
        asked = 0
        end = time.monotonic() + seconds
        async with connect(host, port, configuration=configuration) as client:
            while not asked or time.monotonic() < end:
                reader, writer = await client.create_stream()
                writer.write(message)
                writer.write_eof()
                assert await reader.read() == message
                asked += 1
        return asked

    with (
        issued.private_key_and_cert_chain_pem.tempfile() as certificate,
        running(
            *("quic_echo.py", "--serve", "--at", "127.0.0.1:0"),
            *("--certificate", certificate),
        ) as address,
    ):
        host, port = address.split(":")
        return f"{asyncio.run(ask(host, int(port)))} streams there and back"


def found(pattern: str, text: str) -> str:
    """Return what the pattern's group is in a text."""
    match = re.search(pattern, text)
    assert match, text
    return match[1]


PARTS: dict[Callable[[int], str], tuple[str, ...]] = {
    http: ("wrk", "curl"),
    dns: ("dnsperf",),
    cache: ("redis-benchmark",),
    httpx: (),
    quic: (),
}


def main() -> None:
    """Run each part for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    seconds = max(1, parser.parse_args().seconds // (len(PARTS) + 1))
    for part, clients in PARTS.items():
        missing = [name for name in clients if shutil.which(name) is None]
        said = f"left out, no {missing[0]}" if missing else part(seconds)
        print(f"{part.__name__}: {said}", flush=True)


if __name__ == "__main__":
    main()
