"""Families of seeded cases: all cases by `scripts/soak`, a share of each family in an ordinary run.

`[tool.haulback]` in pyproject.toml holds the size of the share and the table of families.  The
commit's hash selects the cases, so that each commit runs other cases and a failure can be repeated:
`HAULBACK_CASES=FIRST:COUNT` names them.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
_SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["haulback"]
FAMILIES: dict[str, dict[str, Any]] = _SETTINGS["families"]


class Cases(NamedTuple):
    """Seeds `first` to `first + count - 1`; `whole`: a run by `scripts/soak`."""

    first: int
    count: int
    whole: bool

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + self.count)


def cases(family: str) -> Cases:
    """Cases of a family to run now, printed in the form that runs them again."""
    if asked := os.environ.get("HAULBACK_CASES"):
        first, _, count = asked.partition(":")
        return Cases(int(first), int(count or "1"), True)
    count = max(1, FAMILIES[family]["cases"] * _SETTINGS["share_percent"] // 100)
    print(f"{family}: HAULBACK_CASES={commit()}:{count}")
    return Cases(commit(), count, False)


def commit() -> int:
    """First digits of the commit's hash as a number; 0 outside a checkout."""
    run = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return int(head[:7] or "0", 16)


if __name__ == "__main__":
    print(commit())
