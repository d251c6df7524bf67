"""Credentials: secrets are sealed in the database, and opened for the service that logs in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from haulback.contract.credentials import SECRETS, Credential
from haulback.errors import Conflict, Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.server.key_vault import KeyVault

KIND = "credential"
_CHANNEL = "notification-channel"  # the kind of the records that log in by a credential
_SEALED = "sealedSecrets"  # the member of a stored credential that holds its secrets
_LONGEST_TEXT, _LONGEST_LOGIN, _LONGEST_SECRET = 1000, 200, 16_384


def check(wanted: Credential, _: Catalogue) -> None:
    """Raises Malformed for texts that are too long, and for unknown secrets to remove."""
    if len(wanted.description) > _LONGEST_TEXT:
        raise Malformed(
            f"description: send at most {_LONGEST_TEXT} characters", field="description"
        )
    for name in ("username", "domain"):
        text = getattr(wanted, name)
        if len(text) > _LONGEST_LOGIN or (text and not text.isprintable()):
            raise Malformed(
                f"{name}: send at most {_LONGEST_LOGIN} printable characters", field=name
            )
    for name in SECRETS:
        if len(getattr(wanted, name) or "") > _LONGEST_SECRET:
            raise Malformed(f"{name}: send at most {_LONGEST_SECRET} characters", field=name)
    for name in wanted.remove:
        if name not in SECRETS:
            raise Malformed(
                f"remove: {name[:40]!r} is not one of {', '.join(SECRETS)}", field="remove"
            )


def check_unused(known: Catalogue, guid: str) -> None:
    """Raises Conflict while a notification channel logs in by a credential."""
    for channel in known.records.of_kind(_CHANNEL):
        if (channel.body.get("credential") or {}).get("guid") == guid:
            raise Conflict(
                f"the notification channel {channel.name} uses this credential; change the "
                "channel first",
                channel=channel.guid,
            )


def sealed(
    vault: KeyVault, record: Record, before: Record | None, names: Sequence[str] = SECRETS
) -> Record:
    """The record of a request for the database, its secrets as sealed text.

    `names` are the secret members; a secret that the request does not name stays as in `before`.
    Raises WrongKey.
    """
    body = dict(record.body)
    kept = opened(vault, before) if before else {}
    kept |= {name: text for name in names if (text := body.pop(name, None))}
    for name in body.pop("remove", []):
        kept.pop(name, None)
    body["secrets"] = [name for name in names if name in kept]
    if kept:
        body[_SEALED] = vault.seal(_owner(record), msgspec.json.encode(kept))
    return msgspec.structs.replace(record, body=body)


def opened(vault: KeyVault, record: Record) -> dict[str, str]:
    """The secrets of a stored credential by their names in `SECRETS`.  Raises WrongKey."""
    if _SEALED not in record.body:
        return {}
    return msgspec.json.decode(
        vault.unseal(_owner(record), record.body[_SEALED]), type=dict[str, str]
    )


def shown(record: Record) -> Record:
    """The record without its secrets, for answers and the audit log."""
    plain = {name: value for name, value in record.body.items() if name != _SEALED}
    return msgspec.structs.replace(record, body=plain)


def _owner(record: Record) -> str:
    """The name that binds a sealed text to its credential, so that no other sealed text can replace
    it.
    """
    return f"{record.guid} credential"
