"""The table of speeds: `python -m benchmarks.table [--folder FOLDER] [--size MIB] [--rounds N]`.

Each row is a ratio to a peer, or a time; figures are medians.  The command takes less than ten
minutes with the default settings, and continues after an interruption: images and finished rounds
stay in the folder.  It needs restic, zstd and e2fsprogs; the download needs root and a loop device.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import haulback
from benchmarks import browse, rounds, starts
from benchmarks.images import CONTENTS, MORE_CHANGES, made
from benchmarks.limits import growth, limits
from haulback.units import MIB

Figures = dict[str, float]
# (title, Haulback's step, peer's step, target, step of the component limit)
_RATIOS = (
    ("first full / restic", "haulback full", "restic full", 0.45, "full"),
    ("first full / zstd -3 -T2", "haulback full", "zstd full", 0.85, "full"),
    ("increment by CBT / restic", "haulback increment", "restic increment", 0.15, "increment"),
    ("growth by the increment / restic", "haulback growth", "restic growth", 0.11, "growth"),
    ("restore, both synced / restic", "haulback restore", "restic restore", 0.6, "restore"),
    ("verify everything / restic", "haulback verify", "restic verify", 0.4, "verify"),
)
_TIMES = (
    ("`haulback --version`, ms", "--version", 150),
    ("`haulback task ls`, ms", "task ls", 250),
    ("server, start to first answer, ms", "server", 1500),
)
# (title, name of the ratio): `cp` reads a mounted file system in both
_DOWNLOADS = (
    ("download of a mounted backup", "cp / mounted download"),
    ("opening of the repository, start of the reader and download", "cp / download"),
)


class _Kept:
    """The finished measurements, stored in a file of the folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "measured.json"
        self.found: dict[str, Any] = {}
        if self._file.exists():
            self.found = json.loads(self._file.read_text())

    def times(self, name: str, count: int, measure: Callable[[], Figures]) -> list[Figures]:
        """`count` results of a measurement; missing results are measured now."""
        results: list[Figures] = self.found.setdefault(name, [])
        while len(results) < count:
            print(f"{name}, round {len(results) + 1}", file=sys.stderr, flush=True)
            results.append(measure())
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(self.found, indent=1))
            part.replace(self._file)
        return results[:count]


def _median(results: list[Figures], name: str) -> float:
    return statistics.median(result[name] for result in results)


def _data_path(folder: Path, kept: _Kept, size: int, count: int) -> list[str]:
    rows = []
    for content in CONTENTS:
        images = made(folder / f"{content}-{size}", content, size * MIB)
        measured = partial(rounds.measured, images, folder / "round")
        results = kept.times(f"{content} {size}", count, measured)
        [bound] = kept.times(f"limits {content} {size}", 1, partial(limits, images, folder))
        for title, ours, theirs, target, step in _RATIOS:
            ratios = [result[ours] / result[theirs] for result in results]
            mine = _median(results, ours)
            if step == "growth":
                beside = f" | {_growth(mine, bound[step])}"
            else:
                cpu = statistics.median(r[f"{ours} cpu"] / r[f"{theirs} cpu"] for r in results)
                beside = f"{cpu:.2f} | {mine:.2f} s; {mine / bound[step]:.2f} x {bound[step]:.2f} s"
            rows.append(_row(f"{content}: {title}", statistics.median(ratios), target, beside))
    return rows + _more_growth(folder, kept, size)


def _more_growth(folder: Path, kept: _Kept, size: int) -> list[str]:
    """Rows of the growth by changes of other kinds; sizes hardly differ between rounds."""
    rows = []
    for content in MORE_CHANGES:
        images = made(folder / f"{content}-{size}", content, size * MIB)
        measured = partial(rounds.grown, images, folder / "round")
        [result] = kept.times(f"growth {content} {size}", 1, measured)
        [bound] = kept.times(f"limit {content} {size}", 1, lambda i=images: {"growth": growth(i)})
        ours = result["haulback growth"]
        title, beside = (
            f"{content}: growth by the increment / restic",
            _growth(ours, bound["growth"]),
        )
        rows.append(_row(title, ours / result["restic growth"], 0.11, f" | {beside}"))
    return rows


def _growth(ours: float, least: float) -> str:
    return f"{ours / MIB:.1f} MiB; {ours / least:.2f} x {least / MIB:.1f} MiB"


def _others(folder: Path, kept: _Kept, count: int) -> list[str]:
    rows = []
    results = kept.times("folder", 1, lambda: _apart(folder, starts.folder_exports))
    ratio = results[0]["export of 1000"] / results[0]["export of 1"]
    rows.append(_row("EXPORT, folder of 1,000 machines / of one, CPU", ratio, 1.3))
    results = kept.times("starts", count, lambda: _apart(folder, starts.starts))
    rows += [_row(title, _median(results, name) * 1000, most) for title, name, most in _TIMES]
    try:
        results = kept.times("download", 1, lambda: _apart(folder, _download))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the download is not measured: {error}", file=sys.stderr)
        return rows
    for title, name in _DOWNLOADS:
        rows.append(_row(f"{title} / `cp`, speed, caches cold", results[0][name], 0.7, least=True))
    return rows


def _download(folder: Path) -> Figures:
    return browse.measure(folder, 256 * MIB, 3)


def _apart(folder: Path, measure: Callable[[Path], Figures]) -> Figures:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return measure(Path(name))


def _row(
    title: str, figure: float, target: float, beside: str = " | ", *, least: bool = False
) -> str:
    is_met = figure >= target if least else figure <= target
    sign, verdict = "≥" if least else "≤", "met" if is_met else "**missed**"
    return f"| {title} | {figure:.3g} | {sign} {target:g} | {verdict} | {beside} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Path(tempfile.gettempdir()) / "haulback-table"
    parser.add_argument("--folder", type=Path, default=usual, help="images and finished rounds")
    parser.add_argument("--size", type=int, default=2048, help="MiB of a disk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--anew", action="store_true", help="forget finished rounds, keep images")
    given = parser.parse_args()
    if missing := [name for name in ("restic", "zstd", "mke2fs") if not shutil.which(name)]:
        sys.exit(f"install first: {' '.join(missing)}")
    given.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(given.folder / "round", ignore_errors=True)
    if given.anew:
        (given.folder / "measured.json").unlink(missing_ok=True)
    # an installed program has its bytecode; without it each step compiles the modules that changed
    compileall.compile_dir(Path(haulback.__file__).parent, quiet=1)
    kept = _Kept(given.folder)
    rows = _data_path(given.folder, kept, given.size, given.rounds)
    rows += _others(given.folder, kept, given.rounds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, {given.size} MiB, {given.rounds} rounds")
    print("| row | median | target | | CPU ratio | seconds or MiB; times of the limit |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
