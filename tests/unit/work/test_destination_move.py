"""The work of a move of a destination on the node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from haulback.contract.destination_move import DestinationMoveOrder
from haulback.contract.order_records import BackupDestination
from haulback.repository.repository import Repository
from haulback.work import destination_move


@pytest.mark.parametrize(
    ("driver", "config", "told"),
    [
        ("folder", {"path": "/mnt/new"}, "path /mnt/new"),
        ("s3", {"bucket": "b", "prefix": "p", "secretAccessKey": "hidden"}, "bucket b, prefix p"),
    ],
)
def test_the_log_of_a_move_names_the_new_place_and_no_secret(
    repository: Repository, driver: str, config: dict[str, Any], told: str
):
    said: list[str] = []
    record = BackupDestination(guid="d", name="vault", driver=driver, config=config)
    repositories = SimpleNamespace(open=lambda record: repository, space=lambda record: {})
    context: Any = SimpleNamespace(
        order=DestinationMoveOrder(record),
        repositories=repositories,
        server=SimpleNamespace(expected=list),
        log=said.append,
    )
    destination_move.run(context)
    assert said[0].startswith("the new location of the destination is ")
    assert told in said[0]
    assert "hidden" not in said[0]
    assert said[1] == "0 expected backups found at the new location"
