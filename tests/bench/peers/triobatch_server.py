"""Requests answered with a header and a body with triobatch."""

from __future__ import annotations

import trio
from responses import BODY, HEADER
from trio_server import run

import triobatch
from triobatch import BatchSocketStream


async def respond(stream: BatchSocketStream, count: int) -> None:
    await stream.send_buffers([HEADER, BODY] * count)


if __name__ == "__main__":
    trio.run(run, triobatch.serve_tcp, respond)
