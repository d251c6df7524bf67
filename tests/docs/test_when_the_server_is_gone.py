"""The page about a lost server leads from a backup of the database to a working server."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.test_how_to import DOCS, blocks, typed_lines
from tests.docs.test_troubleshooting import SOURCE, spelled
from tests.programs import Site

PAGE = DOCS / "howto" / "when-the-server-is-gone.md"


def typed(site: Site, block: str) -> str:
    """The output of the lines of a block."""
    folder = site.folder
    words = {"FOLDER": site.repository, "KEY": folder / "key", "KIT": folder / "kit"}
    words |= {"DATA": folder / "server", "NEW": folder / "new"}
    words |= {"OLDNODE": "n1", "NEWNODE": "n2"}
    return typed_lines(block, words, site)


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
