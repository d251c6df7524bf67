"""An operation, a kind or a column is added in its own files: everything else follows from the
declarations.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
HOW_TO = ROOT / "docs" / "howto" / "add-a-kind.md"
_FILE = re.compile(r"`(\w+/\w+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
_LINES = re.compile(r"`([^`]+,)` in `(\w+/\w+\.py)`")
_SHOW = """
import json, sys
from pathlib import Path
import haulback
from haulback.server.http import openapi, reference

key, folder = sys.argv[1], Path(sys.argv[2])
method, _, path = key.partition(" ")
[found] = [one for one in reference.OPERATIONS if one.key == key]
pages = reference.pages(folder)
print(json.dumps({
    "source": haulback.__file__,
    "roles": sorted(reference.TABLE[key]),
    "access": found.access.value,
    "described": openapi.document(reference.OPERATIONS)["paths"][path][method.lower()],
    "rows": {
        name: [row for row in text.splitlines() if key in row] for name, text in pages.items()
    },
    "reports": pages["node-reports.md"],
}))
"""
_OPERATION = """

from haulback.contract.roles import OPERATORS


class Comment(msgspec.Struct):
    \"\"\"Words of an operator about an alarm.\"\"\"

    value: str


@router(
    "POST",
    "/alarms/{guid}/comment",
    "Comment on an alarm.",
    roles=OPERATORS,
    projects=ProjectAccess.OBJECTS,
    request=Comment,
    status=204,
    examples=[{"value": "the disk is ordered"}],
    command="alarm comment ALARM WORDS",
)
def comment(call: ApiRequest) -> None:
    \"\"\"The words are shown beside the alarm.\"\"\"
    call.read(Comment)
"""
_COLUMN = '    Column("helpers", Text, nullable=False, server_default="[]"),'
_MIGRATION = '''"""People who look after an alarm."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """Add the column; old alarms have no helpers."""
    column = sa.Column("helpers", sa.Text, nullable=False, server_default="[]")
    op.add_column("alarm", column)
'''
_ALARMS = """
import sys
from haulback.ids import new_guid
from haulback.inventory.alarms import Alarm
from haulback.server.store import alarm_tables, rows
from haulback.server.store.engine import open_store

kind, members = sys.argv[2], [word.split(",") for word in sys.argv[3:]]
more = {"helpers": members[0]} if members else {}
guid = new_guid()
made = Alarm(
    guid=guid, kind=kind, subject=guid, subject_name="web", subject_type="machine",
    since=1, seen=1, text="late", **more,
)
store = open_store("sqlite:///" + sys.argv[1])
with store.write() as sql:
    rows.add(sql, alarm_tables.alarm, made)
with store.read() as sql:
    for alarm in rows.records(sql, alarm_tables.alarm.select().order_by("kind"), Alarm):
        print(alarm.kind, getattr(alarm, "helpers", None))
store.close()
"""
_COMMAND = """

@app.command
def comment(alarm: str, words: str) -> None:
    \"\"\"Comment on an alarm.\"\"\"
    connect().api.call("POST", f"/alarms/{alarm}/comment", {"value": words})
"""


class Tree:
    """A copy of the product's source that a test may extend."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder / "haulback"
        shutil.copytree(
            ROOT / "src" / "haulback", self.package, ignore=shutil.ignore_patterns("__pycache__")
        )
        self._before = self._files()

    def _files(self) -> dict[str, str]:
        found = self.package.rglob("*.py")
        return {str(path.relative_to(self.package)): path.read_text() for path in found}

    def changed(self) -> set[str]:
        """Files that were added or edited."""
        return {name for name, text in self._files().items() if self._before.get(name) != text}

    def added_lines(self, name: str) -> list[str]:
        """Lines of an edited file that the original file lacks."""
        before = self._before[name].splitlines()
        return [line for line in self._files()[name].splitlines() if line not in before]

    def append(self, name: str, text: str) -> None:
        path = self.package / name
        path.write_text(path.read_text() + text)

    def insert(self, name: str, after: str, line: str) -> None:
        """Insert a line after the only line that reads `after`."""
        path = self.package / name
        assert path.read_text().count(f"{after}\n") == 1, (name, after)
        path.write_text(path.read_text().replace(f"{after}\n", f"{after}\n{line}\n"))

    def run(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(self, key: str) -> dict[str, Any]:
        """An operation in the access table, the OpenAPI document and the reference pages."""
        found: dict[str, Any] = json.loads(self.run("-c", _SHOW, key, str(REFERENCE)))
        assert found["source"].startswith(str(self.folder))
        return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_an_operation_is_added_in_its_own_file_and_the_file_of_its_command(tree: Tree):
    tree.append("server/http/alarms.py", f"\nimport msgspec\n{_OPERATION}")
    tree.append("cli/alarms.py", _COMMAND)
    assert tree.changed() == {"server/http/alarms.py", "cli/alarms.py"}
    result = tree.shown("POST /alarms/{guid}/comment")
    assert result["roles"] == ["administrator", "operator"]
    assert result["access"] == "own objects"
    media = result["described"]["requestBody"]["content"]["application/json"]
    assert media["examples"]["example1"]["value"] == {"value": "the disk is ordered"}
    assert "Roles: operator, administrator." in result["described"]["description"]
    assert result["rows"] == {
        "access.md": ["| `POST /alarms/{guid}/comment` |  | • |  | • |  | own objects |"],
        "cli.md": ["| `POST /alarms/{guid}/comment` | `alarm comment ALARM WORDS` |"],
        "node-reports.md": [],
        "operations.md": [
            "| `POST /alarms/{guid}/comment` | Comment on an alarm. | `alarm comment ALARM WORDS` |"
        ],
    }
    assert "Comment on an alarm." in tree.run("-m", "haulback", "alarm", "comment", "--help")


def test_a_column_is_added_in_its_table_its_record_and_a_migration(tree: Tree, tmp_path: Path):
    """The column holds JSON; rows of a database from before the migration have its default."""
    database = str(tmp_path / "a.db")
    assert tree.run("-c", _ALARMS, database, "A") == "A None\n"
    versions = "server/store/migrations/versions"
    newest = max(path.name for path in (tree.package / versions).glob("[0-9]*.py"))[:4]
    added = f"{versions}/{int(newest) + 1:04}_helpers.py"
    migration = _MIGRATION.format(revision=f"{int(newest) + 1:04}", before=newest)
    (tree.package / added).write_text(migration)
    tree.insert(
        "server/store/alarm_tables.py", '    Column("details", Text, nullable=False),', _COLUMN
    )
    tree.insert(
        "inventory/alarms.py", "    details: JsonObject = {}", "    helpers: list[str] = []"
    )
    assert tree.changed() == {"server/store/alarm_tables.py", "inventory/alarms.py", added}
    assert tree.run("-c", _ALARMS, database, "B", "ann,bob") == "A []\nB ['ann', 'bob']\n"


def test_a_kind_is_added_in_its_files_with_a_line_in_each_table(tree: Tree):
    """The files and lines are those of the page on adding a kind."""
    page = HOW_TO.read_text()
    files = dict(_FILE.findall(page))
    for name, source in files.items():
        assert not (tree.package / name).exists()
        (tree.package / name).write_text(source)
    lines = {name: line for line, name in _LINES.findall(page)}
    for name in ("kinds/registry.py", "work/registry.py"):
        neighbour = lines[name].replace("ping", "mount")
        tree.insert(name, f"    {neighbour}", f"    {lines[name]}")
        tree.insert(name, "    mount,", "    ping,")
    tree.insert("cli/main.py", "_NOUNS = (", f"    {lines['cli/main.py']}")
    assert set(files) == {"contract/ping.py", "kinds/ping.py", "work/ping.py", "cli/ping.py"}
    assert tree.changed() == {*files, *lines}
    assert tree.added_lines("kinds/registry.py") == ["    ping,", "    ping.KIND,"]
    assert tree.added_lines("work/registry.py") == ["    ping,", "    ping.WORK,"]
    assert len(tree.added_lines("cli/main.py")) == 1
    result = tree.shown("POST /tasks/ping")
    assert result["roles"] == ["administrator", "operator"]
    assert result["access"] == "403"
    [example] = result["described"]["requestBody"]["content"]["application/json"][
        "examples"
    ].values()
    assert example["value"].keys() == {"backupDestination"}
    assert result["described"]["summary"] == "Count the manifests of a destination."
    assert result["rows"]["cli.md"] == ["| `POST /tasks/ping` | `ping DESTINATION` |"]
    assert all(result["rows"][name] for name in ("access.md", "operations.md"))
    assert "\n## PING\n\nOrder: `destination`." in result["reports"]
    works = "from haulback.work.registry import WORK; print(WORK['PING'].order.__name__)"
    assert tree.run("-c", works) == "PingOrder\n"
    assert "Count the manifests of a destination." in tree.run("-m", "haulback", "ping", "--help")
