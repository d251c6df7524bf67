"""Line and branch coverage by package, with all programs that the tests start.

Usage: scripts/coverage_by_room.py [pytest arguments]; without arguments every test runs. Prints a
table and fails if a test fails or a package is below the bounds in pyproject.toml.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "soak" / "coverage"
BOUNDS: dict[str, int] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["haulback"][
    "coverage"
]
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def package_of(path: str) -> str:
    """Package of a module: the package in haulback; in the server the package in server."""
    parts = Path(path).with_suffix("").parts
    inner = parts[parts.index("haulback") + 1 :]
    if len(inner) == 1:
        return "wire" if inner == ("wire",) else "foundation"
    if inner[0] == "server" and len(inner) > 2:
        return f"server.{inner[1]}"
    return inner[0]


def coverage(command: str, *words: str) -> int:
    """Run a coverage command with its data in one place, even if a program runs in another
    folder.
    """
    run = [sys.executable, "-m", "coverage", command, f"--data-file={DATA / 'data'}", *words]
    return subprocess.run(run, cwd=ROOT, check=False).returncode


def measure(words: list[str]) -> int:
    """Run the tests under coverage; returns pytest's exit code."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    code = coverage("run", "-m", "pytest", *words)
    coverage("combine", "--quiet", str(DATA))
    # Tests that extend a copy of the product measure files that no longer exist after the test.
    here = ["--include", f"{ROOT / 'src'}/*"]
    coverage("json", "--quiet", *here, "-o", str(DATA / "report.json"))
    return code


def by_room() -> dict[str, Counter[str]]:
    """Counts of lines and branches of each package."""
    report = json.loads((DATA / "report.json").read_text())
    packages: dict[str, Counter[str]] = {}
    for path, file in report["files"].items():
        summary = file["summary"]
        packages.setdefault(package_of(path), Counter()).update({n: summary[n] for n in COUNTS})
    return packages


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def table(packages: dict[str, Counter[str]]) -> list[str]:
    """Print the table; returns the packages below a bound."""
    low = []
    print(f"{'package':20} {'lines':>7} {'of':>6}  {'branches':>8} {'of':>6}")
    for package, counts in sorted(packages.items()):
        lines = percent(counts["covered_lines"], counts["num_statements"])
        branches = percent(counts["covered_branches"], counts["num_branches"])
        is_low = lines < BOUNDS["lines"] or branches < BOUNDS["branches"]
        low += [package] * is_low
        print(
            f"{package:20} {lines:6.1f}% {counts['num_statements']:6}  {branches:7.1f}%"
            f" {counts['num_branches']:6}{'  low' * is_low}"
        )
    print(f"{'wanted':20} {BOUNDS['lines']:6.1f}% {'':6}  {BOUNDS['branches']:7.1f}%")
    return low


def main(words: list[str]) -> int:
    code = measure(words or ["-n", "2", "--dist=loadfile", "--no-loadscope-reorder"])
    low = table(by_room())
    if low:
        print(f"coverage: below the bounds: {', '.join(low)}")
    return code or bool(low)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
