"""Examples in the documentation work as shown."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from haulback.cli.main import app as commands
from haulback.contract.order_records import BackupDestination
from haulback.destinations.folder import Folder
from haulback.kinds.api import Context, TaskKind
from haulback.kinds.registry import KINDS
from haulback.node.state_dir import StateDir
from haulback.node.task_context import NodeServices, RunningTask
from haulback.server.store import rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import open_store
from haulback.wire import request
from haulback.work.context import TaskWork
from tests.programs import Site

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def typed_lines(block: str, words: Mapping[str, object], site: Site | None = None) -> str:
    """The output of the lines of a block, whose capital words are replaced by `words`."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if site:
        env |= {"HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": site.api.token or ""}
    output = ""
    for line in block.splitlines():
        wanted = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(words.get(m[0], m[0])), line)
        done = subprocess.run(
            ["bash", "-c", wanted], env=env, capture_output=True, text=True, check=False
        )
        output += done.stdout
        log = site.log.read_text()[-2000:] if site else ""
        assert done.returncode == 0, (wanted, done.stdout, done.stderr, log)
    return output


@contextmanager
def site_of(tree: Path, folder: Path) -> Iterator[Site]:
    """A server and a node that run a copy of the product, as all programs in the context do."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(tree))
        site = Site(folder, lease=30.0)
        try:
            site.open()
            yield site
        finally:
            site.close()


def test_the_kind_in_the_how_to_is_planned_prepared_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    *sources, _ = blocks(DOCS / "howto" / "add-a-kind.md", "python")  # the last is the command
    for room, source in zip(("contract", "kinds", "work"), sources, strict=True):
        path = tmp_path / f"{room}_ping.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(f"haulback.{room}.ping", path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, f"haulback.{room}.ping", module)
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    kind: TaskKind = sys.modules["haulback.kinds.ping"].KIND
    node_half: TaskWork = sys.modules["haulback.work.ping"].WORK
    assert kind.type == node_half.type
    assert kind.type not in KINDS
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    (tmp_path / "bd").mkdir()
    place = {"path": str(tmp_path / "bd")}
    guid = "5f1d3c1e-7a57-4b5b-9e9b-0b1a4a6a2f10"
    with store.write() as sql:
        record = BackupDestination(guid=guid, name="bd", driver="folder", config=place)
        rows.add(sql, tables.destination, record, sealed_key="")
        known = SqlCatalogue(sql)
        [way] = kind.submissions
        body = request(json.dumps({"backupDestination": guid}).encode(), way.request)
        [task] = way.plan(body, known, Context(1)).tasks
        order = msgspec.to_builtins(kind.prepare(task, known))
    store.close()
    home = StateDir(tmp_path / "node", [])
    decoded = msgspec.convert(order, node_half.order)
    attempt = RunningTask(task.guid, 1, decoded, NodeServices(None, home))  # type: ignore[arg-type]
    Folder(tmp_path / "bd").store("manifests/a", b"x")
    assert node_half.run(attempt) == {"manifests": 1}
    attempt.close()
    home.close()


def test_the_bench_in_the_how_to_passes_the_suite():
    [source] = blocks(DOCS / "howto" / "add-a-driver.md", "python")
    exec(source, {})


def _lines(block: str) -> list[str]:
    """The commands of a block; a backslash joins lines."""
    return block.replace("\\\n", " ").splitlines()


def shown() -> list[str]:
    pages = [DOCS / "quickstart.md", *sorted((DOCS / "howto").glob("*.md"))]
    lines = [line for page in pages for block in blocks(page, "sh") for line in _lines(block)]
    lines += [line.strip() for line in README.read_text().splitlines()]
    return [line for line in lines if line.startswith("haulback ")]


@pytest.mark.parametrize("line", shown())
def test_every_command_shown_is_understood(line: str):
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    commands.parse_args(words, exit_on_error=False, print_error=False)
