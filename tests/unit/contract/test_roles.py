"""Roles include each other as the access page says, and each project limit has a text."""

from haulback.contract.project_access import ABOUT, ProjectAccess
from haulback.contract.roles import (
    ADMINS,
    NODES,
    OPERATORS,
    PEOPLE,
    PEOPLE_AND_NODES,
    PUBLIC,
    RESTORERS,
    ROLES,
    WORKERS,
    WORKERS_AND_NODES,
)


def test_the_roles_are_five_and_each_is_described():
    assert list(ROLES) == ["viewer", "operator", "restore_operator", "administrator", "node"]
    assert all(ROLES.values())


def test_an_administrator_may_do_everything_that_people_may():
    assert {"administrator"} == ADMINS
    assert {"administrator", "operator"} == OPERATORS
    assert {"administrator", "restore_operator"} == RESTORERS
    assert {"administrator", "operator", "restore_operator"} == WORKERS
    assert {"administrator", "operator", "restore_operator", "viewer"} == PEOPLE


def test_a_node_has_a_role_of_its_own_that_no_person_has():
    assert {"node"} == NODES
    assert "node" not in PEOPLE
    assert PEOPLE_AND_NODES == PEOPLE | NODES
    assert {*WORKERS, "node"} == WORKERS_AND_NODES
    assert frozenset() == PUBLIC


def test_each_limit_of_a_restricted_caller_has_a_word_and_a_sentence():
    assert {limit.name: limit.value for limit in ProjectAccess} == {
        "ANYBODY": "anybody",
        "ACCOUNT": "own login",
        "COMMON": "common",
        "OBJECTS": "own objects",
        "USE": "own and shared",
        "CHANGE": "own",
        "WHOLE": "403",
        "NODE": "node",
    }
    assert set(ABOUT) == set(ProjectAccess)
    assert len(set(ABOUT.values())) == len(ProjectAccess)
