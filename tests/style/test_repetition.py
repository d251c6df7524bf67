"""Code stands once: no two functions share a long run of equal lines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style.sources import SOURCES, TESTS, functions, name_of, refuse

RUN = 12  # equal lines that make a repetition; blank lines and comments do not count
# Scripts that never change, and migrations, which keep the tables of their time.
FROZEN = ("tests/golden/client_v1.py", "src/haulback/server/store/migrations/")


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a module that belong to functions, with their numbers."""
    text = path.read_text().splitlines()
    numbered, last = [], 0
    for function in sorted(functions(path), key=lambda function: function.lineno):
        for number in range(max(function.lineno, last + 1), (function.end_lineno or 0) + 1):
            line = text[number - 1].strip()
            if line and line[0] != "#":
                numbered.append((number, line))
        last = max(last, function.end_lineno or 0)
    return numbered


def repetitions(paths: list[Path]) -> Iterator[str]:
    """Each line at which a run begins that an earlier place has too, with that place."""
    first: dict[tuple[str, ...], tuple[str, int]] = {}
    for path in paths:
        name, numbered = name_of(path), lines_of(path)
        lines = tuple(line for _, line in numbered)
        for at in range(len(lines) - RUN + 1):
            here = (name, numbered[at][0])
            there = first.setdefault(lines[at : at + RUN], here)
            if there is not here:
                yield f"{there[0]}:{there[1]} = {here[0]}:{here[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("paths", [SOURCES, TESTS], ids=["product", "tests"])
def test_no_long_run_of_lines_stands_twice(paths: list[Path]):
    refuse(repetitions([path for path in paths if not name_of(path).startswith(FROZEN)]))
