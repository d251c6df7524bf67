"""A request restricts its caller to projects and never extends the rights of the caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Forbidden, Malformed, NotFound
from haulback.server.scope import EVERYTHING, Scope

PROJECTS = st.sampled_from(["pa", "pb", "pc"])
OWN = st.none() | st.frozensets(PROJECTS)
SCOPES = st.builds(Scope, OWN, st.none() | PROJECTS)


@given(OWN, st.none() | PROJECTS, st.none() | PROJECTS)
def test_an_object_exists_where_account_and_request_both_reach_it(
    own: frozenset[str] | None, wanted: str | None, project: str | None
):
    scope = Scope(own, wanted)
    by_account = own is None or project in own
    by_request = wanted is None or project == wanted
    assert scope.allows(project) == (by_account and by_request)


@given(SCOPES, st.none() | PROJECTS)
def test_a_list_is_confined_to_the_projects_whose_objects_exist(scope: Scope, project: str | None):
    listed = scope.listed
    assert scope.allows(project) == (listed is None or project in listed)


@given(SCOPES, PROJECTS)
def test_a_named_project_never_widens_the_reach(scope: Scope, project: str):
    restricted = Scope(scope.own, project)
    for other in ("pa", "pb", "pc", None):
        if restricted.allows(other):
            assert Scope(scope.own).allows(other)


@given(SCOPES, st.none() | PROJECTS)
def test_records_of_no_project_are_shared_by_all(scope: Scope, project: str | None):
    assert scope.shares(None)
    if project is not None:
        assert scope.shares(project) == scope.allows(project)


@given(SCOPES, st.none() | PROJECTS)
def test_only_a_caller_of_all_projects_changes_shared_records(scope: Scope, project: str | None):
    assert scope.is_whole == (scope.own is None and scope.wanted is None)
    if project is None and not scope.is_whole:
        with pytest.raises(Forbidden, match=r"^the rule r1 is shared by all projects"):
            scope.check_change(project, "the rule r1")
    else:
        scope.check_change(project, "the rule r1")


def test_a_new_object_belongs_to_the_named_project_or_to_the_only_one():
    assert EVERYTHING.project is None
    assert Scope(None, "pa").project == "pa"
    assert Scope(frozenset({"pa"})).project == "pa"
    assert Scope(frozenset({"pa", "pb"})).project is None
    assert Scope(frozenset({"pa", "pb"}), "pb").project == "pb"
    assert Scope(frozenset()).project is None


def test_a_named_project_beyond_the_account_does_not_exist():
    with pytest.raises(NotFound, match=r"^there is no project pz$"):
        _ = Scope(frozenset({"pa"}), "pz").project


def test_the_owner_of_a_record_is_the_named_project_or_stays():
    assert EVERYTHING.owner("pa") == "pa"
    assert EVERYTHING.owner("") is None
    assert EVERYTHING.owner("", "pa") is None
    assert EVERYTHING.owner(None, "pa") == "pa"
    assert EVERYTHING.owner(None) is None
    assert Scope(None, "pa").owner(None) == "pa"
    assert Scope(frozenset({"pa"})).owner(None, "pb") == "pb"


def test_a_record_is_not_given_to_a_project_out_of_reach():
    for scope in (Scope(frozenset({"pa"})), Scope(None, "pa")):
        assert scope.owner("pa") == "pa"
        with pytest.raises(Forbidden) as told:
            scope.owner("pz" * 50)
        assert told.value.details == {"field": "project"}
        assert told.value.message == f"project: {'pz' * 40!r} is not among your projects"


def test_a_restricted_caller_names_the_project_of_a_new_record():
    for scope in (Scope(frozenset({"pa", "pb"})), Scope(frozenset({"pa"}), "pa")):
        with pytest.raises(Malformed) as told:
            scope.owner("")
        assert told.value.message == "project: name one of your projects"
        assert told.value.details == {"field": "project"}
    with pytest.raises(Malformed):
        Scope(frozenset({"pa", "pb"})).owner(None)


@given(SCOPES, st.none() | st.sampled_from(["", "pa", "pz"]), st.none() | PROJECTS)
def test_no_caller_makes_a_record_that_lies_beyond_the_own_reach(
    scope: Scope, said: str | None, before: str | None
):
    try:
        owner = scope.owner(said, before)
    except (Forbidden, Malformed, NotFound):
        return
    assert owner == before or scope.allows(owner)
