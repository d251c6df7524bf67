"""Enums of tasks have the names and values that the contract lists."""

from enum import Enum

import pytest

from haulback.contract import task_states
from haulback.contract.task_states import FINAL, PLANNED, State


def enums() -> list[type[Enum]]:
    kinds = [one for one in vars(task_states).values() if isinstance(one, type)]
    return [one for one in kinds if issubclass(one, Enum) and one is not Enum]


@pytest.mark.parametrize("kind", enums())
def test_each_value_of_an_enum_is_its_name_on_the_wire(kind: type[Enum]):
    assert [member.value for member in kind] == [member.name for member in kind]
    assert list(kind)


def test_a_task_ends_finished_failed_or_cancelled():
    final = [State.FINISHED, State.FAILED, State.CANCELLED]
    assert set(final) == FINAL
    assert [state for state in State if state.final] == final
    assert PLANNED == "PLANNED"
