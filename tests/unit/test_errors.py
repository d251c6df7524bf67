"""Errors that another process sent become the class of their code, and no other class."""

from __future__ import annotations

import pytest

from haulback import errors
from haulback.errors import HaulbackError, by_code, received

ALL = by_code()


def classes() -> list[type[HaulbackError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, HaulbackError)]


@pytest.mark.parametrize("kind", classes())
def test_every_class_is_found_by_its_code(kind: type[HaulbackError]):
    assert ALL[kind.code] is kind


def test_of_two_classes_with_one_code_the_general_one_is_found():
    class Special(errors.Unavailable):
        """A special case of an error, known only in one module."""

    assert Special.code == errors.Unavailable.code
    assert by_code()[Special.code] is errors.Unavailable


def test_a_received_error_has_class_message_and_details():
    error = received(ALL, "malformed", "name: too long", {"field": "name"})
    assert type(error) is errors.Malformed
    assert (error.message, error.details) == ("name: too long", {"field": "name"})


def test_a_code_that_is_not_known_becomes_a_plain_error():
    error = received(ALL, "from_the_future", "no", {"a": 1})
    assert type(error) is HaulbackError
    assert (error.message, error.details) == ("no", {"a": 1})


@pytest.mark.parametrize("details", [{}, {"missing": []}, {"message": "x"}, {"self": 1}])
def test_details_that_do_not_fit_the_class_raise_no_other_error(details: dict[str, object]):
    error = received(ALL, errors.Missing.code, "backups are missing", details)
    assert type(error) is HaulbackError
    assert error.message == "backups are missing"


def test_a_choice_of_classes_excludes_all_others():
    known = by_code(errors.NotFound, errors.Unavailable)
    assert set(known.values()) == {errors.NotFound, errors.Unavailable}
    assert type(received(known, "forbidden", "no", {})) is HaulbackError
