"""Haulback's own database: backed up by a node, and read back with the recovery kit alone."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository import open_repository, restore_to
from haulback.repository.keys import SERVER_COPY
from haulback.server.key_vault import CopyCipher
from haulback.server.sealed_copy import opened, read_head
from tests import databases
from tests.programs import Site


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = ""
    if request.param == "postgresql":
        cluster = request.getfixturevalue("cluster")
        url = databases.new_database(cluster, f"own-{tmp_path.name}")
    made = Site(tmp_path, lease=5.0, database=url)
    made.open()
    yield made
    made.close()


def back_up(site: Site) -> dict[str, Any]:
    """A backup of the server's own database."""
    [task] = site.api.post("/server/database-backups", {})
    site.all_final()
    found: dict[str, Any] = site.api.get(f"/backups/{task['backup']['guid']}")
    assert found["status"]["name"] == "SUCCESS", (found, site.log.read_text())
    return found


def kit(site: Site) -> Path:
    """The recovery kit of the site's repository, in a file."""
    from haulback.cli.repository_keys import key_of

    path = site.folder / "kit.txt"
    url = site.database
    key = bytes.fromhex(key_of(site.folder / "server", url, "bd"))
    (site.folder / "key").write_text(key.hex())
    repository = open_repository(site.repository, site.folder / "key", None)
    path.write_text(repository.keys.kit(repository.guid))
    return path


def test_a_backup_of_the_database_opens_with_the_recovery_kit_alone(site: Site):
    backup = back_up(site)
    repository = open_repository(site.repository, None, kit(site))
    manifest = repository.manifest(backup["guid"])
    copy = site.folder / "copy"
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        restore_to(repository, manifest.disks[0], copy, pool)
    with copy.open("rb") as file:
        head, first = read_head(file)
        secret = repository.keys.unseal(SERVER_COPY, b"", base64.b64decode(head.slot))
        content = b"".join(opened(file, head, first, CopyCipher(secret, head.repository)))
    assert content[-32:] == (site.folder / "server" / "server.key").read_bytes()
    if head.database == "SQLITE":
        (site.folder / "copy.db").write_bytes(content[:-32])
        rows = sqlite3.connect(site.folder / "copy.db").execute("SELECT name FROM destination")
        assert rows.fetchall() == [("bd",)]
    else:
        assert content.startswith(b"PGDMP")
    assert not list((site.folder / "server").glob("copies/*"))
    assert [h["name"] for h in site.api.get("/hypervisors")] == ["hv"]
    assert site.api.get("/virtual-machines") == []
