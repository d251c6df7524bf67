"""House rules that linters cannot check."""

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "src" / "haulback").rglob("*.py"))
FORBIDDEN = {"utils", "common", "manager", "helpers", "core"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_module_is_short_named_for_what_it_does_and_says_so(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with a sentence"
    assert path.stem not in FORBIDDEN
    assert text.count("\n") <= 500, "a module has at most 500 lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[-2:]))
def test_no_function_is_longer_than_60_lines(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if "cli" not in path.parts],  # there a parameter is an option
    ids=lambda p: "/".join(p.parts[-2:]),
)
def test_no_function_has_more_than_five_parameters(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            names += [each.arg for each in (given.vararg, given.kwarg) if each]
            assert len(names) - (names[:1] in (["self"], ["cls"])) <= 5, node.name
