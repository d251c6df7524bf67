"""The upgrade page describes the effect of an upgrade on a database of the first release."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from alembic.migration import MigrationContext

from haulback.inventory.repository_revision import REVISION, WRITING
from haulback.server.store.engine import open_store, peek, sqlite_url
from tests.docs.test_how_to import DOCS, blocks

PAGE = DOCS / "howto" / "upgrade.md"
OLD = Path(__file__).parents[1] / "golden" / "site1" / "sqlite" / "server"


def schema(data: Path) -> str | None:
    """The revision of the database in a data folder, without migrating it."""
    store = peek(sqlite_url(data))
    try:
        with store.read() as sql:
            return MigrationContext.configure(sql).get_current_revision()
    finally:
        store.close()


def test_the_copy_made_before_a_migration_takes_the_server_back_as_shown(tmp_path: Path):
    data = tmp_path / "server"
    shutil.copytree(OLD, data)
    before = schema(data)
    open_store(sqlite_url(data)).close()
    after = schema(data)
    assert after != before
    assert (data / f"haulback.db.before-{after}").is_file()
    [back] = [block for block in blocks(PAGE, "sh") if "before-????" in block]
    command = back.replace("/var/lib/haulback-server", str(data))
    subprocess.run(["bash", "-euc", command], check=True)
    assert schema(data) == before
    open_store(sqlite_url(data)).close()  # a second upgrade changes nothing
    assert schema(data) == after


@pytest.mark.parametrize("kind", sorted(WRITING))
def test_the_page_names_each_kind_that_an_older_node_gets_no_work_of(kind: str):
    text = PAGE.read_text().partition("**Revisions.**")[2]
    assert kind in text
    assert f"revision {REVISION}" in text
