"""The question before a destructive command: the list of removals, and whether to continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import msgspec
from cyclopts import Parameter

from haulback import units
from haulback.cli.confirmation import Consent, ask, require_terminal
from haulback.cli.output import Column, moment, named, show, text
from haulback.client.client import Client
from haulback.contract.losses import LossCount, Losses, LostItem
from haulback.wire import JsonObject

Act = Callable[[], object]
ConfirmOption = Annotated[
    bool,
    Parameter(
        negative="",
        help="The object is lost for good: give up the object and everything that only the "
        "object could reach.",
    ),
]
_ASKED = 30  # items that a question lists; a dry run lists all items that the server sends


def agreed(client: Client, consent: Consent, *acts: Act) -> bool:
    """Whether to carry out the requests `acts`; asks the user, with the list of the removals.

    False after a dry run.  Raises Malformed for the answer no and without a terminal, and the
    errors of the requests.  Requests that remove nothing need no answer.
    """
    if consent.yes and not consent.dry_run:
        return True
    return confirmed(merged(client.losses(act) for act in acts), consent)


def give_up(client: Client, consent: Consent, act: Callable[[], Losses]) -> None:
    """Ask, then carry out an `act` that gives up an object, and print the losses."""
    if agreed(client, consent, act):
        print_losses(act(), consent)


def print_losses(losses: Losses, consent: Consent) -> None:
    """Print the losses; only their numbers if a question has listed the items already."""
    tell(losses if consent.yes else msgspec.structs.replace(losses, items=[], notes=[]))


def confirmed(losses: Losses, consent: Consent) -> bool:
    """Whether to continue after a list of the removals; False after a dry run.  Raises
    Malformed.
    """
    if consent.dry_run:
        tell(losses)
        return False
    if consent.yes or not losses.total:
        return True
    require_terminal()
    tell(losses, _ASKED)
    ask()
    return True


def merged(parts: Iterable[Losses]) -> Losses:
    """The lists of several requests as one list."""
    counts: dict[tuple[str, str], LossCount] = {}
    items: list[LostItem] = []
    notes: dict[str, None] = {}
    total = size = 0
    for part in parts:
        total, size = total + part.total, size + part.size
        items += part.items
        notes |= dict.fromkeys(part.notes)
        for count in part.counts:
            known = counts.setdefault(
                (count.kind, count.fate), LossCount(kind=count.kind, fate=count.fate, count=0)
            )
            known.count += count.count
            known.size += count.size
    return Losses(
        items=items,
        total=total,
        counts=list(counts.values()),
        size=size,
        notes=list(notes),
    )


def tell(losses: Losses, most: int | None = None) -> None:
    """Print the removals, item by item and in numbers, and the objects that stay."""
    shown = losses.items[:most]
    if shown:
        show(shown, _columns(shown), "table")
    if shown and losses.total > len(shown):
        print(f"... and {losses.total - len(shown)} more")
    print(_summary(losses.counts) if losses.counts else "nothing goes")
    for note in losses.notes:
        print(note)


def _summary(counts: Sequence[LossCount]) -> str:
    return "; ".join(
        f"{units.counted(count.count, count.kind)} {count.fate}"
        + (f" ({units.size(count.size)})" if count.size else "")
        for count in counts
    )


def _columns(items: Sequence[LostItem]) -> list[Column]:
    """The columns of a list, without those that would be empty."""
    columns = [text("fate"), text("kind"), text("name")]
    columns += [moment("time")] if any(item.time for item in items) else []
    columns += [_size()] if any(item.size for item in items) else []
    columns += [named("place")] if any(item.place for item in items) else []
    columns += [text("note")] if any(item.note for item in items) else []
    return [*columns, text("guid")]


def _size() -> Column:
    def value(row: JsonObject) -> str:
        return units.size(row["size"]) if row.get("size") else ""

    return "size", value
