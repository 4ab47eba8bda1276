"""Public docstrings: what each has to say, and in which form."""

import inspect
import re

import pytest

import triobatch
import triobatch.lowlevel
import triobatch.testing

# A call of another library's, whose arguments it takes as they are.
ELSEWHERE = {"getsockopt", "setsockopt", "derive"}


def public():
    """Return all functions and methods, by the names users know them by."""
    found = {}
    for module in (triobatch, triobatch.lowlevel, triobatch.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                found[name] = thing
            elif inspect.isclass(thing):
                found.update(methods_of(name, thing))
    return found


def methods_of(name, cls):
    for method in dir(cls):
        item = inspect.getattr_static(cls, method)
        function = getattr(item, "fget", getattr(item, "__func__", item))
        if (
            not method.startswith("_")
            and inspect.isfunction(function)
            # PyPy's built-in methods are of none.
            and (function.__module__ or "").startswith("triobatch")
        ):
            yield f"{name}.{method}", function


FUNCTIONS = public()
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
def test_it_begins_with_one_sentence(name):
    first, *others = inspect.getdoc(FUNCTIONS[name]).splitlines()
    assert first.endswith(".")
    assert first[0].isupper()
    assert others[:1] in ([], [""])


@EACH
def test_every_argument_is_told(name):
    function = inspect.unwrap(FUNCTIONS[name])
    text = inspect.getdoc(function)
    if re.search(r"(?i)\bsee (\w+ \w+ )?``", text) or (
        name.rpartition(".")[2] in ELSEWHERE
    ):
        return
    listed = "Args:" in text
    untold = [
        argument
        for argument in inspect.signature(function).parameters
        if argument != "self"
        and not re.search(rf"(?m)^  \*{{0,2}}{argument}:", text)
        and (listed or f"``{argument}``" not in text)
    ]
    # A lone one may be what the first line is about.
    assert len(untold) <= (not listed), untold


@EACH
def test_what_it_raises_is_told_in_one_form(name):
    text = inspect.getdoc(FUNCTIONS[name])
    raises = re.search(r"(?ms)^Raises:\n(.*?)(?:\n\n|\Z)", text)
    for line in raises[1].splitlines() if raises else ():
        assert re.match(r"  [\w.]+(, [\w.]+)*: \S|    ", line), line


def test_the_search_finds_them():
    assert len(FUNCTIONS) > 150
    assert {"Buffers.append", "DatagramSocket.send", "sendmmsg"} <= (
        FUNCTIONS.keys()
    )
