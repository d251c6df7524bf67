"""The modules that the style tests read, each parsed once for all rules."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "haulback").rglob("*.py"))
TESTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module's tree: one walk serves every rule."""
    return tuple(ast.walk(parsed(path)))


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
