"""Settings of backup destinations in requests, checked against the declarations of the types."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from haulback.contract import destination_types
from haulback.contract.destination_types import DestinationType, Setting, settings_of
from haulback.contract.destinations import ChangedDestination, DestinationRecord, NewDestination
from haulback.contract.order_records import BackupDestination
from haulback.errors import Malformed
from haulback.wire import JsonMapping, JsonObject

# Settings of object stores, deduplicating appliances and other backup products: a client that sends
# one of them expects a type of storage that the destination may not have.
_SETTINGS = """
    accessKey accessKeyId accountKey accountName apiUrl apiVersion authUrl bucket bucketName
    clientId clientSecret connectionString container containerName credential credentials domain
    endpoint endpointUrl host hostname poolName port region regionName password s3Bucket
    s3Endpoint secretAccessKey secretKey server storageAccount storageClass storageUnit tenant
    tenantName url user username vaultName versionedBucket volumeName
"""
_OF_OTHERS = frozenset(_SETTINGS.split())
_RECORD = frozenset(
    name
    for kind in (NewDestination, ChangedDestination, DestinationRecord)
    for name in kind.__struct_fields__
)
_SHORT = 6  # settings whose forms an error message lists


class CheckedSettings(NamedTuple):
    """Settings of a new destination by name; the secrets are separate."""

    plain: JsonObject
    secrets: dict[str, str]


def chosen(name: str | None, driver: str | None = None) -> DestinationType:
    """The type that a request names, or the type of its driver, or the default.

    Raises Malformed naming `type` or `driver`.
    """
    types = destination_types.TYPES
    wanted = destination_types.DEFAULT if name is None and not driver else name
    kind = (
        destination_types.by_driver(driver or "")
        if wanted is None
        else destination_types.by_name(wanted.upper())
    )
    if name is not None and kind is None:
        names = ", ".join(known.name for known in types)
        raise Malformed(f"type: {name[:40]!r} is not one of {names}", field="type")
    if kind is None or driver not in (None, kind.driver):
        drivers = repr(kind.driver) if kind else ", ".join(repr(known.driver) for known in types)
        raise Malformed(f"driver: {str(driver)[:40]!r} is not one of {drivers}", field="driver")
    return kind


def members(body: object, kind: DestinationType) -> JsonObject:
    """Settings of the type that a request gives at the top level, as it does with `path`.

    Raises Malformed naming the first member that is a setting of other storages; for a type other
    than the default, also naming the first member that is unknown.
    """
    settings, result = settings_of(kind), {}
    for name, value in body.items() if isinstance(body, dict) else ():
        if name in settings:
            result[name] = value
        elif value not in (None, "", False, [], {}) and _is_foreign(name, kind):
            raise _unknown(name, kind)
    return result


def _is_foreign(name: str, kind: DestinationType) -> bool:
    of_types = {name for known in destination_types.TYPES for name in settings_of(known)}
    if name in of_types or name in _RECORD:
        return name in of_types  # `path`, too: a record shows the member for each type
    return kind.name != destination_types.DEFAULT or name in _OF_OTHERS


def checked(kind: DestinationType, given: JsonMapping) -> CheckedSettings:
    """Check the settings of a new destination; the driver supplies defaults for absent settings.

    Raises Malformed naming the first setting that is unknown, missing or invalid.
    """
    settings, result = settings_of(kind), CheckedSettings({}, {})
    for name in given:
        if name not in settings:
            raise _unknown(name, kind)
    for name, setting in settings.items():
        value = given.get(name)
        if value is None and setting.is_required:
            raise _wrong(setting)
        if value is not None and not _is_empty(setting, value):
            (result.secrets if setting.is_secret else result.plain)[name] = _value(setting, value)
    check_together(kind, result.secrets)
    return result


def check_together(kind: DestinationType, secrets: JsonMapping) -> None:
    """Check the secrets that belong together.  Raises Malformed, naming these secrets."""
    given = {name for name, value in secrets.items() if value}
    if kind.one_of and given.isdisjoint(kind.one_of):
        names = " or ".join(f"`{name}`" for name in kind.one_of)
        raise Malformed(f"{kind.one_of[0]}: name one of the secrets {names}", field=kind.one_of[0])
    for name in kind.pair:
        if name not in given and not given.isdisjoint(kind.pair):
            both = " and ".join(f"`{each}`" for each in kind.pair)
            raise Malformed(
                f"{name}: name {both}, or neither: the two are added and removed together",
                field=name,
            )
    if len(kind.apart) > 1 and given >= {*kind.apart}:
        both = " and ".join(f"`{each}`" for each in kind.apart)
        raise Malformed(f"{kind.apart[-1]}: name only one of {both}", field=kind.apart[-1])


def place(kind: DestinationType, config: JsonMapping) -> JsonObject:
    """The settings that determine the location of a destination; empty if the type declares
    none.
    """
    places = [setting for setting in settings_of(kind).values() if setting.is_place]
    given = {setting.name: config.get(setting.name) or setting.default for setting in places}
    return {name: str(value or "").rstrip("/") for name, value in given.items()}


def host(kind: DestinationType, config: JsonMapping) -> JsonObject:
    """The settings that name host and user of the folders of a type; empty for local folders."""
    paths = [name for name, setting in settings_of(kind).items() if setting.is_path]
    told = place(kind, config).items()
    return {name: value.lower() for name, value in told if name not in paths}


def changed(
    kind: DestinationType, given: JsonMapping, present: JsonMapping, *, is_initialized: bool = True
) -> CheckedSettings:
    """The tunable and secret settings that a request changes; null leaves a setting unchanged, an
    empty text ends an optional setting.

    Raises Malformed naming a setting that is unknown or invalid, or that cannot be changed because
    it determines the location of the stored objects.
    """
    settings, result = settings_of(kind), CheckedSettings({}, {})
    for name, value in given.items():
        if name not in settings:
            raise _unknown(name, kind)
        if value is None:
            continue
        is_empty = _is_empty(settings[name], value)
        if is_empty and settings[name].is_secret:
            raise _empty_secret(name)
        converted = "" if is_empty else _value(settings[name], value)
        if settings[name].is_secret:
            result.secrets[name] = converted
        elif settings[name].is_tunable:
            result.plain[name] = converted
        elif converted != (kept := present.get(name, settings[name].default)):
            raise _fixed(settings[name], kept) if is_initialized else _of_no_repository(name)
    return result


def removed(
    kind: DestinationType, wanted: ChangedDestination, present: BackupDestination
) -> CheckedSettings:
    """The settings that a request removes, each with the empty text.

    Raises Malformed naming a setting that the type does not have, that is required or changed by
    the same request, or that cannot be removed because it determines the location of the stored
    objects.
    """
    result = CheckedSettings({}, {})
    for name in wanted.removedSettings or []:
        setting = settings_of(kind).get(name)
        if setting is None:
            raise _unknown(name, kind)
        if setting.is_required:
            why = f"a destination of type {kind.name} needs the setting; give it another value"
            raise Malformed(f"{name}: {why}, or leave it unchanged", field=name)
        if (wanted.settings or {}).get(name) is not None:
            why = "the request changes the setting and removes it; leave out one of the two"
            raise Malformed(f"{name}: {why}", field=name)
        if setting.is_secret:
            result.secrets[name] = ""
        elif setting.is_tunable:
            result.plain[name] = ""
        elif (kept := present.config.get(name, setting.default)) != setting.default:
            raise _fixed(setting, kept) if present.repository else _of_no_repository(name)
    return result


def _empty_secret(name: str) -> Malformed:
    return Malformed(
        f"{name}: the secret is empty; leave it out to keep it, or name it in `removedSettings` to "
        "remove it",
        field=name,
    )


def _is_empty(setting: Setting, value: object) -> bool:
    """Whether an optional setting has the empty text, which is its default."""
    return bool(value == "" == setting.default)


def _fixed(setting: Setting, kept: object) -> Malformed:
    name, says_where = setting.name, setting.is_place or setting.is_path
    told = f"the backups are at {kept!r}" if says_where else f"the destination was made with {kept}"
    return Malformed(
        f"{name}: {told}; move the destination if its repository was moved, or add another "
        "destination",
        field=name,
    )


def _of_no_repository(name: str) -> Malformed:
    return Malformed(
        f"{name}: the setting is chosen when a destination is added; this destination has no "
        "repository yet: remove the destination, and add it again with the right value",
        field=name,
    )


def moved(kind: DestinationType, given: JsonMapping) -> CheckedSettings:
    """The settings and secrets of a move; null leaves a setting unchanged.

    Raises Malformed naming a setting that is unknown or invalid.
    """
    settings, result = settings_of(kind), CheckedSettings({}, {})
    for name, value in given.items():
        if name not in settings:
            raise _unknown(name, kind)
        if value is not None:
            chosen = result.secrets if settings[name].is_secret else result.plain
            chosen[name] = _value(settings[name], value)
    return result


def _value(setting: Setting, value: Any) -> Any:
    try:
        converted = msgspec.to_builtins(msgspec.convert(value, setting.form, strict=False))
    except msgspec.ValidationError:
        raise _wrong(setting) from None  # the error of the codec could show a secret
    if isinstance(converted, str) and not _is_printable(setting, converted):
        raise _wrong(setting)
    if setting.has_times:
        _check_times(setting, converted)
    return os.path.normpath(converted) if setting.is_path else converted


def _check_times(setting: Setting, text: str) -> None:
    """Raise Malformed if two rates apply from the same time on."""
    times = [time for time, comma, _ in (period.partition(",") for period in text.split()) if comma]
    if twice := [time for time in times if times.count(time) > 1]:
        raise Malformed(
            f"{setting.name}: {twice[0]} has several rates; name each time once, as in "
            "08:00,2M 19:00,off",
            field=setting.name,
        )


def _is_printable(setting: Setting, text: str) -> bool:
    lines = text.splitlines() if setting.has_lines else [text]
    return all(line.isprintable() for line in lines)


def _wrong(setting: Setting) -> Malformed:
    return Malformed(f"{setting.name}: name {setting.words}", field=setting.name)


def _unknown(name: str, kind: DestinationType) -> Malformed:
    settings = settings_of(kind).values()
    told = [f"{s.name} ({s.words})" if len(settings) <= _SHORT else s.name for s in settings]
    known = ", ".join(told)
    near = get_close_matches(name, settings_of(kind), n=1)
    remedy = f"did you mean {near[0]!r}" if near else "leave it out"
    return Malformed(
        f"{name[:40]}: a destination of type {kind.name} has no such setting; {remedy}. "
        f"The settings of the type are {known}",
        field=name[:40],
    )
