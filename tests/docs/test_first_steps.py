"""The README and the quickstart work as they are typed, by a user who may write a home only."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_how_to import DOCS, README, blocks

_ELSEWHERE = ("haulback server ", "haulback node ", ". .venv")  # other machines, and the shell


class Person:
    """A person with an empty home, who types the blocks of a page in order."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {"HOME": str(home), "PATH": path, "HAULBACK_SERVER": f"http://127.0.0.1:{port}"}
        self.home, self.port, self.said = home, port, ""
        self._up: subprocess.Popen[str] | None = None

    def types(self, block: str) -> None:
        """Type a block.  `haulback up` keeps running, and its password is used later."""
        block = block.replace("http://127.0.0.1:8181", self.env["HAULBACK_SERVER"])
        if "haulback up " in block:
            self._start(next(line for line in block.splitlines() if line.startswith("haulback up")))
            return
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.said += done.stdout
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr

    def _start(self, line: str) -> None:
        command = f"exec {line.partition(' #')[0]} --port {self.port}"
        self._up = subprocess.Popen(
            ["bash", "-c", command], env=self.env, cwd=self.home, text=True, stdout=subprocess.PIPE
        )
        assert self._up.stdout
        for told in self._up.stdout:
            if password := re.match("log in as admin with the password (.*)", told):
                self.env["HAULBACK_ADMIN_PASSWORD"] = password[1]
                return
        raise AssertionError("haulback up printed no password")

    def leaves(self) -> None:
        if self._up:
            self._up.terminate()
            self._up.communicate(timeout=30)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    somebody = Person(tmp_path / "home")
    yield somebody
    somebody.leaves()


@pytest.mark.parametrize("page", [README, DOCS / "quickstart.md"], ids=["readme", "quickstart"])
def test_the_first_steps_work_as_they_are_typed(person: Person, page: Path):
    for block in blocks(page, "sh"):
        if not block.startswith(_ELSEWHERE) or "haulback up " in block:
            person.types(block)
    assert (person.home / "machines" / "web-again" / "machine.json").exists()
    assert (person.home / "local.key").exists()
    assert ": ok\n" in person.said  # the repository was verified by its key
    outside = {path.name for path in person.home.iterdir()} - {".config", "disk.raw"}
    assert outside == {"haulback-data", "machines", "local.key"}
