"""What the benchmarks print and draw: figures, tables, charts."""

import dataclasses
import io
import json
import re
import sys
from xml.etree import ElementTree as ET

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks are for Linux", allow_module_level=True)

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from harness import charts
from harness.families import Case, Contestant, Family, Figure, faster, within
from harness.figures import Figures, estimate, load, ratio, save
from harness.progress import Reporter, spoken
from harness.rounds import Result
from harness.svg import DARK
from harness.tables import promises_of, table_of
from harness.writers import for_terminal, markdown, rst
from rich.console import Console

TIME = Figure("time", "s", lambda answer: answer["seconds"])
RATE = Figure("rate", "a s", lambda answer: 1 / answer["seconds"], "more")
MACHINE = {"processor": "a fast one"}


def figures_of(promised=(), **seconds):
    """Return the figures of one case, with the given medians."""
    family = Family(
        name="some",
        title="Some test",
        contestants=tuple(
            Contestant(name, "trio", "driver.py") for name in seconds
        ),
        cases=(Case("small", "small_ones"), Case("large", "large ones")),
        figures=(TIME, RATE),
        seconds=1.0,
        check=lambda case, count, answer: None,
        promises=tuple(promised),
    )
    answers = {
        name: [{"seconds": median * factor} for factor in (0.9, 1.0, 1.4)]
        for name, median in seconds.items()
    }
    return Figures.of(Result(family, {"small": answers, "large": {}}))


@pytest.mark.parametrize(
    ("make", "bound", "met"),
    [
        (faster, 2.0, True),
        (faster, 2.01, False),
        (within, 0.5, True),
        (within, 0.49, False),
    ],
)
@pytest.mark.parametrize("figure", ["time", "rate"])
def test_a_promise_is_kept_or_missed(make, bound, met, figure):
    promised = make(bound, "ours", "theirs", cases=["small"], figure=figure)
    table, count_missed = promises_of(
        figures_of(promised, ours=1.0, theirs=2.0)
    )
    assert count_missed == (0 if met else 1)
    assert table.rows[0][-1] == ("met" if met else "MISSED",)


def test_a_promise_is_measured_against_the_best():
    (promise,) = within(1, "ours", "slow", "quick", "gone", cases=["small"])
    figures = figures_of([promise], ours=1.0, slow=4.0, quick=2.0)
    assert ratio(figures, promise) == (0.5, "quick")


def test_a_promise_about_nobody_is_not_counted():
    promised = faster(9, "ours", "gone", cases=["small", "large"])
    assert promises_of(figures_of(promised, ours=1.0)) == (None, 0)


def test_a_ratio_of_contestants_that_are_slow_together_is_certain():
    slow_at_times = [1.0, 9.0, 1.0, 2.0, 1.0]
    found = estimate([2 * value for value in slow_at_times], slow_at_times)
    assert (found.ratio, found.low, found.high) == (2, 2, 2)


def test_a_ratio_of_contestants_that_vary_is_an_interval():
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0] * 7)
    assert found.ratio == 4
    assert 1 <= found.low < 4 < found.high <= 7


def test_only_rounds_of_both_are_compared():
    # The second failed in the third round.
    found = estimate([1.0, 1.0, 100.0], [1.0, 1.0])
    assert (found.low, found.high) == (1, 1)


def test_there_is_no_ratio_to_nothing():
    assert estimate([1.0], []) is None
    assert estimate([1.0], [0.0]) is None


def test_a_table_has_medians_and_ratios_with_their_interval():
    table = table_of(figures_of(ours=2.0, theirs=5.0), TIME)
    # Nobody measured the other case.
    assert table.rows == (
        (("ours",), ("2.00",), ()),
        (("theirs",), ("5.00", "2.50 [2.50\N{EN DASH}2.50]"), ()),
    )


def test_a_table_says_when_the_machine_was_busy():
    figures = figures_of(ours=2.0)
    busy = Figures(figures.family, figures.values, bystanders=0.25)
    assert "25%" in table_of(busy, TIME).note
    assert "processors" not in table_of(figures, TIME).note


def test_a_narrow_terminal_gets_the_table_in_parts():
    table = table_of(figures_of(ours=2.0, theirs=5.0), TIME)

    def printed(width):
        console = Console(width=width)
        with console.capture() as captured:
            console.print(for_terminal(table, width))
        return captured.get()

    assert printed(100).count("theirs") == 1
    assert printed(40).count("theirs") == 2
    for width in (100, 40):
        assert "2.50 [2.50\N{EN DASH}2.50]" in printed(width)


def test_markdown_has_a_line_for_each_row():
    table = table_of(figures_of(ours=2.0, theirs=5.0), TIME)
    text = markdown([table], MACHINE)
    assert "* processor: a fast one" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 2
    assert {line.count("|") for line in rows} == {4}


def test_a_page_can_include_each_table_alone():
    promised = faster(2, "ours", "theirs", cases=["small"])
    figures = figures_of(promised, ours=1.0, theirs=2.0)
    tables = [table_of(figures, TIME), promises_of(figures)[0]]
    text = rst(tables, MACHINE)
    for name in ("machine", "some-time", "some-promises"):
        assert text.count(f".. begin {name}\n") == 1
        assert text.count(f".. end {name}\n") == 1
    # No reference to a target "small".
    assert "small\\_ones" in text


def test_a_page_is_what_docutils_reads_without_a_warning():
    core = pytest.importorskip("docutils.core")
    nodes = pytest.importorskip("docutils.nodes")
    promised = faster(2, "ours", "theirs", cases=["small"])
    figures = figures_of(promised, ours=1.0, theirs=2.0)
    text = rst([table_of(figures, TIME), promises_of(figures)[0]], MACHINE)
    page = core.publish_doctree(
        text, settings_overrides={"halt_level": 2, "report_level": 2}
    )
    assert len([*page.findall(nodes.table)]) == 2


def test_many_columns_are_narrow():
    many = figures_of(ours=2.0, theirs=1.0)
    table = table_of(many, TIME)
    assert "0.50 [0.50" in rst([table], MACHINE)
    wide = dataclasses.replace(table, heads=[*table.heads, *"abcdef"])
    text = rst([wide], MACHINE)
    assert "| 0.50\n" in text
    assert "   :class: figures many\n" in text


def test_figures_come_back_from_json(tmp_path):
    figures = figures_of(ours=2.0, theirs=1 / 3)
    path = tmp_path / "run.json"
    save(path, MACHINE, [figures])
    machine, run = load(path, {"some": figures.family})
    assert machine == MACHINE
    assert run == [figures]
    # A line each, so that one can see what changed.
    (line,) = [x for x in path.read_text().splitlines() if "2.8" in x]
    assert json.loads("{" + line.strip().rstrip(",") + "}") == {
        "ours": [1.8, 2.0, 2.8]
    }


def test_where_there_is_no_terminal_each_benchmark_is_told_once(capsys):
    with Reporter(Console(file=io.StringIO()), 10) as progress:
        for benchmark in ("streams", "senders"):
            for number in (1, 2):
                progress(benchmark, f"round {number}", 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "streams: round 1",
        "senders: round 1",
    ]


def test_a_terminal_is_told_how_long_it_still_takes():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with Reporter(console, 10) as progress:
        progress("streams", "round 1", 4.0)
        progress.refresh()
    assert "streams: round 1" in out.getvalue()
    assert "40 %" in out.getvalue()
    assert "left:" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "1 s"), (89.4, "89 s"), (170, "3 min")]
)
def test_a_duration_is_said_as_people_do(seconds, said):
    assert spoken(seconds) == said


def test_figures_of_tests_that_are_gone_are_left_out(tmp_path):
    path = tmp_path / "run.json"
    save(path, MACHINE, [figures_of(ours=2.0)])
    assert load(path, {}) == (MACHINE, [])


@pytest.fixture
def chart(tmp_path):
    def make(**seconds):
        (path,) = charts.draw([figures_of(**seconds)], tmp_path)
        return path.read_text()

    return make


def test_a_chart_can_be_searched_and_read_aloud(chart):
    svg = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(chart(ours=2.0, theirs=5.0))
    assert [child.tag for child in root][:2] == [f"{svg}title", f"{svg}desc"]
    assert root[0].text == "Some test"
    assert "theirs 5.00" in root[1].text
    assert root.attrib["aria-labelledby"].split() == ["title", "desc"]
    texts = ["".join(text.itertext()) for text in root.iter(f"{svg}text")]
    assert {"ours", "theirs", "small_ones", "5.00"} <= set(texts)


def test_every_colour_of_a_chart_has_one_for_the_dark(chart):
    drawn = chart(ours=2.0, theirs=5.0).partition("</style>")[2]
    used = set(re.findall(r"#[0-9a-f]{6}", drawn)) | {*charts.LINES.values()}
    assert used
    assert used <= set(DARK)


def test_the_same_figures_make_the_same_chart(chart):
    assert chart(ours=2.0) == chart(ours=2.0)
