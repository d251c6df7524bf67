"""The modules that the style tests read, each parsed once for all rules."""

import ast
import gc
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "haulback").rglob("*.py"))
TESTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])

_BLOCKS = ast.stmt | ast.excepthandler | ast.match_case


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    # The trees stay, and a collector that scans them again and again takes most of the time.
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """The module and all statements in it, at any depth: one walk serves every rule."""
    found: list[ast.AST] = [parsed(path)]
    for node in found:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                found += [each for each in value if isinstance(each, _BLOCKS)]
    return tuple(found)


def name_of(path: Path) -> str:
    """The path of a module as messages and the allow-list write it."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods and nested functions included."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def refuse(offenders: Iterable[object]) -> None:
    """Fail with a list of all offenders, because pytest shortens the difference of two lists."""
    lines = [str(offender) for offender in offenders]
    assert not lines, "\n".join(["", *lines])
