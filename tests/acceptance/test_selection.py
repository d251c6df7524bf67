"""The gate and the rest together run every test, and no test twice."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ALONE = ("-n", "--dist", "--maxschedchunk", "--durations", "--durations-min", "--hypothesis-seed")


def words_of(script: str) -> list[str]:
    """The words of the pytest command in a script, without those that select no tests."""
    text = (ROOT / "scripts" / script).read_text().replace("\\\n", " ")
    [line] = re.findall(r"^pytest .*$", text, re.MULTILINE)
    _, *words = shlex.split(line.replace('"$@"', ""))
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word.partition("=")[0] not in _ALONE:
            kept.append(word)
        elif "=" not in word:
            words.pop(0)
    return kept


def collected(script: str) -> tuple[set[str], str]:
    """The tests that a script runs, and pytest's closing line."""
    run = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts="]
    run += ["--strict-markers", *words_of(script)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    *lines, summary = done.stdout.strip().splitlines()
    return {line for line in lines if line.startswith("tests/")}, summary


def test_every_test_is_run_by_the_gate_or_by_the_rest_and_none_by_both():
    gate, _ = collected("check")
    rest, summary = collected("test")
    counts = re.match(r"(\d+)/(\d+) tests collected", summary)
    assert counts, summary
    assert gate
    assert rest
    assert gate & rest == set()
    # of the whole tree, the slow part leaves out exactly the tests of the gate
    assert (len(rest), len(gate) + len(rest)) == (int(counts[1]), int(counts[2]))
