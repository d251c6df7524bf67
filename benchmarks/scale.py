"""Benchmark of Haulback at a simulated tebibyte and at its thousandth backup: `python -m
benchmarks.scale`.

The benchmark takes about four minutes and 20 GiB in the temporary folder, on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import scale_backups, scale_index, scale_map
from benchmarks.measured import Figures
from haulback.units import MIB

# (folder, step): a step uses the files of earlier steps in its folder.
STEPS: tuple[tuple[str, Callable[[Path], Figures]], ...] = (
    ("merged", scale_index.make_index_to_merge),
    ("merged", scale_index.merge_index),
    ("merged", scale_index.use_index),
    ("spread", scale_index.make_index_spread),
    ("spread", scale_index.use_index),
    ("map", scale_map.make_map),
    ("map", scale_map.change_map),
    ("chain", scale_backups.make_chain),
    ("chain", scale_backups.list_chain),
    ("swept", scale_backups.make_chain_swept),
    ("sparse", scale_backups.export_sparse_2_gib),
    ("sparser", scale_backups.export_sparse_20_gib),
    ("session", scale_backups.session_of_200_thousand),
    ("sessions", scale_backups.session_of_2_million),
)


class Row(NamedTuple):
    """A figure, its upper limit (with `least` its lower limit), and the size of its unit."""

    title: str
    figure: Callable[[dict[str, Figures]], float]
    target: float
    least: bool = False


def _mib(step: str, name: str) -> Callable[[dict[str, Figures]], float]:
    return lambda found: found[step][name] / MIB


def _plain(step: str, name: str) -> Callable[[dict[str, Figures]], float]:
    return lambda found: found[step][name]


def _ratio(high: tuple[str, str], low: tuple[str, str]) -> Callable[[dict[str, Figures]], float]:
    return lambda found: found[high[0]][high[1]] / found[low[0]][low[1]]


_CHAIN, _SWEPT = "chain make_chain", "swept make_chain_swept"
ROWS = (
    Row("index, one segment: opened, s", _plain("merged use_index", "open_seconds"), 1),
    Row("index, 28 segments: opened, s", _plain("spread use_index", "open_seconds"), 1),
    Row("index, one segment: memory, MiB", _mib("merged use_index", "used_bytes"), 400),
    Row("index, 28 segments: memory, MiB", _mib("spread use_index", "used_bytes"), 400),
    *(
        Row(
            f"index, {title}: look-ups/s, {batch} at once",
            _plain(f"{folder} use_index", f"lookups_by_{batch}_per_second"),
            200_000,
            least=True,
        )
        for folder, title in (("merged", "one segment"), ("spread", "28 segments"))
        for batch in (4096, 16)
    ),
    Row("map, 1,000 chunks changed: pages, MiB", _mib("map change_map", "written_bytes"), 20),
    Row(
        "backup 981-1,000 / 2-21: time, index swept every 100",
        _ratio((_SWEPT, "late_seconds"), (_SWEPT, "early_seconds")),
        1.5,
    ),
    Row(
        "backup 981-1,000 / 2-21: time, index never swept",
        _ratio((_CHAIN, "late_seconds"), (_CHAIN, "early_seconds")),
        1.5,
    ),
    Row(
        "backup 981-1,000 / 2-21: bytes",
        _ratio((_CHAIN, "late_bytes"), (_CHAIN, "early_bytes")),
        1.1,
    ),
    Row(
        "listing 1,000 backups: loads of anything but manifests",
        _plain("chain list_chain", "loads_of_anything_else"),
        0,
    ),
    Row(
        "export of 20 GiB / of 2 GiB sparse: peak memory",
        _ratio(
            ("sparser export_sparse_20_gib", "peak_bytes"),
            ("sparse export_sparse_2_gib", "peak_bytes"),
        ),
        1.1,
    ),
    Row(
        "session of 200,000 new chunks: peak memory, MiB",
        _mib("session session_of_200_thousand", "peak_bytes"),
        220,
    ),
    Row(
        "session of 2,000,000 new chunks: peak memory, MiB",
        _mib("sessions session_of_2_million", "peak_bytes"),
        220,
    ),
)


def table(found: dict[str, Figures]) -> str:
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for title, figure, target, least in ROWS:
        measured = figure(found)
        met = measured >= target if least else measured <= target
        shown = f"{measured:,.0f}" if measured >= 1000 else f"{measured:.3g}"
        sign, verdict = "≥" if least else "≤", "met" if met else "**missed**"
        lines.append(f"| {title} | {shown} | {sign} {target:,} | {verdict} |")
    return "\n".join(lines)


def measure(root: Path, only: str) -> dict[str, Figures]:
    """Run every step in a separate process, so that its memory is measured separately."""
    result = {}
    for name, step in STEPS:
        folder = root / name
        if only not in name:
            continue
        folder.mkdir(exist_ok=True)
        command = (sys.executable, "-m", "benchmarks.scale", "--step", step.__name__, str(folder))
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        result[f"{name} {step.__name__}"] = json.loads(done.stdout)
        print(f"{name} {step.__name__}: {done.stdout.decode().strip()}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write what was measured here")
    parser.add_argument("--only", default="", help="folders whose name holds this; no table")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        steps = {step.__name__: step for _, step in STEPS}
        print(json.dumps(steps[given.step[0]](Path(given.step[1]))))
        return
    with tempfile.TemporaryDirectory(prefix="haulback-scale-") as name:
        figures = measure(Path(name), given.only)
    if not given.only:
        print(table(figures))
    if given.json:
        facts: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count()}
        given.json.write_text(json.dumps(facts | {"steps": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
