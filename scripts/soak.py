"""All cases of a family, in pieces: each piece is one pytest run, and an interruption loses one
piece.

`soak/FAMILY.next` holds the next seed of a family.  `[tool.haulback.families]` in pyproject.toml
says how many cases a family has and how many a piece takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.shares import FAMILIES  # noqa: E402

LONGEST = 540  # seconds of a piece
MARKS = ("HAULBACK_CASES=", "STRANGERS=", "MUTANTS=", "KILLED=")


def whole(family: str, count: int | None) -> None:
    """Run a family from the case after the last call until all its cases have run."""
    if family == "mutants":
        mutants([])
        return
    total = count or FAMILIES[family]["cases"]
    state = ROOT / "soak" / f"{family}.next"
    state.parent.mkdir(exist_ok=True)
    first = int(state.read_text()) if state.exists() else 0
    until = (first // total + 1) * total
    while first < until:
        size = min(FAMILIES[family]["piece"], until - first)
        piece(family, first, size)
        first += size
        state.write_text(str(first))


def piece(family: str, first: int, size: int) -> None:
    """Run one piece and append its seeds and result to soak.log.  Raises SystemExit on a
    failure.
    """
    begun = time.monotonic()
    run = [sys.executable, "-m", "pytest", "-v", "-s", "-p", "no:cacheprovider"]
    run += [f"--hypothesis-seed={first}", *FAMILIES[family]["tests"]]
    cases = {**os.environ, "HAULBACK_CASES": f"{first}:{size}"}
    out = ROOT / "soak" / f"{family}.out"
    with out.open("wb") as file:
        try:
            code = subprocess.run(
                run, cwd=ROOT, env=cases, stdout=file, stderr=file, timeout=LONGEST, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"over {LONGEST} s: make its piece smaller"
    lines = out.read_text(errors="replace").splitlines() or [""]
    marks = sorted({line for line in lines if line.startswith(MARKS)})
    took = time.monotonic() - begun
    log(f"{family} HAULBACK_CASES={first}:{size} {took:.0f} s: {lines[-1]} {' '.join(marks)}")
    if code:
        print("\n".join(lines[-40:]))
        raise SystemExit(f"soak: {family} failed ({code}); see {out}")


def mutants(packages: list[str]) -> None:
    """Run the mutants of `packages`, or of all packages, until each mutant has a result."""
    while (code := _mutants(packages)) == 75:
        pass
    if code:
        raise SystemExit(code)


def _mutants(packages: list[str]) -> int:
    run = [sys.executable, "scripts/mutants.py", "--gate", *packages]
    done = subprocess.run(run, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    for line in done.stdout.splitlines():
        if line.startswith(MARKS):
            log(line)
    return done.returncode


def log(line: str) -> None:
    """Append a line with the commit to soak.log, and print it."""
    run = ["git", "rev-parse", "--short", "HEAD"]
    head = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    print(f"soak: {head or '?'}: {line}", flush=True)
    with (ROOT / "soak.log").open("a") as file:
        file.write(f"soak: {head or '?'}: {line}\n")


def main(words: list[str]) -> None:
    if words and words[0] not in FAMILIES:
        names = "\n".join(f"  {name:10} {row['cases']} cases" for name, row in FAMILIES.items())
        raise SystemExit(f"usage: scripts/soak [FAMILY [COUNT]] | mutants [PACKAGE ...]\n{names}")
    if words[:1] == ["mutants"]:
        mutants(words[1:])
        return
    for family in words[:1] or FAMILIES:
        whole(family, int(words[1]) if len(words) > 1 else None)


if __name__ == "__main__":
    main(sys.argv[1:])
