"""House rules that linters cannot check."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.style.sources import SOURCES, functions, name_of, nodes, parsed, refuse

FORBIDDEN = {"utils", "common", "manager", "helpers", "core"}
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS = 500, 60, 5
MOST_MEMBERS = 12  # of a Protocol; the members of its bases belong to those
MOST_ANY = 250  # uses of `Any` in the whole product
_ANY = re.compile(r"\bAny\b")
_MEMBERS = ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign


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


def is_protocol(base: ast.expr) -> bool:
    """Whether a base of a class is `Protocol`, also with parameters or by its module."""
    return ast.unparse(base).partition("[")[0].rpartition(".")[2] == "Protocol"


def protocols() -> Iterator[tuple[str, int]]:
    """Every Protocol of the product, with the number of members that it declares."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and any(map(is_protocol, node.bases)):
                members = [each for each in node.body if isinstance(each, _MEMBERS)]
                yield f"{name_of(path)}: {node.name}", len(members)


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


def test_no_protocol_declares_more_than_twelve_members():
    counts = dict(protocols())
    assert len(counts) > 50  # the rule sees the Protocols
    refuse(f"{name}: {count}" for name, count in counts.items() if count > MOST_MEMBERS)


def test_any_is_rare():
    lines = [line for path in SOURCES for line in path.read_text().splitlines()]
    uses = [len(_ANY.findall(line)) for line in lines if "import " not in line]
    assert 100 < sum(uses) <= MOST_ANY


@cache
def log_calls() -> list[tuple[str, str, ast.Call]]:
    """Every call of a logger in the server and the node: its place, its level and the call."""
    calls = []
    for path in SOURCES:
        if name_of(path).split("/")[2] not in ("server", "node"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = node.func
                if isinstance(called.value, ast.Name) and called.value.id in ("log", "_LOG"):
                    calls.append((f"{name_of(path)}:{node.lineno}", called.attr, node))
    return calls


def has_values(message: ast.expr) -> bool:
    """Whether a message is more than a fixed text; a name is a text that the caller gives."""
    is_fixed = isinstance(message, ast.Constant) and "%" not in str(message.value)
    return not (is_fixed or isinstance(message, ast.Name))


def test_a_line_of_the_log_at_info_has_its_values_as_members():
    calls = [(place, call) for place, level, call in log_calls() if level == "info"]
    assert len(calls) > 15  # the rule sees the calls
    refuse(place for place, call in calls if len(call.args) > 1 or has_values(call.args[0]))


def test_a_line_of_the_log_about_a_task_names_it_as_a_member():
    lines = [(place, ast.unparse(call.args[0])) for place, _, call in log_calls() if call.args]
    refuse(place for place, text in lines if "task %s" in text)
