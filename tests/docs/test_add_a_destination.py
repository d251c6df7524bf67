"""The how-to adds a type of destination to a copy of the tree with one file and one entry."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import haulback
from haulback.errors import Malformed
from tests.docs.test_how_to import DOCS, blocks
from tests.images import raw_machine
from tests.programs import Site

PAGE = DOCS / "howto" / "add-a-destination.md"
SOURCE = Path(haulback.__file__).parent
WORD = "swordfish"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with the destination type of the page."""
    root = tmp_path_factory.mktemp("tree")
    copytree(SOURCE, root / "haulback", ignore=ignore_patterns("__pycache__"))
    settings, entry, driver, _ = blocks(PAGE, "python")
    types = root / "haulback" / "contract" / "destination_types.py"
    text = types.read_text()
    text = text.replace("class DestinationType(", f"{settings}\n\nclass DestinationType(", 1)
    types.write_text(text.replace("TYPES = (\n", f"TYPES = (\n    {entry.strip()},\n", 1))
    (root / "haulback" / "destinations" / "attic.py").write_text(driver)
    return root


@pytest.fixture(scope="module")
def site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server and a node that run the copy."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(tree)
    made = Site(tmp_path_factory.mktemp("site"), lease=30.0)
    raw_machine(made.machines)
    try:
        made.open()
        yield made
    finally:
        made.close()
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def run(site: Site, *command: str) -> str:
    """The output of a command of the copy."""
    token = site.api.post("/api-tokens", {"name": command[1], "roles": ["administrator"]})
    env = os.environ | {"HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": token["token"]}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stderr, site.log.read_text()[-3000:])
    return done.stdout


def changed(tree: Path) -> set[str]:
    """Files of the copy that differ from the product."""
    ours = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")}
    theirs = {path.relative_to(tree / "haulback") for path in (tree / "haulback").rglob("*.py")}
    same = {p for p in ours if filecmp.cmp(SOURCE / p, tree / "haulback" / p, shallow=False)}
    return {str(path) for path in (ours | theirs) - same}


def test_a_type_takes_one_file_and_one_entry(tree: Path):
    assert changed(tree) == {"destinations/attic.py", "contract/destination_types.py"}


def test_the_driver_of_the_page_passes_the_conformance_suite(tree: Path, tmp_path: Path):
    (tmp_path / "suite.py").write_text(blocks(PAGE, "python")[3])
    env = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, str(tmp_path / "suite.py")], env=env, check=False)
    assert done.returncode == 0


def test_commands_api_and_node_know_the_type(site: Site, tmp_path: Path):
    file, word = tmp_path / "attic.db", tmp_path / "word"
    word.write_text(f"{WORD}\n")
    [shown] = blocks(PAGE, "sh")
    shown = shown.replace("/srv/attic.db", str(file)).replace("/etc/haulback/word", str(word))
    types, _, record = [run(site, *line.split()) for line in shown.splitlines()]
    assert "ATTIC" in types
    assert WORD not in record
    decoded = json.loads(record)
    assert (decoded["type"]["name"], decoded["driver"]) == ("ATTIC", "attic")
    assert (decoded["settings"], decoded["initialized"]) == ({"file": str(file)}, True)
    backed_up_and_restored(site, decoded["guid"])


def backed_up_and_restored(site: Site, destination: str) -> None:
    """A machine goes to the destination and is verified there; the store has no local paths."""
    [machine] = site.sync().values()
    export = site.export(machine, backupDestination=destination)
    site.all_final()
    backup = site.api.get(f"/backups/{export['backup']['guid']}")
    assert backup["status"]["name"] == "SUCCESS", (backup, site.log.read_text()[-3000:])
    [task] = site.api.post("/tasks/verify", {"backupDestinations": [destination]})
    site.finished(task["guid"])
    assert list((site.home / "index-cache").rglob("*"))


def test_the_word_is_changed_by_a_command_and_the_node_uses_the_new_one(site: Site, tmp_path: Path):
    file, words = tmp_path / "attic.db", [tmp_path / "first", tmp_path / "second"]
    for path, text in zip(words, (WORD, f"{WORD}-2"), strict=True):
        path.write_text(text)
    add = ["haulback", "destination", "add", "changing", "--type", "ATTIC"]
    made = run(site, *add, "--set", f"file={file}", "--secret", f"word={words[0]}")
    run(site, "haulback", "destination", "set", "changing", "--secret", f"word={words[1]}")
    key = site.api.get(f"/backup-destinations/{made.split()[0]}")
    assert "word" not in key["settings"]


def test_a_setting_that_takes_a_file_asks_for_a_file(site: Site, tmp_path: Path):
    (tmp_path / "word").write_text(WORD)
    add = ["destination", "add", "third", "--type", "ATTIC", "--secret", f"word={tmp_path}/word"]
    for more in ([], ["--set", "file=attic.db"], ["--set", "file=/srv/"]):
        done = subprocess.run(
            [sys.executable, "-m", "haulback", *add, *more],
            env=os.environ | {"HAULBACK_SERVER": site.api.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == "haulback: file: name a file by its absolute path\n"


def test_the_api_refuses_unknown_settings_by_name(site: Site, tmp_path: Path):
    body = {"name": "second", "type": "ATTIC", "node": site.destination["node"]}
    whole = {"file": str(tmp_path / "second.db"), "word": WORD}
    for settings, field in (
        (whole | {"colour": "red"}, "colour"),
        (whole | {"path": "/srv"}, "path"),
        ({"word": WORD}, "file"),
        (whole | {"word": ""}, "word"),
    ):
        with pytest.raises(Malformed, match=f"{field}: ") as caught:
            site.api.post("/backup-destinations", body | {"settings": settings})
        assert WORD not in caught.value.message
    with pytest.raises(Malformed, match="type: 'CELLAR' is not one of"):
        site.api.post("/backup-destinations", body | {"type": "CELLAR", "settings": whole})
    names = [item["name"] for item in site.api.get("/backup-destinations")]
    assert "second" not in names
