"""What a batch costs as it grows, from 1 chunk of 64 bytes to 4096."""

from __future__ import annotations

from harness.families import Case, Family

from cases import streams

SIZE = 64

FAMILY = Family(
    name="growth",
    title=f"Batches of 1 to 4096 chunks of {SIZE} B",
    contestants=tuple(
        contestant
        for contestant in streams.CONTESTANTS
        if contestant.name
        in {
            streams.LIST,
            streams.NOWAIT,
            streams.TRIO_EACH,
            streams.TRIO_JOIN,
            streams.ASYNCIO,
            streams.UVLOOP,
            streams.GO,
            streams.C_WRITEV,
            streams.C_COPY,
        }
    ),
    cases=tuple(
        Case(f"{count}", f"{count}", streams.shape((count, SIZE)))
        for count in (2**power for power in range(13))
    ),
    figures=(streams.MICROSECONDS,),
    seconds=0.012,
    check=streams.check,
    sink="stream_sink.c",
    chart="lines",
    axis=f"chunks of {SIZE} B in a batch",
    # send_all for each chunk is soon off any scale.
    charted=(
        streams.LIST,
        streams.NOWAIT,
        streams.TRIO_JOIN,
        streams.ASYNCIO,
        streams.UVLOOP,
        streams.GO,
        streams.C_WRITEV,
        streams.C_COPY,
    ),
)
