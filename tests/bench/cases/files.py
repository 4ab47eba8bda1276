"""Files on a stream, from memory: what a page and a film cost."""

from harness.families import Case, Contestant, Family, within

from cases.processor import CPU_A_GIGABYTE
from cases.streams import MICROSECONDS, check, shape

OURS = "send_file"
LOOP = "Trio os.sendfile loop"
BLOCKING = "blocking os.sendfile loop"

CASES = (
    Case("20K", "20 kB", shape((1, 20_000))),
    Case("200M", "200 MB", shape((1, 200_000_000)), count=1),
)

FAMILY = Family(
    name="files",
    title="Files on a stream",
    contestants=(
        Contestant(OURS, "triobatch", "files.py", ("send_file",)),
        Contestant(LOOP, "trio", "files.py", ("loop",)),
        Contestant(BLOCKING, "stdlib", "files.py", ("blocking",)),
    ),
    cases=CASES,
    figures=(MICROSECONDS, CPU_A_GIGABYTE),
    seconds=0.1,
    each=0.2,
    check=check,
    promises=tuple(
        within(
            1.0,
            OURS,
            LOOP,
            BLOCKING,
            cases=["20K", "200M"],
            figure=CPU_A_GIGABYTE.name,
        )
    ),
    sink="stream_sink.c",
)
