"""Opening a database: new, twice, too new, damaged."""

import sqlite3
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from haulback.errors import Conflict, Malformed, Unavailable
from haulback.server.store import database_refusals, queue, schema
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import open_store, parse_url
from haulback.server.store.tables import metadata
from tests import databases


def test_the_migrations_make_the_tables_that_the_code_knows(url: str):
    for path in Path(schema.__file__).parent.glob("*tables.py"):
        import_module(f"haulback.server.store.{path.stem}")
    store = open_store(url)
    with store.read() as sql:
        assert compare_metadata(MigrationContext.configure(sql), metadata) == []
        found = {i["name"] for i in sa.inspect(sql).get_indexes("task")}
    store.close()
    assert found == {str(index.name) for index in metadata.tables["task"].indexes}


def test_the_known_schemas_are_those_of_the_migrations_from_the_newest_on():
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert schema.known_schemas() == tuple(script.revision for script in scripts)


def test_a_server_on_a_current_sqlite_file_loads_no_migrations_and_no_other_driver(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/a.db"
    open_store(url).close()
    code = (
        "import sys\n"
        "from haulback.server.store.engine import open_store\n"
        f"open_store({url!r}).close()\n"
        "print([name for name in ('alembic', 'mako', 'psycopg') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_migration_apart_leaves_its_libraries_to_the_process_that_ended(url: str):
    code = (
        "import sys\n"
        "from haulback.server.store.engine import open_store\n"
        f"open_store({url!r}, apart=True).close()\n"
        "print([name for name in ('alembic', 'mako') if name in sys.modules])\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    store = open_store(url)
    with store.write() as sql:
        assert schema.schema_of(sql) == schema.known_schemas()[0]
        sql.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "a newer Haulback wrote this database (schema 9999)" in done.stderr
    assert done.returncode == 1


def test_a_database_written_by_a_newer_version_is_refused(url: str):
    store = open_store(url)
    with store.write() as sql:
        sql.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(Conflict, match="newer"):
        open_store(url)


def test_what_is_open_is_reopened_with_its_rows(url: str):
    for expected in (0, 1):
        store = open_store(url)
        with store.write() as sql:
            assert sql.scalar(sa.text("SELECT count(*) FROM slot")) == expected
            sql.execute(sa.text("INSERT INTO slot VALUES ('x', 1, 1) ON CONFLICT DO NOTHING"))
        store.close()


def test_what_an_older_version_wrote_is_read_by_this_one(url: str, monkeypatch: pytest.MonkeyPatch):
    upgrade = command.upgrade
    with monkeypatch.context() as old:
        old.setattr(schema, "known_schemas", lambda: ["0001"])
        old.setattr(command, "upgrade", lambda config, to: upgrade(config, "0001"))
        store = open_store(url)
    disks = '[{"name": "root", "size": 10, "format": "qcow2"}]'
    with store.write() as sql:
        for text in (
            "INSERT INTO hypervisor VALUES ('h', 'hv', 'image-folder', '{}', NULL)",
            "INSERT INTO destination VALUES ('d', 'bd', 'folder', '{}', NULL, 'r', 'k')",
            f"INSERT INTO entity VALUES ('e', 'u', 'db', 'VM', 'h', true, '{disks}', 1)",
            "INSERT INTO entity VALUES ('g', 'v', 'old', 'VM', 'h', false, '[]', 1)",
            "INSERT INTO backup VALUES"
            " ('b1', 'e', 'db', 'd', 'l1', 'FULL', 'SUCCESS', NULL, 1, 5, 6, 10, 10, 4, NULL),"
            " ('b2', 'e', 'db', 'd', 'l2', 'INCREMENTAL', 'SUCCESS', NULL, 2, 7, 8, 3, 3, 1, 'b1'),"
            " ('b3', 'e', 'db', 'd', 'l3', 'FULL', 'RUNNING', NULL, 3, NULL, NULL, 0, 0, 0, NULL)",
        ):
            sql.exec_driver_sql(text)
    store.close()
    before = time.time_ns() // 1_000_000
    store = open_store(url)
    with store.read() as sql:
        known = SqlCatalogue(sql)
        machine, gone = known.machines.get("e"), known.machines.get("g")
        backups = [known.backups.get(f"b{i}") for i in (1, 2, 3)]
    store.close()
    assert machine.facts == {
        "lastSuccessfulFullBackup": {"guid": "b1", "time": 5},
        "lastSuccessfulFullBackupSize": 10,
        "lastSuccessfulIncBackup": {"guid": "b2", "time": 7},
        "lastSuccessfulIncBackupSize": 3,
        "lastBackup": 7,
        "lastSuccessfulBackupSize": 3,
    }
    assert machine.absent_since is None
    assert gone.absent_since is not None
    # the time of absence is unknown, so the last backup is kept longest
    assert gone.absent_since >= before
    assert [backup.status for backup in backups] == ["SUCCESS", "SUCCESS", "INPROGRESS"]
    assert backups[0].files == [{"name": "root", "size": 10, "format": "qcow2"}]


def test_two_servers_on_one_sqlite_file_are_refused(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(Conflict, match="another server"):
        open_store(f"sqlite:///{tmp_path}/a.db")
    store.close()
    open_store(f"sqlite:///{tmp_path}/a.db").close()


def test_sqlite_is_copied_before_it_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.db"
    open_store(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as old:
        old.execute("INSERT INTO slot VALUES ('kept', 1, 1)")
    known = schema.known_schemas()
    monkeypatch.setattr(schema, "known_schemas", lambda: ["9000", *known])
    open_store(f"sqlite:///{file}").close()
    [copy] = tmp_path.glob("*.before-9000")
    assert copy.stat().st_mode & 0o777 == 0o600  # the copy holds all data of the database
    with sqlite3.connect(copy) as kept:
        assert kept.execute("SELECT key FROM slot").fetchall() == [("kept",)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "a.db").write_bytes(b"not a database" * 1000)
    with pytest.raises((Conflict, Unavailable)):
        open_store(f"sqlite:///{tmp_path}/a.db")


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlite://", "no url"])
def test_other_databases_are_refused(url: str):
    with pytest.raises(Malformed):
        open_store(url)


def test_a_database_that_does_not_answer_is_said_so():
    with pytest.raises(Unavailable):
        open_store("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_an_offer_reads_the_index_of_ready_tasks_and_sorts_nothing(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    with store.read() as sql:
        values = {"lane": "export", "pinned": "", "now": 1, "most": 5}
        text = f"EXPLAIN QUERY PLAN {queue.READY._sqlite}"
        plan = [str(row[3]) for row in sql.exec_driver_sql(text, values)]
    store.close()
    assert any("USING INDEX task_ready (lane=? AND pinned_node=?)" in step for step in plan), plan
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan), plan


def test_a_question_that_takes_too_long_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("haulback.server.store.engine.LONGEST_READ_MS", 200)
    monkeypatch.setattr("haulback.server.store.engine._STEPS", 1000)
    store = open_store(url)
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(i) FROM n"
    )
    with pytest.raises(Unavailable), store.read() as sql:
        sql.exec_driver_sql(endless)
    with store.read() as sql:
        assert sql.scalar(sa.text("SELECT 1")) == 1
    store.close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('failed: FATAL:  role "haulback" does not exist', "createuser"),
        ('failed: FATAL:  role "root" does not exist', "run the command as the server's user"),
        ('failed: FATAL:  database "haulback" does not exist', "createdb"),
        ('FATAL:  password authentication failed for user "haulback"', "HAULBACK_DATABASE"),
        ("fe_sendauth: no password supplied", ".pgpass"),
        ('FATAL:  no pg_hba.conf entry for host "10.9.9.1", database "h"', "pg_hba.conf"),
        ("permission denied for schema public", "OWNER TO"),
        ("Connection refused", ""),
        ('relation "tasks" does not exist', ""),
    ],
)
def test_a_refusal_of_postgresql_has_its_remedy(said: str, words: str):
    remedy = database_refusals.remedy(said)
    assert words in remedy
    assert bool(remedy) is bool(words)


@pytest.mark.slow
def test_a_database_that_is_missing_is_refused_with_the_way_to_make_it(cluster: str):
    url = sa.make_url(databases.new_database(cluster, "here")).set(database="nowhere")
    with pytest.raises(Unavailable, match=r"refuses the server: .*createdb"):
        open_store(url.render_as_string(hide_password=False))


def test_the_short_scheme_of_psql_names_the_same_database():
    assert parse_url("postgres://u@h/d") == parse_url("postgresql://u@h/d")
