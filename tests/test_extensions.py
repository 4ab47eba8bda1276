"""No test of an extension is skipped unseen."""

import extensions
import pytest

import triobatch


@pytest.fixture(params=[extensions.C_CORE, extensions.CHUNKS])
def name(request):
    return request.param


@pytest.fixture
def no_wish(monkeypatch):
    monkeypatch.delenv("TRIOBATCH_CORE", raising=False)


def test_an_extension_that_is_there_is_loaded(name):
    module = extensions.load(name, name)
    assert module.__name__ == name


def test_one_that_is_missing_without_a_word_fails(no_wish):
    with pytest.raises(ImportError, match="_not_there"):
        extensions.load("triobatch._not_there", "triobatch._not_there")


def test_one_whose_build_left_word_is_skipped(name, no_wish, tmp_path):
    path = tmp_path.joinpath(*name.split("."))
    path.parent.mkdir(parents=True)
    assert extensions.why_absent(name, tmp_path) is None
    path.with_name(f"{path.name}_missing.txt").write_text("no compiler\n")
    assert extensions.why_absent(name, tmp_path) == "no compiler"


def test_one_is_skipped_where_the_python_core_is_asked_for(monkeypatch):
    monkeypatch.setenv("TRIOBATCH_CORE", "python")
    with pytest.raises(pytest.skip.Exception, match="_not_there"):
        extensions.load("triobatch._not_there", "triobatch._not_there")


def test_the_c_core_runs_unless_there_is_a_reason_against_it(name):
    capabilities = triobatch.capabilities()
    there = {
        extensions.C_CORE: capabilities.core == "c",
        extensions.CHUNKS: capabilities.chunk_extension,
    }
    assert there[name] == (extensions.why_absent(name) is None)
