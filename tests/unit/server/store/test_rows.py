"""Columns of a record: JSON text for members that are no scalars, decided by the member's type."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest

from haulback.server.store.rows import QUOTED, is_scalar
from haulback.wire import JsonObject


class Colour(StrEnum):
    """A name of a colour."""

    RED = "red"


class Owner(msgspec.Struct):
    """A struct inside a record."""


@pytest.mark.parametrize(
    "form", [str, int, float, bool, bytes, str | None, int | str | None, Colour, Colour | None]
)
def test_a_scalar_stands_in_its_column(form: Any):
    assert is_scalar(form)
    assert is_scalar(Annotated[form, msgspec.Meta(title="a note")])


@pytest.mark.parametrize("form", [list[str], JsonObject, Owner, Owner | None, dict[str, int], Any])
def test_every_other_member_is_json_text(form: Any):
    assert not is_scalar(form)


def test_a_text_that_older_versions_stored_as_json_is_still_json_text():
    assert not is_scalar(Annotated[str, QUOTED])
