"""House rules that linters cannot check."""

import ast
from collections.abc import Iterator

from tests.style.sources import SOURCES, functions, name_of, parsed, refuse

FORBIDDEN = {"utils", "common", "manager", "helpers", "core"}
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS = 500, 60, 5


def every_function() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the product with the place that a message names."""
    for path in SOURCES:
        for node in functions(path):
            yield f"{name_of(path)}:{node.lineno} {node.name}", node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The number of parameters, without `self` and `cls`."""
    given = node.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [each.arg for each in (given.vararg, given.kwarg) if each]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_a_module_opens_with_a_sentence():
    refuse(name_of(path) for path in SOURCES if not ast.get_docstring(parsed(path)))


def test_a_module_is_named_for_what_it_does():
    refuse(name_of(path) for path in SOURCES if path.stem in FORBIDDEN)


def test_a_module_is_short():
    lines = {name_of(path): path.read_text().count("\n") for path in SOURCES}
    refuse(f"{name}: {count} lines" for name, count in lines.items() if count > LONGEST_MODULE)


def test_no_function_is_longer_than_60_lines():
    refuse(
        place
        for place, node in every_function()
        if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    )


def test_no_function_has_more_than_five_parameters():
    many = [place for place, node in every_function() if parameters(node) > MOST_PARAMETERS]
    # in the command line each parameter is an option
    refuse(place for place in many if not place.startswith("src/haulback/cli/"))
