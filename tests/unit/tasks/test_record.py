"""A task record shows its names for searches, its subject for sorting, its heads for answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.tasks.record import (
    CONTRACT_TYPES,
    DEFAULT_PRIORITY,
    HOUR_MS,
    NAMES,
    SUBJECT,
    NewBackup,
    NewMount,
    NewRestoreJob,
    Plan,
    Refused,
    Task,
)
from haulback.wire import Named

# By rank: the first of these roles names the task.
ROLES = (
    "protectedEntity",
    "backupDestination",
    "hypervisor",
    "hypervisorManager",
    "storageProvider",
    "node",
)


def task(**more: Any) -> Task:
    return Task(**{"type": "EXPORT", "lane": "export", **more})


def test_a_new_task_is_queued_with_the_usual_priority_and_an_hour_of_window():
    new = task()
    assert (new.state, new.priority, new.window_length) == ("QUEUED", 50, 3_600_000)
    assert (DEFAULT_PRIORITY, HOUR_MS) == (50, 3_600_000)
    assert new.guid != task().guid


def test_a_new_task_has_made_no_attempt_and_holds_nothing():
    new = task()
    numbers = (new.rank, new.window_start, new.window_end, new.created, new.modified, new.attempt)
    assert numbers == (0, 0, 0, 0, 0, 0)
    assert (new.progress, new.retry_count, new.tries) == (0.0, 0, 0)
    assert (new.workflow, new.run, new.pinned_node) == ("", "", "")
    assert (new.ready, new.cancel_wanted, new.archived) == (False, False, False)
    assert (new.refs, new.params, new.results, new.slots) == ({}, {}, {}, [])
    absent = ("asked_start", "started", "finished", "status_info", "backup_type", "follows")
    absent += ("project", "source_slot", "entity_slot", "destination_slot")
    absent += ("node", "session", "lease_until")
    assert [getattr(new, name) for name in absent] == [None] * len(absent)


def test_two_tasks_never_share_their_maps_and_lists():
    one, other = task(), task()
    one.refs["node"] = Named("n", "n1")
    one.params["a"] = one.results["b"] = 1
    one.slots.append("entity:e")
    assert (other.refs, other.params, other.results, other.slots) == ({}, {}, {}, [])


def test_a_reference_is_found_by_its_role():
    one = task(refs={"node": Named("n-guid", "n1")})
    assert one.ref("node") == "n-guid"
    assert one.ref("hypervisor") is None


def test_searches_find_each_referenced_name_once_in_lower_case():
    refs = {"node": Named("1", "N1"), "hypervisor": Named("2", "Host"), "rule": Named("3", "N1")}
    assert task(refs=refs).names == "n1\nhost"
    assert task().names == ""


@given(st.lists(st.text("Ab", min_size=1, max_size=300), max_size=5))
def test_names_and_subject_fit_an_index_entry(names: list[str]):
    refs = {ROLES[i]: Named(str(i), name) for i, name in enumerate(names)}
    one = task(refs=refs)
    whole = "\n".join(dict.fromkeys(names)).lower()
    assert one.names == whole[:290]
    assert one.subject == (names[0].lower()[:100] if names else "")
    assert (NAMES, SUBJECT) == (290, 100)


@pytest.mark.parametrize("first", range(len(ROLES)))
def test_the_main_object_of_a_task_is_its_subject(first: int):
    refs = {role: Named(role, role.upper()) for role in reversed(ROLES[first:])}
    assert task(refs=refs).subject == ROLES[first].lower()


def test_the_name_of_the_user_is_never_the_subject():
    assert task(refs={"originEntity": Named("u", "admin")}).subject == ""


def test_each_attempt_of_a_task_has_a_name_of_its_own():
    assert task(guid="g", attempt=3).attempt_name == "g-3"


def test_attempts_are_counted_anew_in_each_epoch_of_the_database():
    assert task(attempt=0).tries_made == 0
    assert task(attempt=3).tries_made == 3
    assert task(attempt=20_003).tries_made == 3
    assert task(attempt=0).next_attempt(0) == 1
    assert task(attempt=3).next_attempt(0) == 4
    assert task(attempt=3).next_attempt(2) == 20_001
    assert task(attempt=20_003).next_attempt(2) == 20_004


def test_the_task_types_of_the_contract_are_these():
    assert sorted(CONTRACT_TYPES) == [
        "BACKUP_CLEANUP",
        "BACKUP_DESTINATION_INIT",
        "BACKUP_DESTINATION_SYNC",
        "CONNECTIVITY_TEST",
        "DELETE",
        "EJECT_TAPE",
        "EXPORT",
        "IMPORT",
        "IMPORT_TAPE",
        "INVENTORY_SYNC",
        "LIVE_MIGRATION",
        "MOUNT",
        "RESTORE",
        "SCOPED_INVENTORY_SYNC",
        "SNAPSHOT",
        "SNAPSHOT_CLEANUP",
        "SNAPSHOT_REVERSION",
        "STAGING_CLEANUP",
        "STORE",
        "TAPE_MANAGER_INVENTORY_SYNC",
        "UNMOUNT",
        "UPLOAD",
    ]


def backup(guid: str) -> NewBackup:
    return NewBackup(guid=guid, entity="e", entity_name="db", destination="d", type="FULL")


def restore() -> NewRestoreJob:
    return NewRestoreJob(
        type="VM", entity="e", entity_name="db", backup="b", snapshot_time=None, size=1
    )


def mount() -> NewMount:
    return NewMount(
        backup="b",
        entity="e",
        entity_name="db",
        node="n",
        mode="MANUAL",
        keep=1,
        wanted={},
        snapshot_time=None,
        size=1,
        project=None,
    )


def whole_plan(number: int) -> Plan:
    """A plan with one member of each kind."""
    return Plan(
        tasks=[task()],
        besides=[task()],
        backups=[backup(f"b{number}")],
        restores=[restore()],
        mounts=[mount()],
        gone=[f"e{number}"],
        accepted=[Named(f"a{number}")],
        refused=[Refused("r", "r", "no")],
    )


def test_a_merged_plan_holds_the_work_of_both_in_order():
    one, other = whole_plan(1), whole_plan(2)
    lists = ("tasks", "besides", "backups", "restores", "mounts", "gone")
    wanted = {name: getattr(one, name) + getattr(other, name) for name in lists}
    accepted, refused = list(one.accepted), list(one.refused)
    one.add(other)
    assert {name: getattr(one, name) for name in lists} == wanted
    assert (one.accepted, one.refused) == (accepted, refused)


def test_an_empty_plan_adds_nothing_and_shares_nothing():
    plan = whole_plan(1)
    before = len(plan.tasks)
    plan.add(Plan())
    assert len(plan.tasks) == before
    assert (Plan().accepted, Plan().refused) == ([], [])
    Plan().tasks.append(task())
    assert Plan() == Plan(tasks=[], besides=[], backups=[], restores=[], mounts=[], gone=[])


@given(st.lists(st.booleans(), max_size=6))
def test_the_heads_of_a_plan_are_its_tasks_without_a_predecessor(follows: list[bool]):
    tasks = [task(follows="before" if later else None) for later in follows]
    heads = Plan(tasks).heads
    assert heads == [one for one, later in zip(tasks, follows, strict=True) if not later]


def test_new_records_get_a_guid_and_belong_to_no_project():
    assert restore().guid != restore().guid
    assert mount().guid != mount().guid
    assert (backup("b").project, backup("b").rule, restore().project) == (None, None, None)
    assert (backup("b").role, backup("b").copy_of) == ("PRIMARY", None)
    assert (restore().target, mount().hypervisor) == ({}, None)


def test_a_refused_object_needs_no_details_and_shares_none():
    refused = Refused("r", "r", "no")
    refused.details["state"] = "FAILED"
    assert Refused("r", "r", "no").details == {}


def test_a_backup_record_is_made_from_named_members_only():
    with pytest.raises(TypeError):
        NewBackup("b", "e", "db", "d", "FULL")  # type: ignore[misc]
