"""Auto-assignment equals a naive oracle, and its expressions end in linear time."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.contract.policies import AutoAssign, AutoAssignSettings
from haulback.errors import Malformed
from haulback.policy.assignment import AssignableMachine, AssigningPolicy, Assignment, Conditions
from haulback.policy.name_patterns import LONGEST, MOST, NamePatterns
from haulback.wire import Ref
from tests import shares

NAMES = ("web-001", "web-002a", "db-001", "dev", "WEB-001", "müller", "")
TAGS = ("gold", "silver", "test")
CLUSTERS = ("c1", "c2")
PROJECTS = (None, "p1", "p2")
PATTERNS = ("web-[0-9][0-9][0-9]", ".*", "(db|dev)", "^web", "web-001$", "[a-z]+-", "m.ller", "x?")
POLICIES = ("a", "b", "c")
some = st.lists

criteria = st.builds(
    AutoAssignSettings,
    includeTags=some(st.sampled_from(TAGS), max_size=2),
    excludeTags=some(st.sampled_from(TAGS), max_size=1),
    includeRegExps=some(st.sampled_from(PATTERNS), max_size=2),
    excludeRegExps=some(st.sampled_from(PATTERNS), max_size=1),
    hvClusters=some(st.sampled_from(CLUSTERS).map(Ref), max_size=2),
)
machines = st.builds(
    AssignableMachine,
    guid=st.just("m"),
    name=st.sampled_from(NAMES),
    tags=st.frozensets(st.sampled_from(TAGS)),
    cluster=st.sampled_from(CLUSTERS),
    project=st.sampled_from(PROJECTS),
    policy=st.sampled_from(["", "gone", *POLICIES]),
    present=st.booleans(),
    copied=st.booleans(),
)


@st.composite
def policies(draw: st.DrawFn) -> list[tuple[AssigningPolicy, AutoAssignSettings]]:
    result = []
    for guid in draw(st.permutations(POLICIES))[: draw(st.integers(0, 3))]:
        wanted = draw(criteria)
        policy = AssigningPolicy(
            guid=guid,
            name=draw(st.sampled_from(["x", "y"])),
            conditions=Conditions(wanted),
            mode=draw(st.sampled_from(list(AutoAssign))),
            priority=draw(st.integers(0, 2)),
            project=draw(st.sampled_from(PROJECTS)),
            active=draw(st.integers(0, 4)) > 0,
            removes_absent=draw(st.booleans()),
        )
        result.append((policy, wanted))
    return result


def matches(wanted: AutoAssignSettings, machine: AssignableMachine) -> bool:
    includes = [tag in machine.tags for tag in wanted.includeTags]
    includes += [bool(re.match(text, machine.name)) for text in wanted.includeRegExps]
    excludes = [tag in machine.tags for tag in wanted.excludeTags]
    excludes += [bool(re.match(text, machine.name)) for text in wanted.excludeRegExps]
    clusters = [ref.guid for ref in wanted.hvClusters]
    if any(excludes) or (clusters and machine.cluster not in clusters):
        return False
    return any(includes) if includes else bool(clusters)


def oracle(
    known: list[tuple[AssigningPolicy, AutoAssignSettings]], machine: AssignableMachine
) -> str:
    """The policy of a machine, by the sentences of the vendor's manual and of Haulback's
    documentation.
    """
    own = next((item for item in known if item[0].guid == machine.policy), None)
    if not machine.present:
        return "" if own and own[0].removes_absent else machine.policy
    if own:
        policy, wanted = own
        removes = policy.active and policy.mode is AutoAssign.ASSIGN_AND_REMOVE
        by_hand = not (wanted.includeTags or wanted.includeRegExps or wanted.hvClusters)
        excluded = not matches(AutoAssignSettings(
            includeRegExps=[".*"], excludeTags=wanted.excludeTags,
            excludeRegExps=wanted.excludeRegExps), machine)  # fmt: skip
        stays = not excluded if by_hand else matches(wanted, machine)
        if stays or not removes:
            return policy.guid
    if machine.copied:
        return ""
    best = [
        (-policy.priority, policy.name, policy.guid)
        for policy, wanted in known
        if policy.active
        and policy.mode is not AutoAssign.DISABLED
        and policy.project in (None, machine.project)
        and matches(wanted, machine)
    ]
    return min(best)[2] if best else ""


@settings(max_examples=shares.cases("assignment").count, deadline=None)
@given(policies(), machines)
def test_assignment_equals_a_naive_oracle(known, machine):
    judged = Assignment([policy for policy, _ in known])
    after = judged.policy_of(machine)
    assert after == oracle(known, machine)
    if judged.is_idle and machine.policy in ("", *(policy.guid for policy, _ in known)):
        assert after == machine.policy
    again = Assignment([policy for policy, _ in reversed(known)])
    assert again.policy_of(machine) == after  # the order of the records has no effect
    assert judged.policy_of(machine._replace(policy=after)) == after  # the assignment is stable


@pytest.mark.parametrize(
    ("text", "taken", "left"),
    [
        (".*", ["a", ""], []),
        ("vm-[0-9][0-9][0-9]", ["vm-001", "vm-0012"], ["vm-01", "xvm-001", "VM-001"]),
        ("(prod|uat|dev)-[0-9][0-9][0-9][a-z]?", ["prod-001", "dev-123b"], ["test-001"]),
        ("db$", ["db"], ["db1", "mydb"]),
    ],
)
def test_an_expression_matches_the_names_that_begin_with_it(text, taken, left):
    patterns = NamePatterns([text])
    assert [name for name in (*taken, *left) if patterns.match(name)] == taken


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", "a{500}" * 20])
def test_an_expression_that_cannot_end_elsewhere_ends_here_or_is_refused(text):
    begun = time.perf_counter()
    with suppress(Malformed):
        NamePatterns([text], "list").match("a" * 400 + "!")
    assert time.perf_counter() - begun < 0.5


@pytest.mark.parametrize(
    "text", ["(", "[z-a]", "a**", "(?=a)", "\\1", "a{2000}", "", "x" * (LONGEST + 1), "\udc80"]
)
def test_an_expression_that_cannot_be_read_is_named_with_its_place(text):
    with pytest.raises(Malformed) as caught:
        NamePatterns(["ok", text], "autoAssignSettings.includeRegExps")
    assert caught.value.details["field"] == "autoAssignSettings.includeRegExps[1]"
    assert caught.value.message.startswith("autoAssignSettings.includeRegExps[1]: ")


def test_a_list_of_expressions_is_bounded():
    NamePatterns(["a"] * MOST)
    with pytest.raises(Malformed):
        NamePatterns(["a"] * (MOST + 1), "list")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("(", "missing ): ("), ("é(", "missing ): é("), ("\udc80", "a character is not valid text")],
)
def test_the_reason_of_the_engine_is_told_as_text(text, reason):
    with pytest.raises(Malformed) as caught:
        NamePatterns([text], "list")
    assert caught.value.message == (
        f"list[0]: {text!r} is not a regular expression of RE2: {reason}"
    )


def test_expressions_that_fit_the_memory_of_the_engine_one_by_one_match_together():
    patterns = NamePatterns([f"{number}\\pL{{50}}" for number in range(10, 10 + MOST)])
    assert patterns.match("10" + "x" * 50)
    assert patterns.match("109" + "x" * 50)
    assert not patterns.match("57" + "x" * 49)


def test_a_name_that_is_no_text_matches_as_if_it_had_question_marks():
    assert NamePatterns([r"\?$"]).match("\udc80")
    assert not NamePatterns(["a"]).match("\udc80")


def test_an_empty_list_matches_no_name_and_a_longest_expression_is_read():
    assert not NamePatterns([]).match("")
    assert NamePatterns(["x" * LONGEST]).match("x" * LONGEST)
    for wrong in ("", "x" * (LONGEST + 1)):
        with pytest.raises(Malformed) as caught:
            NamePatterns([wrong], "list")
        assert caught.value.message == f"list[0]: give 1 to {LONGEST} characters"
        assert caught.value.details == {"field": "list[0]"}
    with pytest.raises(Malformed, match=rf"^list: give at most {MOST} expressions$") as caught:
        NamePatterns(["a"] * (MOST + 1), "list")
    assert caught.value.details == {"field": "list"}
    assert (MOST, LONGEST) == (100, 500)


def machine(**members):
    return AssignableMachine("m", "web-001", frozenset({"gold"}), "c1", **members)


def policy(mode=AutoAssign.ASSIGN_AND_REMOVE, guid="a", removes_absent=False, **criteria):
    conditions = Conditions(AutoAssignSettings(**criteria))
    return AssigningPolicy(guid, guid, conditions, mode=mode, removes_absent=removes_absent)


def test_clusters_without_other_conditions_include_all_their_machines():
    assert Assignment([policy(hvClusters=[Ref("c1")])]).policy_of(machine()) == "a"
    assert Assignment([policy(hvClusters=[Ref("c2")])]).policy_of(machine()) == ""
    both = policy(hvClusters=[Ref("c1")], includeTags=["silver"])
    assert Assignment([both]).policy_of(machine()) == ""
    assert Assignment([policy()]).policy_of(machine()) == ""


def test_an_absent_machine_leaves_a_policy_that_removes_absent_machines_and_no_other():
    absent = machine(policy="a", present=False)
    assert Assignment([policy(removes_absent=True)]).policy_of(absent) == ""
    assert Assignment([policy()]).policy_of(absent) == "a"
    assert Assignment([]).policy_of(absent) == "a"
    assert Assignment([policy(includeTags=["gold"])]).policy_of(machine(present=False)) == ""


def test_a_policy_that_assigns_and_removes_keeps_members_chosen_by_hand_unless_it_excludes_them():
    mine = machine(policy="a")
    assert Assignment([policy()]).policy_of(mine) == "a"
    assert Assignment([policy(excludeTags=["gold"])]).policy_of(mine) == ""
    assert Assignment([policy(excludeRegExps=["web"])]).policy_of(mine) == ""
    assert Assignment([policy(includeTags=["silver"])]).policy_of(mine) == ""
    assert Assignment([policy(includeTags=["gold"])]).policy_of(mine) == "a"
    only = policy(AutoAssign.ASSIGN_ONLY, includeTags=["silver"])
    assert Assignment([only]).policy_of(mine) == "a"


def test_a_machine_that_leaves_a_policy_goes_to_another_that_takes_it_unless_it_is_a_copy():
    known = [policy(includeTags=["silver"]), policy(guid="b", includeRegExps=["web"])]
    assert Assignment(known).policy_of(machine(policy="a")) == "b"
    assert Assignment(known).policy_of(machine(policy="a", copied=True)) == ""
    assert Assignment(known).policy_of(machine(policy="gone")) == "b"
    assert machine().policy == ""


def test_assignment_is_idle_where_no_policy_takes_a_machine_or_loses_an_absent_one():
    by_hand = policy(AutoAssign.DISABLED)
    assert Assignment([]).is_idle
    assert Assignment([by_hand]).is_idle
    assert not Assignment([policy()]).is_idle
    assert not Assignment([policy(AutoAssign.DISABLED, removes_absent=True)]).is_idle
    assert not Assignment([by_hand, policy(guid="b", removes_absent=True)]).is_idle


@pytest.mark.parametrize("member", ["includeRegExps", "excludeRegExps"])
def test_an_expression_of_a_policy_that_cannot_be_read_is_named_with_its_list(member):
    with pytest.raises(Malformed) as caught:
        Conditions(AutoAssignSettings(**{member: ["("]}))
    assert caught.value.details == {"field": f"autoAssignSettings.{member}[0]"}
    with pytest.raises(Malformed) as caught:
        Conditions(AutoAssignSettings(**{member: ["("]}), "settings")
    assert caught.value.details == {"field": f"settings.{member}[0]"}


def test_a_policy_is_active_of_middle_priority_and_by_hand_unless_it_says_otherwise():
    usual = AssigningPolicy("a", "a", Conditions(AutoAssignSettings()))
    assert (usual.mode, usual.priority, usual.project) == (AutoAssign.DISABLED, 50, None)
    assert (usual.active, usual.removes_absent, usual.takes) == (True, False, False)
