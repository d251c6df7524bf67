"""Settings of a destination from a command line; secrets come from files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from haulback.contract.destination_types import DestinationType, Setting, settings_of
from haulback.errors import Malformed
from haulback.inventory.destination_types import checked
from haulback.texts import reason
from haulback.wire import JsonObject


def read_settings(
    kind: DestinationType, path: Path | None, texts: Iterable[str], files: Iterable[str]
) -> JsonObject:
    """The settings of a new destination.

    `texts` are NAME=VALUE, `files` NAME=FILE with a secret; FILE - is standard input. Raises
    Malformed naming the first setting that is unknown, missing or invalid, before a request is
    sent.
    """
    given: JsonObject = {"path": str(path.absolute())} if path else {}
    given |= read_changes(kind, texts, files)
    checked(kind, given)
    return given


def read_changes(kind: DestinationType, texts: Iterable[str], files: Iterable[str]) -> JsonObject:
    """Some settings by name from `texts`, which are NAME=VALUE, and `files`, NAME=FILE of a secret.

    Raises Malformed.
    """
    given: JsonObject = {}
    for text in texts:
        name, value = _pair("--set", text)
        if _declared(kind, name, is_secret=True):
            if not value:
                remedy = f"`haulback destination set DESTINATION --unset {name}`"
                raise Malformed(f"--set {name}: the setting is a secret; to remove it: {remedy}")
            raise Malformed(f"--set {name}: the setting is a secret; use --secret {name}=FILE")
        given[name] = value
    return given | read_secrets(kind, files)


def read_secrets(kind: DestinationType, files: Iterable[str]) -> JsonObject:
    """Secret settings by name from `files`, which are NAME=FILE.  Raises Malformed."""
    given: JsonObject = {}
    for text in files:
        name, file = _pair("--secret", text)
        if _declared(kind, name, is_secret=False):
            raise Malformed(f"--secret {name}: the setting is no secret; use --set {name}=VALUE")
        given[name] = _read(name, file)
    return given


def _declared(kind: DestinationType, name: str, *, is_secret: bool) -> Setting | None:
    setting = settings_of(kind).get(name)
    return setting if setting and setting.is_secret == is_secret else None


def _pair(option: str, text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise Malformed(f"{option} {text[:40]}: write the name of the setting, =, and its value")
    return name, value


def _read(name: str, file: str) -> str:
    try:
        secret = (sys.stdin.read() if file == "-" else Path(file).read_text()).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"--secret: {file} cannot be read: {reason(error)}") from None
    if not secret:
        raise Malformed(
            f"--secret {name}: {file} is empty; write the secret to the file; an optional secret "
            f"is removed by `haulback destination set DESTINATION --unset {name}`"
        )
    return secret
