"""Members of records as people write them: names, times, days, durations and keeps.

`rpo=36h`, `hour="22:00 Europe/Berlin"`, `daysOfWeek=mon-fri`, `every=4h`, `to=local`, `keep=7d,4w`,
`policy=nightly`, `schedules=night,noon`; every other value is JSON or text.  References in JSON may
be names, too: `vms=["web","db"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec

from haulback import credentials
from haulback.cli import references
from haulback.client.client import Client
from haulback.contract.credentials import SECRETS, Credential
from haulback.contract.policies import SnapshotRule
from haulback.contract.records import PolicyRecord
from haulback.errors import Malformed
from haulback.policy.retention_text import read_keeps
from haulback.policy.time_text import is_duration, read_days, read_duration, read_time
from haulback.texts import reason
from haulback.wire import JsonObject

_DURATIONS = frozenset(("rpo", "startWindowLength", "digest"))
_TARGETS = "ruleBackupDestinations"
_PRIMARY = "PRIMARY"


def changed(
    before: JsonObject, words: tuple[str, ...], struct: type[PolicyRecord], client: Client
) -> JsonObject:
    """The members of a record after words like `priority=80`; `client` finds names.

    Raises Malformed for a word without a value, NotFound for a name.
    """
    plain = {field.name for field in msgspec.structs.fields(struct) if field.type is str}
    after = dict(before)
    readers = {**_READERS, **_READERS_OF.get(struct, {})}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise Malformed(f"{word!r}: write member=value")
        if name in SECRETS and struct is Credential:
            after[name] = _secret(name, value)
        elif (reader := readers.get(name)) and not value.lstrip().startswith(("[", "{", "null")):
            reader(after, value, client)
        elif name in _DURATIONS and is_duration(value):
            after[name] = read_duration(value, name)
        else:
            is_text = name in plain or (name in references.MEMBERS and value[:1] not in ("[", "{"))
            after[name] = value if is_text and value != "null" else _json_or_text(value)
    whole: JsonObject = references.resolved(after, client)
    return whole


def check_members(words: Iterable[str], struct: type[PolicyRecord]) -> None:
    """Refuse words that set no member of a record.

    Raises Malformed with the nearest member: the server would ignore the word.
    """
    known = {field.encode_name for field in msgspec.structs.fields(struct)} | _READERS.keys()
    if struct is Credential:
        known |= set(SECRETS)
    for word in words:
        name, sign, _ = word.partition("=")
        if sign and name not in known:
            near = get_close_matches(name, known, 1) or sorted(known)
            raise Malformed(
                f"{name[:40]}: the record has no such member; it has {', '.join(near)}", field=name
            )


def _secret(name: str, value: str) -> str:
    """The secret in a file (`password=@FILE`), or on standard input (`password=-`)."""
    if value == "-":
        return credentials.read(Path("-"), name)
    if not value.startswith("@"):
        raise Malformed(
            f"{name}: a command line can be read by every user of this machine: write "
            f"{name}=@FILE, or {name}=- and give the secret on standard input",
            field=name,
        )
    try:
        return Path(value[1:]).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(
            f"{name}: {value[1:]} cannot be read: {reason(error)}", field=name
        ) from None


def _json_or_text(value: str) -> object:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _hour(after: JsonObject, value: str, _: Client) -> None:
    after |= {"executionType": "TIME", "interval": None, "cron": None}
    if value == "null" or value.isdigit():  # ms from midnight
        after["hour"] = _json_or_text(value)
        return
    time = read_time(value, "hour")
    after |= {"hour": time.hour, **({"timeZone": time.zone} if time.zone else {})}


def _every(after: JsonObject, value: str, _: Client) -> None:
    after.pop("hour", None)
    after["executionType"] = "INTERVAL"
    after["interval"] = {
        **(after.get("interval") or {}),
        "frequency": read_duration(value, "every"),
    }


def _days(after: JsonObject, value: str, _: Client) -> None:
    after["daysOfWeek"] = [day.value for day in read_days(value, "daysOfWeek")]


def _policy(after: JsonObject, value: str, client: Client) -> None:
    after["policy"] = {"guid": client.records.backup_policies.find(value).guid}


def _snapshot_policy(after: JsonObject, value: str, client: Client) -> None:
    after["policy"] = {"guid": client.records.snapshot_policies.find(value).guid}


def _to(after: JsonObject, value: str, client: Client) -> None:
    guid = client.destinations.find(value).guid
    _primary(after)["backupDestination"] = {"guid": guid}


def _keep(after: JsonObject, value: str, _: Client) -> None:
    _primary(after)["backupRetentionSettings"] = msgspec.to_builtins(read_keeps(value))


def _primary(after: JsonObject) -> JsonObject:
    """The PRIMARY destination of a rule, a new one if the rule has none."""
    targets: list[JsonObject] = [dict(target) for target in after.get(_TARGETS) or []]
    after[_TARGETS] = targets
    for target in targets:
        if target.get("roleType", _PRIMARY) == _PRIMARY:
            return target
    targets.insert(0, {"roleType": _PRIMARY, "backupDestination": {}})
    return targets[0]


_Reader = Callable[[JsonObject, str, Client], None]
_READERS: Mapping[str, _Reader] = {
    "hour": _hour,
    "every": _every,
    "daysOfWeek": _days,
    "policy": _policy,
    "to": _to,
    "keep": _keep,
}
_READERS_OF: Mapping[type[PolicyRecord], Mapping[str, _Reader]] = {
    SnapshotRule: {"policy": _snapshot_policy}
}
