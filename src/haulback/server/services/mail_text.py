"""Mails about events: subject, text and HTML."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from haulback.contract.events import EventRecord
from haulback.contract.notifications import Message
from haulback.policy.notification_match import state_of
from haulback.texts import printable
from haulback.units import utc

_LONGEST_SUBJECT = 150  # characters
_STYLE = "font-family:sans-serif;font-size:14px"
_CELL = "padding:4px 12px 4px 0;vertical-align:top;border-bottom:1px solid #ddd"
_KINDS = 5  # kinds of events that a subject counts
_BAD = ("FAILED", "PARTIALLY_FINISHED")


def of_events(events: Sequence[EventRecord], count: int) -> Message:
    """The message of a digest; `count` may be larger than the number of listed events."""
    title = _title(events, count)
    lines = [f"{utc(event.time)}  {printable(event.text)}" for event in events]
    more = [f"... and {count - len(events)} more; `haulback events` lists them"]
    rest = more if count > len(events) else []
    text = "\n".join([title, "", *lines, *rest, "", "Haulback"])
    return Message(title=title, text=text, html=_page(title, events, rest))


def _title(events: Sequence[EventRecord], count: int) -> str:
    if count == 1 and events:
        return printable(events[0].text)[:_LONGEST_SUBJECT]
    failed = sum(state_of(event) in _BAD for event in events)
    kinds = Counter(event.kind.description for event in events)
    shown = ", ".join(f"{number} {kind.lower()}" for kind, number in kinds.most_common(_KINDS))
    bad = f"{failed} failed; " if failed else ""
    return f"{count} events: {bad}{shown}"[:_LONGEST_SUBJECT]


def _page(title: str, events: Sequence[EventRecord], rest: Sequence[str]) -> str:
    rows = "".join(
        f'<tr><td style="{_CELL};white-space:nowrap">{utc(event.time)}</td>'
        f'<td style="{_CELL}">{html.escape(event.kind.description)}</td>'
        f'<td style="{_CELL}">{html.escape(printable(event.text))}</td></tr>'
        for event in events
    )
    tail = "".join(f"<p>{html.escape(line)}</p>" for line in rest)
    return (
        f'<html><body style="{_STYLE}"><h3>{html.escape(title)}</h3>'
        f'<table style="border-collapse:collapse">{rows}</table>{tail}</body></html>'
    )


def mail(message: Message, sender: str, recipients: Sequence[str], guid: str) -> EmailMessage:
    """A message as a single mail; with the same `guid` receivers recognise repeated attempts."""
    made = EmailMessage()
    made["Subject"] = printable(message.title)[:_LONGEST_SUBJECT]
    made["From"] = f"Haulback <{sender}>"
    made["To"] = ", ".join(recipients)
    made["Date"] = format_datetime(datetime.now(UTC))
    domain = sender.rpartition("@")[2]
    made["Message-ID"] = f"<{guid}@{domain}>" if guid else make_msgid(domain=domain)
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(message.text)
    if message.html:
        made.add_alternative(message.html, subtype="html")
    for file in message.attachments:
        main, _, sub = file.type.partition("/")
        data = base64.b64decode(file.data)
        made.add_attachment(data, maintype=main, subtype=sub, filename=file.name)
    return made
