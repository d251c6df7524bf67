"""The worked examples of docs/reference/retention.md are decided as the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from haulback.contract.retention import RuleRetention
from haulback.policy import terms
from haulback.policy.retention import AppliedTerms, BackupSource, decide
from tests.unit.policy.stored_backups import location

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "retention.md"
EXAMPLE = re.compile(r"```json\n(.*?)\n```\n\n\| backup .*?\n\|---.*?\n((?:\|.*\n)+)")
EXAMPLES = EXAMPLE.findall(PAGE.read_text())
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_the_page_has_examples():
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize(("settings", "table"), EXAMPLES)
def test_an_example_is_decided_as_the_page_says(settings: str, table: str):
    wanted = msgspec.json.decode(settings, type=RuleRetention)
    terms.check(wanted, "backupRetentionSettings")
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines()]
    stored = []
    for when, kind, _, _ in rows:
        taken = epoch_ms(datetime.fromisoformat(when).replace(tzinfo=UTC))
        stored.append(location(when, rule="r", type=kind, created=taken, snapshot_time=taken))
    applied = AppliedTerms((terms.of_rule(wanted, "UTC"),), is_living=True)
    source = BackupSource(present=True, absent_since=None, spared_days=30)
    verdicts = decide(stored, lambda _: applied, source, epoch_ms(NOW))
    shown = {
        verdict.location.guid: ["goes" if verdict.goes else "stays", verdict.reason.name]
        for verdict in verdicts
    }
    assert shown == {row[0]: row[2:] for row in rows}
