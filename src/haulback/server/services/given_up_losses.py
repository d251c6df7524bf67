"""Losses of giving up a node, a destination, a hypervisor or a machine, item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from shlex import quote

from haulback import units
from haulback.contract.losses import Losses
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.inventory import reach
from haulback.inventory.reach import Place
from haulback.inventory.records import Entity, Record
from haulback.server.services.losses import Tally
from haulback.server.store import copy_links, given_up, lists, loss_rows, nodes
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.expressions import Condition

_UP = "given up"
_QUIET_MS = 90_000  # after this silence of a node, the list of losses names the node


class LossView:
    """A list made at `now` (epoch ms); nodes silent for `silent` ms count as unable to reach
    anything.

    `once` are the types of tasks that no other node repeats.
    """

    def __init__(self, sql: Connection, now: int, silent: int, once: Sequence[str]) -> None:
        self.sql, self.now, self.silent, self.once = sql, now, silent, once
        self.tally = Tally()
        self.known = SqlCatalogue(sql)
        self.leaving: list[str] = []  # destinations whose locations are removed
        self.tasks: list[Condition] = []  # tasks that end
        self.mounts: list[Condition] = []  # rules that end


def of(view: LossView, kind: str, guid: str) -> Losses:
    """The list of losses if an object is given up.  Raises NotFound."""
    sql = view.sql
    _OF[kind](view, guid)
    if view.tasks:
        view.tally.add(loss_rows.tasks(sql, "ended", given_up.any_of(*view.tasks)))
    if view.mounts:
        view.tally.add(loss_rows.mounts(sql, "ended", given_up.any_of(*view.mounts)))
    view.tally.note("nothing on a store is deleted")
    return view.tally.losses


def _ago(milliseconds: int) -> str:
    return f"seen {units.duration(milliseconds / 1000)} ago"


def _node(view: LossView, guid: str) -> None:
    sql, tally = view.sql, view.tally
    node = nodes.one_node(sql, guid)
    seen = "never seen" if node.seen is None else _ago(view.now - node.seen)
    tally.item("node", _UP, guid, node.name, f"{seen}; its tokens are void")
    hosts, stores = lists.places(sql, Hypervisor), lists.places(sql, BackupDestination)
    view.leaving = [store.guid for store in given_up.only_by(stores, guid)]
    for host in given_up.only_by(hosts, guid):
        _hypervisor(view, host.guid)
    for store in given_up.only_by(stores, guid):
        _destination(view, store.guid)
        tally.note(
            f"to keep {store.name}, let another node reach it first: haulback destination set "
            f"{quote(store.name)} --node OTHER"
        )
    places: list[Place] = [*hosts, *stores]
    for place in places:
        if guid in place.nodes and len(place.nodes) > 1:
            kind = "destination" if isinstance(place, BackupDestination) else "hypervisor"
            tally.item(kind, "without this node", place.guid, place.name, "other nodes reach it")
    if groups := given_up.groups_of(sql, guid):
        tally.note(f"{node.name} leaves {units.counted(groups, 'group')} of nodes")
    _tasks_of_node(view, guid)
    view.mounts.append(given_up.mounts_of_node(guid))


def _tasks_of_node(view: LossView, guid: str) -> None:
    """Tasks that another node does, exports that another node repeats, and tasks that end."""
    others = {node.guid for node in nodes.nodes(view.sql)} - {guid}
    here, ended = given_up.of_node(guid), [*view.tasks, given_up.is_last_try(view.once)]
    staged = given_up.staged_on(guid)
    ways = [way for way in given_up.ways_of(view.sql, staged) if _reached(view, way, others)]
    again = given_up.but(given_up.all_of(staged, given_up.on_ways(ways)), *ended)
    left = given_up.but(given_up.running_on(guid), *ended)
    view.tally.add(loss_rows.tasks(view.sql, "made again by another node", again))
    if others:
        view.tally.add(loss_rows.tasks(view.sql, "left to another node", left))
        here = given_up.but(here, left)
    view.tasks.append(given_up.but(here, again))


def _reached(view: LossView, way: tuple[str | None, str | None], others: set[str]) -> bool:
    """Whether another node reaches the hypervisor and the destination of a task."""
    host, to = way
    places = view.known.places
    able = reach.common(
        (places.hypervisor(host) if host else None, places.destination(to) if to else None)
    )
    return bool(others if able is None else able & others)


def _destination(view: LossView, guid: str) -> None:
    sql, tally = view.sql, view.tally
    place = view.known.places.destination(guid)
    view.leaving = view.leaving or [guid]
    note = "the repository, if it is found again, opens when its destination is added again"
    tally.item("destination", _UP, guid, place.name, note if place.repository else "")
    if place.owner.number:
        tally.item("owner record", _UP, guid, place.name)
    _backups(view, given_up.on_destination(guid), place.name)
    _rules(view, guid)
    names = {other.guid: other.name for other in lists.places(sql, BackupDestination)}
    for link in copy_links.touching(sql, guid):
        target = f"to {names.get(link.target, link.target)}"
        tally.item("copy link", _UP, link.source, names.get(link.source, ""), target)
    view.tasks.append(given_up.of_destination(guid))
    view.mounts.append(given_up.mounts_of_destination(guid))


def _backups(view: LossView, where: Condition, name: str) -> None:
    """Backups that lose their only location, and backups that another location keeps."""
    sql, tally = view.sql, view.tally
    tally.add(loss_rows.backups(sql, _UP, given_up.lost(where, view.leaving)))
    if kept := tally.add(
        loss_rows.backups(sql, "kept elsewhere", given_up.kept(where, view.leaving))
    ):
        many = units.counted(kept, "backup")
        tally.note(f"kept: {many} on {name} with another good location")
    locked = loss_rows.backups(
        sql, _UP, given_up.lost(where, view.leaving), given_up.is_locked(view.now)
    )
    if locked.total:
        tally.note(
            f"{units.counted(locked.total, 'backup')} on {name} under a retention lock: the "
            "records are removed, and the lock of the files stays"
        )


def _rules(view: LossView, destination: str) -> None:
    """Rules and schedules that name a destination, with the policies above them."""
    records = view.known.records
    policies = {policy.guid: policy.name for policy in records.of_kind("vm-backup")}
    touched: list[Record] = []
    for rule in records.of_kind("rule"):
        targets = rule.body.get("ruleBackupDestinations", [])
        roles = [
            item.get("roleType", "PRIMARY")
            for item in targets
            if (item.get("backupDestination") or {}).get("guid") == destination
        ]
        if roles:
            fate = "turned off" if "PRIMARY" in roles else "without this copy"
            notes = [f"policy {policies[rule.parent]}"] if rule.parent in policies else []
            if "PRIMARY" in roles and len(targets) > len(roles):
                notes.append(
                    "the copies stay: give the rule a PRIMARY destination and activate it again"
                )
            view.tally.item("rule", fate, rule.guid, rule.name, "; ".join(notes))
            touched.append(rule)
    off = {rule.guid for rule in touched}
    for schedule in records.of_kind("schedule"):
        if off & {ref["guid"] for ref in schedule.body.get("rules", ())}:
            note = "the schedule fires rules that lose this destination"
            view.tally.item("schedule", "kept", schedule.guid, schedule.name, note)
    for schedule in records.of_kind("system-schedule"):
        if (schedule.body.get("backupDestination") or {}).get("guid") == destination:
            note = "the schedule takes the only other destination"
            view.tally.item("system schedule", "changed", schedule.guid, schedule.name, note)


def _hypervisor(view: LossView, guid: str) -> None:
    sql, tally = view.sql, view.tally
    place = view.known.places.hypervisor(guid)
    tally.item("hypervisor", _UP, guid, place.name)
    tally.add(loss_rows.machines(sql, _UP, given_up.without_backups(guid, view.leaving)))
    kept = tally.add(
        loss_rows.machines(sql, "kept with backups", given_up.with_backups(guid, view.leaving))
    )
    if kept:
        tally.note(
            f"kept: {units.counted(kept, 'machine')} of {place.name}, as absent and without a "
            "hypervisor; the backups can be restored elsewhere"
        )
    tally.add(loss_rows.snapshots(sql, "forgotten", loss_rows.snapshots_on(guid)))
    for plan in view.known.records.of_kind("recovery-plan"):
        if any((rule.get("hypervisor") or {}).get("guid") == guid for rule in _rules_of(plan)):
            note = "the recovery plan restores to this hypervisor: give the plan another hypervisor"
            tally.item("recovery plan", "kept", plan.guid, plan.name, note)
    view.tasks.append(given_up.of_hypervisor(guid))


def _rules_of(plan: Record) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = plan.body.get("rules", [])
    return found


def _machine(view: LossView, guid: str) -> None:
    sql, tally = view.sql, view.tally
    machine = view.known.machines.get(guid)
    holding = given_up.holding(sql, guid)
    heard = given_up.last_heard(sql, holding)
    away = view.leaving = [place for place in holding if heard[place] < view.now - view.silent]
    there = [place for place in holding if place not in away]
    tally.item("machine", "absent" if there else _UP, guid, machine.name, _seen(view, machine))
    for place in away:
        name = view.known.places.destination(place).name
        _backups(view, given_up.on_destinations(guid, [place]), name)
        tally.note(
            f"{_silence(view, heard[place])} reaches {name}: the backups of "
            f"{machine.name} there are given up; to keep the backups, name a longer "
            "silence (--silent 30d, silentFor)"
        )
    for place in there:
        if heard[place] < view.now - _QUIET_MS:
            name = view.known.places.destination(place).name
            tally.note(
                f"{_silence(view, heard[place])} reaches {name}: the backups of "
                f"{machine.name} there stay; if the nodes are lost for good, give the "
                "backups up by a shorter silence (--silent 1h, silentFor), or give up "
                "the nodes first"
            )
    stays = tally.add(
        loss_rows.backups(sql, "kept", loss_rows.stored(), given_up.on_destinations(guid, there))
    )
    if stays:
        tally.note(
            f"kept: {units.counted(stays, 'backup')} of {machine.name}, whose record stays as an "
            f"absent machine; haulback machine rm {guid} deletes both"
        )
    tally.add(loss_rows.snapshots(sql, "forgotten", loss_rows.snapshots_of(guid)))
    view.tasks.append(given_up.of_machine(guid))


def _seen(view: LossView, machine: Entity) -> str:
    """The time since a scan of its hypervisor saw a machine, in words."""
    ago = units.duration(max(0, view.now - machine.seen) / 1000)
    if not machine.seen:
        return "no inventory has listed the machine"
    if machine.absent_since is None and machine.present:
        return (
            f"its hypervisor listed the machine {ago} ago: the next inventory adds the "
            "machine again"
        )
    return f"last seen {ago} ago"


def _silence(view: LossView, heard: int) -> str:
    if not heard:
        return "no node that was ever connected"
    return f"no node that was connected in the last {units.duration((view.now - heard) / 1000)}"


_OF: Mapping[str, Callable[[LossView, str], None]] = {
    given_up.NODE: _node,
    given_up.DESTINATION: _destination,
    given_up.HYPERVISOR: _hypervisor,
    given_up.MACHINE: _machine,
}
