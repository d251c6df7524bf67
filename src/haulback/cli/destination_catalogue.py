"""`haulback destination attach`, `take-over`, `sync`: stores with backups of another server."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.arguments import DestinationWord, NewName, NodeOption, folder
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.destination_settings import read_settings
from haulback.cli.destinations import app
from haulback.cli.output import moment
from haulback.cli.questions import agreed
from haulback.cli.submit_options import WatchOption, ref, watch
from haulback.client.client import Client
from haulback.contract.catalogue import AttachedDestination, TakeOver
from haulback.contract.destinations import DestinationRecord
from haulback.errors import HaulbackError, Malformed
from haulback.inventory.destination_types import chosen
from haulback.texts import reason
from haulback.wire import Word

KeyFile = Annotated[Path | None, Parameter(name="--key-file", help="File with the key.")]
Revoked = Annotated[
    bool,
    Parameter(
        negative="",
        help="The credential with which the old owner deletes was revoked: delete at once.",
    ),
]


@app.command
def attach(
    name: NewName,
    path: Annotated[Path | None, Parameter(help="Folder on the node.", converter=folder)] = None,
    *,
    key_file: KeyFile = None,
    kit: Annotated[Path | None, Parameter(help="File with the text of the recovery kit.")] = None,
    kind: Annotated[str, Parameter(name="--type", help="A type of `destination types`.")] = "",
    setting: Annotated[list[str], Parameter(name="--set", help="NAME=VALUE of a setting.")] = [],  # noqa: B006
    secret: Annotated[list[str], Parameter(help="NAME=FILE of a secret setting.")] = [],  # noqa: B006
    node: NodeOption = "",
    take_over: Annotated[bool, Parameter(negative="", help="Become the owner.")] = False,
    old_credential_revoked: Revoked = False,
    consent: Consent = ASK,
) -> None:
    """Add a store that holds a repository, with its backups; asks before a take-over.

    The repository is opened by --key-file, --kit, or the passphrase in HAULBACK_PASSPHRASE. Without
    --take-over the store is only read: its backups can be listed, mounted, proved and restored.
    With --take-over the server that owned the store stops writing there; nothing is deleted for 24
    hours, unless --old-credential-revoked says that the old server can no longer delete.
    """
    declared = chosen(kind or None)
    settings = read_settings(declared, path, setting, secret)
    opened_by = _opened_by(key_file, kit)
    if old_credential_revoked and not take_over:
        raise Malformed("--old-credential-revoked: needs --take-over")
    client = connect()
    wanted = AttachedDestination(
        name=name,
        path=settings.pop("path", None),
        type=Word(declared.name) if kind else None,
        settings=settings or None,
        node=ref(node and client.nodes.find(node).guid),
        takeOver=take_over,
        oldCredentialRevoked=old_credential_revoked,
        keyFile=opened_by.get("keyFile"),
        kit=opened_by.get("kit"),
        passphrase=opened_by.get("passphrase"),
    )
    act = partial(client.destinations.attach, wanted)
    if (take_over or consent.dry_run) and not agreed(client, consent, act):
        return
    _follow_attached(client, act())


def _follow_attached(client: Client, made: DestinationRecord) -> None:
    """Follow the task of an attachment; its error says how to attach again."""
    print(made.guid)
    try:
        _follow(client, made)
    except HaulbackError as error:
        if not client.destinations.get(made.guid).initialized:
            error.message += (
                f"; nothing was changed in the store: remove {made.name} (haulback destination rm "
                f"{made.name}), and attach the store again with the right settings and key"
            )
        raise


def _opened_by(key_file: Path | None, kit: Path | None) -> dict[str, str]:
    """The member of the request that opens the repository.  Raises Malformed."""
    if key_file and kit:
        raise Malformed("name --key-file or --kit, not both")
    if key_file or kit:
        option = "--key-file" if key_file else "--kit"
        text = _text(option, key_file or kit or Path())
        if kit:
            from haulback.repository.keys import Keys  # needs heavy libraries

            Keys.from_kit(text)
        return {"kit" if kit else "keyFile": text}
    passphrase = credentials.get("HAULBACK_PASSPHRASE")
    if not passphrase:
        raise Malformed("name --key-file or --kit, or put the passphrase into HAULBACK_PASSPHRASE")
    return {"passphrase": passphrase}


def _text(option: str, file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{option} {file} cannot be read: {reason(error)}") from None


@app.command(name="take-over")
def take_over_destination(
    name: DestinationWord, *, old_credential_revoked: Revoked = False, consent: Consent = ASK
) -> None:
    """Become the owner of a destination, and add its backups to the catalogue; asks first.

    The previous owner neither stores nor deletes on the destination any more. The clean-ups of this
    server delete there from then on: after 24 hours, or at once with --old-credential-revoked.
    """
    client = connect()
    wanted = TakeOver(oldCredentialRevoked=old_credential_revoked)
    guid = client.destinations.find(name).guid
    act = partial(client.destinations.take_over, guid, wanted)
    if not agreed(client, consent, act):
        return
    _follow(client, act())
    if not old_credential_revoked:
        print("nothing is deleted there for 24 hours, because the old owner may still run")


@app.command
def sync(name: DestinationWord, *, watch: WatchOption = True) -> None:
    """Add backups that the catalogue lacks, from the destination; follows the task to its end.

    --no-watch: print the guid of the task instead of following the task.
    """
    client = connect()
    guid = client.destinations.find(name).guid
    record = client.destinations.read_catalogue(guid)
    if watch:
        _follow(client, record)
    elif record.task:
        print(record.task.guid)


def _follow(client: Client, destination: DestinationRecord) -> None:
    """Follow the task, and print the age of the data from the extract."""
    if destination.task:
        watch(client, [destination.task.guid])
    record = client.destinations.get(destination.guid)
    _, shown = moment("time")
    if record.extractTime:
        time = shown({"time": record.extractTime})
        print(f"locks, marks and proof levels are those of {time}; later changes are unknown")
    else:
        print(
            "the store holds no extract of a catalogue: locks, marks and proof levels are unknown"
        )
