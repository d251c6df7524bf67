"""Retention terms from the settings of rules and destinations, and warnings about settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from haulback.contract.destinations import Retention
from haulback.contract.retention import RuleRetention
from haulback.errors import Malformed
from haulback.policy import keeps
from haulback.policy.retention import Limits, Terms
from haulback.policy.retention_text import MOST_KEPT
from haulback.tasks.record import HOUR_MS
from haulback.units import DAY_MS
from haulback.wire import JsonMapping, JsonObject

_MOST = 1_000_000  # largest number of backups
_OLDEST = MOST_KEPT * DAY_MS
_KEEPS = ("keepDaily", "keepWeekly", "keepMonthly", "keepYearly")
_COUNTS = ("retentionKeepLastNFull", "retentionKeepLastNIncremental")
_AGES = ("retentionKeepFullNewerThan", "retentionKeepIncrementalNewerThan")


def of(settings: JsonMapping) -> Retention:
    """Retention settings of a destination, from its `settings`."""
    return msgspec.convert(settings.get("retention") or {}, Retention)


def of_role(rule: JsonMapping, role: str, destination: str = "") -> RuleRetention | None:
    """Retention settings in a rule's body for a destination with a role, or None.

    A destination without settings of its own uses those of its role: the first settings that a
    destination of the role has.
    """
    targets = _targets(rule, role)
    own = next((target for target in targets if _is_at(target, destination)), {})
    given = (target for target in targets if target.get("backupRetentionSettings"))
    return _settings(own) or _settings(next(given, {}))


def lock_ms(rule: JsonMapping, role: str, destination: str = "") -> int:
    """Length in ms of the retention lock that a rule's body sets for a destination with a role; a
    destination without days of its own, or with 0, uses the longest of the role.
    """
    targets = _targets(rule, role)
    own = [target for target in targets if _is_at(target, destination)]
    return (_longest(own) or _longest(targets)) * DAY_MS


def _longest(targets: Iterable[JsonObject]) -> int:
    """The longest retention lock of destinations of a rule, in days."""
    days = [int(target.get("daysToKeepRetentionLock") or 0) for target in targets]
    return max(days, default=0)


def _settings(target: JsonObject) -> RuleRetention | None:
    """The settings of a destination in a rule, None for empty settings."""
    settings = msgspec.convert(target.get("backupRetentionSettings") or {}, RuleRetention)
    return None if settings.is_empty else settings


def _targets(rule: JsonMapping, role: str) -> list[JsonObject]:
    """The destinations of a role in a rule."""
    targets = rule.get("ruleBackupDestinations") or []
    return [target for target in targets if target.get("roleType", "PRIMARY") == role]


def _is_at(target: JsonObject, destination: str) -> bool:
    named = target.get("backupDestination") or {}
    return bool(destination) and named.get("guid") == destination


def of_rule(settings: RuleRetention, zone: str) -> Terms:
    """Terms of a rule's settings; `zone` (IANA) applies if the settings name no zone."""
    others = settings.keepOthers
    if others is None:
        others = settings.has_limit or not any(settings.keeps)
    return Terms(
        full=Limits(settings.retentionKeepLastNFull, settings.retentionKeepFullNewerThan),
        incremental=Limits(
            settings.retentionKeepLastNIncremental, settings.retentionKeepIncrementalNewerThan
        ),
        keeps=settings.keeps,
        others=others,
        zone=(settings.timeZone or zone) if any(settings.keeps) else "UTC",
        keep_last=settings.keepLastBackupWhenSourceStillExists is not False,
    )


def of_destination(settings: Retention) -> Terms:
    """Terms of a destination's own settings."""
    return Terms(
        full=Limits(settings.keepLastNFull, settings.keepFullNewerThan),
        incremental=Limits(settings.keepLastNIncremental, settings.keepIncrementalNewerThan),
        keep_last=settings.keepLastBackupWhenSourceStillExists,
    )


def body_of(terms: Terms) -> str:
    """Terms as JSON text; equal terms give equal texts."""
    return msgspec.json.encode(terms, order="deterministic").decode()


def key_of(body: str) -> str:
    """Key of the JSON text of terms."""
    return hashlib.sha256(body.encode()).hexdigest()


def check(settings: RuleRetention, field: str) -> None:
    """Check settings before they are saved.

    Raises Malformed, naming a member of `field`, for a number out of range and for settings that
    keep no full backup, or nothing.
    """
    for names, most in ((_COUNTS, _MOST), (_AGES, _OLDEST), (_KEEPS, MOST_KEPT)):
        for name in names:
            value = getattr(settings, name)
            if value is not None and not 0 <= value <= most:
                raise Malformed(
                    f"{field}.{name}: send a number from 0 to {most}", field=f"{field}.{name}"
                )
    if settings.timeZone and not keeps.is_zone(settings.timeZone):
        field = f"{field}.timeZone"
        raise Malformed(f"{field}: name an IANA time zone, like Europe/Berlin", field=field)
    if any(settings.keeps):
        return
    if settings.keepOthers is False:
        raise Malformed(
            f"{field}.keepOthers: false keeps nothing without keepDaily, keepWeekly, keepMonthly "
            "or keepYearly; set one, or leave keepOthers out",
            field=f"{field}.keepOthers",
        )
    for name in ("retentionKeepLastNFull", "retentionKeepFullNewerThan"):
        if getattr(settings, name) == 0:
            raise Malformed(
                f"{field}.{name}: 0 keeps nothing; keep at least 1, or leave the member out for no "
                "limit",
                field=f"{field}.{name}",
            )


def warnings(settings: RuleRetention) -> Iterable[str]:
    """Sentences about settings that are allowed but dangerous, or without effect."""
    if settings.keepLastBackupWhenSourceStillExists is False:
        yield (
            "keepLastBackupWhenSourceStillExists is false: retention may remove the last good "
            "backup of a machine that exists"
        )
    if not any(settings.keeps):
        for name in ("retentionKeepLastNIncremental", "retentionKeepIncrementalNewerThan"):
            if getattr(settings, name) == 0:
                yield f"{name} is 0: every incremental backup is removed at the next clean-up"
    if settings.keepOthers is False and settings.has_limit:
        yield "counts and ages have no effect while keepOthers is false: the keeps alone decide"
    if settings.keepOthers is True and any(settings.keeps) and not settings.has_limit:
        yield "neither a count nor an age limits the backups: the keeps remove nothing"
    for name in _AGES:
        age = getattr(settings, name)
        if age is not None and 0 < age < HOUR_MS:
            yield f"{name} is {age} ms, less than an hour: give ages in milliseconds"
