"""A node that is given up: the command lists the losses, and the node's process gives the
reason.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.cli.main import app as commands
from haulback.node.state_dir import NodeIdentity, write_identity
from tests.contract.conftest import Served
from tests.contract.scene import watch


@pytest.fixture(scope="module", params=["sqlite"])
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        made.furnish()
        yield made
    finally:
        made.close()


def test_a_living_node_that_is_given_up_ends_with_the_reason(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    write_identity(tmp_path, NodeIdentity(**served.identity))
    command = [sys.executable, "-m", "haulback", "node", "--server", served.server.url]
    command += ["--data", str(tmp_path)]
    before = served.call("GET", "/api/nodes").json()[0]["version"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while served.call("GET", "/api/nodes").json()[0]["version"] == before:
        assert process.poll() is None
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    asked = watch(monkeypatch)

    def said(*words: str) -> str:
        commands([*words], exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    preview = said("node", "rm", "n1", "--gone", "--dry-run")
    told = said("node", "rm", "n1", "--gone", "-y")
    for line in ("1 node given up", "1 hypervisor given up", "1 destination given up"):
        assert line in preview
        assert line in told
    assert "2 machines given up" in told
    assert process.wait(60) == 6
    assert process.stderr
    with process.stderr as lines:
        assert "node n1 was given up by admin on 20" in lines.read()
    for noun in ("node", "hypervisor", "destination", "machine"):
        assert said(noun, "ls", "-o", "json").strip() == "[]"
    operations = [entry["operation"] for entry in served.call("GET", "/api/audit-log").json()]
    assert {"give up node", "gave up node", "gave up destination"} <= set(operations)
    asked.close()
