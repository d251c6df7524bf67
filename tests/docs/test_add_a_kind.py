"""The how-to adds a kind of task to a copy of the tree with four files and three lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import haulback
from tests.docs.test_how_to import DOCS, blocks, site_of
from tests.programs import Site

PAGE = DOCS / "howto" / "add-a-kind.md"
SOURCE = Path(haulback.__file__).parent
# Each line goes before a line of the table.
LINES = (
    ("kinds/registry.py", "    prove,", "    ping,"),
    ("kinds/registry.py", "    prove.KIND,", "    ping.KIND,"),
    ("work/registry.py", "    prove,", "    ping,"),
    ("work/registry.py", "    prove.WORK,", "    ping.WORK,"),
    (
        "cli/main.py",
        '    ("task", "tasks:app", ',
        '    ("ping", "ping:ping", "Count the manifests of a destination."),',
    ),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with the kind of the page."""
    root = tmp_path_factory.mktemp("tree")
    copy = root / "haulback"
    copytree(SOURCE, copy, ignore=ignore_patterns("__pycache__"))
    for room, text in zip(
        ("contract", "kinds", "work", "cli"), blocks(PAGE, "python"), strict=True
    ):
        (copy / room / "ping.py").write_text(text)
    for name, before, line in LINES:
        old = (copy / name).read_text()
        assert old.count(f"\n{before}") == 1, (name, before)
        (copy / name).write_text(old.replace(f"\n{before}", f"\n{line}\n{before}", 1))
    return root


@pytest.fixture(scope="module")
def site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server and a node that run the copy."""
    with (
        site_of(tree, tmp_path_factory.mktemp("site")) as made,
        pytest.MonkeyPatch.context() as environment,
    ):
        token = made.api.post("/api-tokens", {"name": "typist", "roles": ["administrator"]})
        environment.setenv("HAULBACK_TOKEN", token["token"])
        environment.setenv("HAULBACK_SERVER", made.api.url)
        yield made


def typed(*words: str) -> str:
    """The output of a command of the copy."""
    command = [sys.executable, "-m", "haulback", *words]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_of_the_page_counts_the_manifests(site: Site):
    name = site.destination["name"]
    task = typed("ping", name, "--watch").split()[0]
    assert site.final(task)["state"]["name"] == "FINISHED"


def test_the_command_of_the_page_uses_every_option_of_a_submission(site: Site):
    name, start = site.destination["name"], 4_000_000_000_000
    words = ("--window-start", str(start), "--window-end", str(start + 1), "--priority", "7")
    guids = {typed("ping", name, *words, "--key", "once").strip() for _ in range(2)}
    [guid] = guids
    task = site.api.get(f"/tasks/{guid}")
    assert (task["windowStart"], task["windowEnd"], task["priority"]) == (start, start + 1, 7)


def test_the_page_names_the_lines_of_the_tables():
    text = PAGE.read_text()
    for _, _, line in LINES:
        assert line.strip() in text or line.strip() in ("ping,",), line
