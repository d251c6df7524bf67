"""Tests of the demo as a user runs it: in a separate process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from haulback.client.api import Api
from tests.hosts import needs_guest, needs_libvirt

RUN = "from haulback.cli.main import main; import sys; sys.argv[0] = 'haulback'; main()"


def demo(*options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": path or os.environ["PATH"], "COLUMNS": "200"}
    command = [sys.executable, "-c", RUN, "demo", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def end_server(done: subprocess.CompletedProcess[str]) -> str:
    """Stop the server that a demo without --once left running; returns its URL."""
    match = re.search(r"keeps running at (\S+) [^\n]*password (\S+)\)", done.stdout)
    pid = re.search(r"kill (\d+)", done.stdout)
    assert match, done.stdout + done.stderr
    assert pid
    try:
        api = Api(match[1])
        api.log_in("admin", match[2])
        assert {t["state"]["name"] for t in api.get("/tasks")} == {"FINISHED"}
        api.close()
    finally:
        os.kill(int(pid[1]), signal.SIGTERM)
    return match[1]


def test_every_byte_comes_back_and_the_server_goes_on(tmp_path: Path) -> None:
    done = demo("--data", str(tmp_path / "new"), "--megabytes", "24")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
    end_server(done)


def test_without_qemu_every_byte_comes_back_too(tmp_path: Path) -> None:
    done = demo("--data", str(tmp_path / "new"), "--megabytes", "8", path="/nonexistent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "raw disk" in done.stdout
    assert "identical" in done.stdout
    end_server(done)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root")
def test_an_ordinary_user_can_run_it() -> None:
    folder = Path("/tmp") / f"haulback-user-{os.getpid()}"
    folder.mkdir()
    try:
        os.chown(folder, 65534, 65534)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command = [*user, sys.executable, "-c", RUN, "demo", "--data", str(folder / "new")]
        env = {**os.environ, "HOME": str(folder)}
        done = subprocess.run(
            [*command, "--megabytes", "8"], capture_output=True, text=True, check=False, env=env
        )
        if "Permission denied" in done.stderr and sys.executable in done.stderr:
            pytest.skip("the interpreter may not be run by other users here")
        assert done.returncode == 0, done.stdout + done.stderr
        end_server(done)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_once_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = demo("--once", "--megabytes", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert demo("--once", "--data", str(tmp_path / "new")).returncode == 2


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    done = demo("--data", str(tmp_path))
    assert done.returncode == 2
    assert "exists already" in done.stderr


@needs_libvirt
@needs_guest
def test_a_guest_that_dies_boots_again(tmp_path: Path) -> None:
    done = demo("--running", "--data", str(tmp_path / "new"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
    assert "consistency APPLICATION" in done.stdout
    assert "proved: BOOTED, signature valid" in done.stdout
