"""``python -m triobatch``."""

import runpy
from importlib.metadata import version

import triobatch


def test_it_prints_the_version_and_what_can_be_done_here(capsys):
    runpy.run_module("triobatch", run_name="__main__")
    assert capsys.readouterr().out == (
        f"triobatch {version('triobatch')}\n{triobatch.capabilities()}\n"
    )


def test_the_version_is_the_installed_one():
    assert triobatch.__version__ == version("triobatch")
