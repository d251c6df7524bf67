"""The page about a lost server leads from a backup of the database to a working server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_how_to import DOCS, blocks
from tests.docs.test_troubleshooting import SOURCE, spelled
from tests.programs import Site

PAGE = DOCS / "howto" / "when-the-server-is-gone.md"


def typed(site: Site, block: str) -> str:
    """The output of the lines of a block."""
    folder = site.folder
    words = {"FOLDER": site.repository, "KEY": folder / "key", "KIT": folder / "kit"}
    words |= {"DATA": folder / "server", "NEW": folder / "new"}
    words |= {"OLDNODE": "n1", "NEWNODE": "n2"}
    token = site.api.token or ""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": token}
    said = ""
    for line in block.splitlines():
        wanted = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(words[m[0]]), line)
        done = subprocess.run(
            ["bash", "-c", wanted], env=env, capture_output=True, text=True, check=False
        )
        said += done.stdout
        assert done.returncode == 0, (wanted, done.stderr, site.log.read_text()[-2000:])
    return said


def test_a_reader_restores_the_server_and_lifts_its_hold(tmp_path: Path):
    site = Site(tmp_path, lease=5.0)
    site.open()
    try:
        backup, paper, restore, new_node, shown, lifted = blocks(PAGE, "sh")
        typed(site, backup)
        typed(site, paper)
        site.node.end()
        site.server.end()
        assert "the restored server is held" in typed(site, restore)
        site.move_to(tmp_path / "new")
        site.start_server()
        assert '"held": true' in typed(site, shown)
        assert '"held": false' in typed(site, lifted)
        site.enrol("n2")
        site.node.start()
        site.wait_for(lambda: len(site.api.get("/nodes")) == 2)
        typed(site, new_node)
        assert [node["name"] for node in site.api.get("/nodes")] == ["n2"]
        for path in ("/backup-destinations", "/hypervisors"):
            assert [record["node"]["name"] for record in site.api.get(path)] == ["n2"]
    finally:
        site.close()


def test_every_message_on_the_page_is_one_that_the_product_has():
    source = spelled(SOURCE)
    rows = re.findall(r"^\| (`.+?) \|", PAGE.read_text(), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 8
    assert [text for text in quoted if _literal(text) not in source] == []


def _literal(text: str) -> str:
    """The part of a message that appears literally in the source."""
    return {
        "this keyfile does not open the repository": "does not open the repository",
        "pg_restore is not installed": "is not installed on this machine",
    }.get(text, text)
