"""A preview of retention lists exactly the backups that the next clean-up removes.

Each case is a machine with a random history, under rules with random settings.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract.retention import RuleRetention
from haulback.contract.retention_preview import RetentionPreviewRequest
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity, Record
from haulback.policy import terms
from haulback.server.services import retention_preview, retention_run
from haulback.server.store import configuration, rows, tables
from haulback.server.store.raw_sql import Insert
from haulback.units import DAY_MS
from tests import shares
from tests.unit.server.conftest import House
from tests.unit.server.test_retention import kept

CASES = shares.cases("previews")
_RULES = 12


def settings(dice: random.Random) -> dict[str, Any]:
    """Random settings of retention; each member is absent in half of all rules."""
    known: dict[str, Any] = {
        "retentionKeepLastNFull": dice.randint(1, 6),
        "retentionKeepLastNIncremental": dice.randint(1, 6),
        "retentionKeepFullNewerThan": dice.randint(1, 40) * DAY_MS,
        "retentionKeepIncrementalNewerThan": dice.randint(1, 40) * DAY_MS,
        "keepDaily": dice.randint(0, 5),
        "keepWeekly": dice.randint(0, 4),
        "keepMonthly": dice.randint(0, 3),
        "keepOthers": dice.random() < 0.5,
        "keepLastBackupWhenSourceStillExists": dice.random() < 0.5,
        "timeZone": dice.choice(["UTC", "Europe/Berlin", "Pacific/Auckland"]),
    }
    chosen = {name: value for name, value in known.items() if dice.random() < 0.5}
    try:
        terms.check(msgspec.convert(chosen, RuleRetention), "retention")
    except Malformed:  # settings that keep no backup are impossible in a rule
        return settings(dice)
    return chosen


def rules(house: House, dice: random.Random) -> list[str]:
    made = []
    with house.app.store.write() as sql:
        for number in range(_RULES):
            target = {
                "roleType": "PRIMARY",
                "backupDestination": {"guid": house.destination.guid},
                "backupRetentionSettings": settings(dice),
            }
            body = {"ruleBackupDestinations": [target]}
            made.append(Record(guid=new_guid(), kind="rule", name=f"r{number}", body=body))
            configuration.add(sql, made[-1])
    return [rule.guid for rule in made]


def history(house: House, entity: Entity, of: list[str], dice: random.Random) -> list[Backup]:
    """The stored backups of a machine, of up to three rules and without a rule."""
    mine = [*dice.sample(of, dice.randint(1, 3)), None]
    return [
        Backup(
            guid=new_guid(),
            entity=entity.guid,
            entity_name=entity.name,
            destination=house.destination.guid,
            location=new_guid(),
            type=dice.choice(["FULL", "INCREMENTAL"]),
            status="SUCCESS",
            created=(at := house.clock.now - dice.randint(0, 60 * DAY_MS)),
            snapshot_time=at,
            stored_time=at,
            size=10,
            stored=5,
            rule=dice.choice(mine),
            hint=dice.choice(["STANDARD_RETENTION"] * 6 + ["TO_REMOVE", "ARCHIVE"]),
            keep_until=dice.choice([None] * 6 + [house.clock.now + DAY_MS, house.clock.now - 1]),
            location_status=dice.choice(["PRESENT"] * 6 + ["DAMAGED", "MISSING"]),
            level=dice.choice(["", "BOOTED"]),
        )
        for _ in range(dice.randint(1, 12))
    ]


def filled(house: House, of: list[str], dice: random.Random) -> None:
    machines = [
        Entity(
            guid=new_guid(),
            uuid=new_guid(),
            name=f"case {seed}",
            hypervisor=house.hypervisor.guid,
            present=dice.random() < 0.8,
            absent_since=house.clock.now - dice.randint(0, 60) * DAY_MS,
        )
        for seed in CASES.seeds
    ]
    with house.app.store.write() as sql:
        sql.execute(sa.insert(tables.entity), [rows.row_of(row, tables.entity) for row in machines])
        backups = [
            rows.row_of(backup, tables.backup)
            for number, machine in enumerate(machines)
            for backup in history(house, machine, of, random.Random(CASES.first + number))
        ]
        Insert("backup", Backup.__struct_fields__)(sql, backups)


def previewed(house: House, rule: str) -> set[str]:
    """The backups of a rule that would be removed, from all parts of its preview."""
    going, after = set[str](), None
    while True:
        wanted = RetentionPreviewRequest(rule={"guid": rule}, after=after)
        part = retention_preview.preview(house.app, house.user, wanted)
        going |= {verdict.location.guid for verdict in part.verdicts if verdict.goes}
        after = part.after
        if after is None:
            return going


def test_a_preview_shows_what_the_clean_up_removes(house: House):
    dice = random.Random(CASES.first)
    of = rules(house, dice)
    filled(house, of, dice)
    before = kept(house)
    going = set[str]().union(*(previewed(house, rule) for rule in of))
    assert kept(house) == before
    [task] = house.submit("remove-old-backups", {"backupDestinations": [house.destination.guid]})
    house.take(house.node(), task)
    retention_run.carry_out(house.app, lambda sql: house.row(task.guid))
    with house.app.store.read() as sql:
        ruled = set(
            sql.scalars(sa.select(tables.backup.c.guid).where(tables.backup.c.rule.is_not(None)))
        )
    assert going
    assert (before - kept(house)) & ruled == going
