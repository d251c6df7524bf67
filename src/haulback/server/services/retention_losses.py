"""The backups that retention would remove: at the next clean-up, or after a change of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from haulback.contract.backups import Hint
from haulback.contract.losses import SHOWN, Losses, LostItem
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.policy import terms
from haulback.policy.retention import StoredBackup
from haulback.server.caller import Caller
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import retention as retention_marks
from haulback.server.services import retention_run, retention_waits
from haulback.server.services.app import App
from haulback.server.services.losses import Tally
from haulback.server.services.retention import Mark
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import loss_rows, retention
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import JsonMapping, Named

_ROWS = 2_000  # backups of one piece
_PIECE = 500  # machines of one piece
NEXT = "removed at the next clean-up"
MakeBook = Callable[[Connection], TermsBook]
Choose = Callable[[Connection, Iterable[StoredBackup]], list[StoredBackup]]
Decide = Callable[[Catalogue, int], list[Mark]]


def at_clean_up(app: App, destinations: Iterable[str]) -> Losses:
    """The backups that clean-ups of these destinations would remove now."""
    tally = Tally()
    for guid in dict.fromkeys(destinations):
        add_at_clean_up(app, tally, guid)
    return tally.losses


def add_at_clean_up(app: App, tally: Tally, destination: str) -> None:
    """Add the backups that a clean-up of a destination would remove now."""
    for going in _of_destination(app, destination, _present):
        _add(app, tally, going)


def after_settings(app: App, destination: str, settings: JsonMapping) -> Losses:
    """The backups that other settings of a destination would remove."""
    tally = Tally()

    def drafted(sql: Connection) -> TermsBook:
        book = TermsBook(sql, is_asked=True)
        book.draft_destination(destination, terms.of(settings))
        return book

    kept = {item.guid for piece in _of_destination(app, destination, _present) for item in piece}
    for going in _of_destination(app, destination, drafted):
        _add(app, tally, [item for item in going if item.guid not in kept])
    return tally.losses


def add_after_rule(app: App, tally: Tally, guid: str, rule: Record | None, scope: Scope) -> None:
    """Add the backups that a changed rule would remove but the stored rule keeps.

    A `rule` of None means that the rule is removed.
    """
    with app.store.read() as sql:
        places = retention.places_of_rule(sql, guid)
    for destination, entities in _pieces(places):
        with app.store.read() as sql:
            stored = retention.of_entities(sql, destination, entities)
            kept = {item.guid for item in _going(app, sql, TermsBook(sql, is_asked=True), stored)}
            book = TermsBook(sql, {guid: rule}, is_asked=True)
            going = _going(app, sql, book, stored)
        _add(app, tally, [item for item in going if item.guid not in kept], scope)


def of_marks(app: App, who: Caller, decide: Decide) -> Losses:
    """The backups that the marks of `decide` would remove at the next clean-up, and notes about
    marked backups that this clean-up keeps.
    """
    tally = Tally()
    effect = retention_marks.preview(app, who, decide)
    going = retention_marks.going(effect)
    for at in range(0, len(going), _PIECE):
        with app.store.read() as sql:
            chosen = loss_rows.among("backup", going[at : at + _PIECE])
            tally.add(loss_rows.backups(sql, NEXT, chosen))
    for item in retention_marks.staying(effect)[:SHOWN]:
        reason = effect.reasons.get(item.after.guid, "it is not stored")
        named = f"backup {item.after.guid} of {item.after.entity_name}"
        tally.note(f"the next clean-up keeps {named}: {reason}")
    return tally.losses


def waiting(app: App, who: Caller, owners: Sequence[str] | None) -> Losses:
    """The backups that retention would remove if the wait of rules and destinations ended.

    `owners` of None means all that the caller can confirm.  Raises NotFound, Forbidden.
    """
    tally = Tally()
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        for guid in owners or ():
            retention_waits.check_changeable(known, who, guid)
        places = {place.guid: place.name for place in known.places.destinations()}
        names = places | {rule.guid: rule.name for rule in known.records.of_kind("rule")}
        wanted = set(names if owners is None else owners)
        waits = [
            guid
            for guid in retention.waiting(sql)
            if guid in wanted and retention_waits.is_changeable(known, who, guid)
        ]
    for guid in waits:
        tally.item("retention", "begins to remove", guid, names[guid])
    for destination in places if waits else ():
        for going in _waiting_on(app, destination, set(waits)):
            _add(app, tally, going, who.scope)
    return tally.losses


def _waiting_on(app: App, destination: str, owners: set[str]) -> Iterator[list[StoredBackup]]:
    """The backups of a destination that are removed only after a confirmation."""

    def going(sql: Connection, stored: Iterable[StoredBackup]) -> list[StoredBackup]:
        book = TermsBook(sql)
        book.confirm(owners)
        return [item for item in _going(app, sql, book, stored) if _goes_by(book, item, owners)]

    return _some_machines_at_a_time(app, destination, going)


def _goes_by(book: TermsBook, item: StoredBackup, owners: set[str]) -> bool:
    """Whether these rules and destinations, not a mark of a user, cause the removal of a backup."""
    return item.hint != Hint.TO_REMOVE.value and book.owner(item) in owners


def _present(sql: Connection) -> TermsBook:
    return TermsBook(sql, is_asked=True)


def _of_destination(app: App, destination: str, book: MakeBook) -> Iterator[list[StoredBackup]]:
    """The backups of a destination that would be removed, some machines at a time."""

    def going(sql: Connection, stored: Iterable[StoredBackup]) -> list[StoredBackup]:
        return _going(app, sql, book(sql), stored)

    return _some_machines_at_a_time(app, destination, going)


def _some_machines_at_a_time(
    app: App, destination: str, choose: Choose
) -> Iterator[list[StoredBackup]]:
    """The chosen backups of a destination; each piece is read in a transaction of its own."""
    after: str | None = ""
    while after is not None:
        with app.store.read() as sql:
            last = retention.last_entity(sql, destination, after, _ROWS)
            chosen = choose(sql, retention.page(sql, destination, after, last))
        yield chosen
        after = last


def _going(
    app: App, sql: Connection, book: TermsBook, stored: Iterable[StoredBackup]
) -> list[StoredBackup]:
    found = retention_run.verdicts(sql, book, stored, app.clock.now_ms())
    return [item.location for item in found if item.goes]


def _add(app: App, tally: Tally, going: Sequence[StoredBackup], scope: Scope = EVERYTHING) -> None:
    """Add backups; those of machines outside `scope` are counted without guid and name."""
    if not going:
        return
    with app.store.read() as sql:
        names = retention.names(sql, {item.entity for item in going})
        places = SqlCatalogue(sql).places
        by_guid = {guid: places.destination(guid).name for guid in {i.destination for i in going}}
    for item in going:
        name, project = names.get(item.entity, ("", None))
        is_seen = scope.is_whole or scope.allows(project)
        loss = LostItem(
            kind="backup",
            fate=NEXT,
            guid=item.guid if is_seen else "",
            name=name if is_seen else "outside your projects",
            size=item.stored,
            time=item.snapshot_time,
            place=Named(item.destination, by_guid[item.destination]),
            note=item.type,
        )
        tally.loss(loss)


def _pieces(places: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Machines by destination, some at a time."""
    for destination in dict.fromkeys(to for to, _ in places):
        entities = [entity for to, entity in places if to == destination]
        for at in range(0, len(entities), _PIECE):
            yield destination, entities[at : at + _PIECE]
