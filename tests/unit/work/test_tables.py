"""The two halves of the task kinds: the server's table and the node's table agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback import contract, kinds, work
from haulback.kinds.registry import KINDS
from haulback.work.registry import WORK

# Requests without a task kind of their own, and the modules of the packages themselves.
ONLY_PLANNED = {"instant_restore", "unavailable"}
OF_THE_PACKAGE = {"__init__", "api", "context", "registry"}


def files_of(package: object) -> set[str]:
    return {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")} - OF_THE_PACKAGE  # type: ignore[attr-defined]


def test_server_and_node_know_the_same_kinds():
    assert KINDS.keys() == WORK.keys()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_both_halves_of_a_kind_agree_on_its_order_and_on_its_staging(kind: str):
    assert KINDS[kind].order is WORK[kind].order
    assert KINDS[kind].stages == WORK[kind].stages


def test_both_halves_of_every_kind_stand_in_files_of_one_name():
    assert files_of(kinds) - ONLY_PLANNED == files_of(work)


def test_every_kind_has_its_file_of_structs():
    assert files_of(kinds) <= files_of(contract)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_both_halves_of_a_kind_stand_in_the_file_of_its_name(kind: str):
    prepare = KINDS[kind].prepare.__module__.rpartition(".")
    run = WORK[kind].run.__module__.rpartition(".")
    order = WORK[kind].order.__module__.rpartition(".")
    assert {prepare[0], run[0], order[0]} == {kinds.__name__, work.__name__, contract.__name__}
    assert prepare[2] == run[2] == order[2]
