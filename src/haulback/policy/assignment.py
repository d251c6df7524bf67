"""Automatic assignment: the policy to which a machine belongs, decided from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from haulback.contract.policies import AutoAssign, AutoAssignSettings
from haulback.policy.name_patterns import NamePatterns


class AssignableMachine(NamedTuple):
    """A machine as input of the assignment; `policy` is the guid of its policy, "" without a
    policy.

    `present` is false once the loss of the machine is confirmed.  `copied`: Haulback made the
    machine from a backup, for a proof or an instant restore.
    """

    guid: str
    name: str
    tags: frozenset[str]
    cluster: str
    project: str | None = None
    policy: str = ""
    present: bool = True
    copied: bool = False


class Conditions:
    """Conditions for the machines that a policy takes automatically.

    A machine is excluded by any exclude tag or expression.  Otherwise it is included by any include
    tag or expression; if clusters are named, it must also belong to one of them.  Clusters without
    include tags and expressions include all their machines.

    Raises Malformed for an expression that cannot be read.
    """

    def __init__(self, settings: AutoAssignSettings, field: str = "autoAssignSettings") -> None:
        self._include_tags = frozenset(settings.includeTags)
        self._exclude_tags = frozenset(settings.excludeTags)
        self._include = NamePatterns(settings.includeRegExps, f"{field}.includeRegExps")
        self._exclude = NamePatterns(settings.excludeRegExps, f"{field}.excludeRegExps")
        self._clusters = frozenset(ref.guid for ref in settings.hvClusters)
        self._names_no_machine = not (settings.includeTags or settings.includeRegExps)

    def take(self, machine: AssignableMachine) -> bool:
        """Whether a policy with these conditions takes a machine."""
        return self._includes(machine) and not self._excludes(machine)

    def keep(self, machine: AssignableMachine) -> bool:
        """Whether a policy with these conditions keeps a machine that it has.

        Conditions that include no machine at all remove excluded machines only, since the machines
        of such a policy are chosen by hand.
        """
        chosen_by_hand = self._names_no_machine and not self._clusters
        return (chosen_by_hand or self._includes(machine)) and not self._excludes(machine)

    def _excludes(self, machine: AssignableMachine) -> bool:
        return not self._exclude_tags.isdisjoint(machine.tags) or self._exclude.match(machine.name)

    def _includes(self, machine: AssignableMachine) -> bool:
        if self._clusters and machine.cluster not in self._clusters:
            return False
        if self._names_no_machine:
            return bool(self._clusters)
        return not self._include_tags.isdisjoint(machine.tags) or self._include.match(machine.name)


@dataclass(frozen=True)
class AssigningPolicy:
    """A policy as input of the assignment; an inactive policy takes and removes no machine.

    `removes_absent` is true if machines that are no longer present leave the policy.
    """

    guid: str
    name: str
    conditions: Conditions
    mode: AutoAssign = AutoAssign.DISABLED
    priority: int = 50
    project: str | None = None
    active: bool = True
    removes_absent: bool = False

    @property
    def takes(self) -> bool:
        """Whether the policy takes machines automatically."""
        return self.active and self.mode is not AutoAssign.DISABLED

    @property
    def removes(self) -> bool:
        """Whether machines that no longer match leave the policy."""
        return self.active and self.mode is AutoAssign.ASSIGN_AND_REMOVE


class Assignment:
    """The policies of one kind, among which each machine has at most one.

    Of several policies that take a machine, the policy of the highest priority gets the machine,
    then the first by name, then by guid.
    """

    def __init__(self, policies: Sequence[AssigningPolicy]) -> None:
        self._known = {policy.guid: policy for policy in policies}
        order = sorted(policies, key=lambda item: (-item.priority, item.name, item.guid))
        self._taking = [policy for policy in order if policy.takes]

    @property
    def is_idle(self) -> bool:
        """Whether no policy takes or removes a machine."""
        return not self._taking and not any(item.removes_absent for item in self._known.values())

    def policy_of(self, machine: AssignableMachine) -> str:
        """The guid of the policy that a machine should have, "" for no policy.

        A machine keeps its policy; it leaves a policy that assigns and removes, once it no longer
        matches, and a policy that removes absent machines, once it is absent.  A machine in doubt
        counts as present.
        """
        policy = self._known.get(machine.policy)
        if not machine.present:
            return "" if policy and policy.removes_absent else machine.policy
        if policy and not (policy.removes and not policy.conditions.keep(machine)):
            return policy.guid
        return "" if machine.copied else self._best(machine)

    def _best(self, machine: AssignableMachine) -> str:
        for policy in self._taking:
            if policy.project in (None, machine.project) and policy.conditions.take(machine):
                return policy.guid
        return ""
