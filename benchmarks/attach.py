"""A new server attaches a repository of 10,000 backups: seconds, and memory of server and node.

`python -m benchmarks.attach [--backups 10000]`; the result is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.programs import Program, Site
from tests.vaults import SECRET, vault

from haulback.units import KIB, MIB


def _peak(program: Program) -> float:
    """The peak memory of a process in MiB."""
    assert program.process
    lines = Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM")) / MIB


def measure(folder: Path, backups: int) -> dict[str, Any]:
    """Attach the repository by a new server and a new node."""
    vault(folder / "vault", backups)
    site = Site(folder / "new", lease=30.0)
    site.open()
    try:
        before = {"server": _peak(site.server), "node": _peak(site.node)}
        body = {"name": "vault", "path": str(folder / "vault"), "keyFile": SECRET.value.hex()}
        seconds = [_timed(site, "/backup-destinations/attach", body)]
        to = next(d for d in site.api.get("/backup-destinations") if d["name"] == "vault")
        path = f"/backup-destinations/{to['guid']}"
        seconds.append(_timed(site, f"{path}/read-catalogue", {}))
        seconds.append(_timed(site, f"{path}/take-over", {"oldCredentialRevoked": True}))
        return {
            "backups": backups,
            "attach_seconds": round(seconds[0], 1),
            "sync_again_seconds": round(seconds[1], 1),
            "take_over_and_extract_seconds": round(seconds[2], 1),
            "server_mib": round(_peak(site.server)),
            "node_mib": round(_peak(site.node)),
            "before": {name: round(value) for name, value in before.items()},
            "shown": len(site.api.get("/backups", {"size": 10_000})),
        }
    finally:
        site.close()


def _timed(site: Site, path: str, body: dict[str, Any]) -> float:
    started = time.monotonic()
    task = site.api.post(path, body)["task"]["guid"]
    while site.api.get(f"/tasks/{task}")["state"]["name"] in ("QUEUED", "RUNNING"):
        assert time.monotonic() - started < 1800
        time.sleep(0.2)
    site.finished(task)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=10_000)
    with tempfile.TemporaryDirectory(prefix="haulback-attach-") as folder:
        print(json.dumps(measure(Path(folder), parser.parse_args().backups), indent=2))


if __name__ == "__main__":
    main()
