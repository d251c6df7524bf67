"""`haulback repository verify`, `repair`, `clean`, `sweep`: maintenance of a repository without a
server.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from haulback import units
from haulback.cli.arguments import StoredFolder
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.repository import (
    KeyFile,
    Kit,
    act_for_owner,
    app,
    open_repository,
    secret_of,
)
from haulback.cli.repository_location import FOLDER, StoreOptions
from haulback.errors import Damaged, Malformed
from haulback.repository.cleanup_preview import CleanupPreview, preview_clean_up
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.repair import RepairContext, RepairReport, repair
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, VerifyReport, verify

Work = Annotated[Path | None, Parameter(help="Folder for temporary files.")]


def _signer() -> tuple[str, int]:
    """The name under which damage is recorded, and the time (epoch ms)."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        name = f"user {os.getuid()}"
    return f"haulback repository, by {name}", time.time_ns() // 1_000_000


@app.command(name="verify")
def verify_command(
    folder: StoredFolder = None,
    *,
    depth: Annotated[
        int, Parameter(help="Depth of the check, from the existence of objects to every byte.")
    ] = 3,
    record: Annotated[bool, Parameter(help="Record damage in the repository.")] = True,
    key_file: KeyFile = None,
    kit: Kit = None,
    store: StoreOptions = FOLDER,
) -> None:
    """Check all data stored in FOLDER; exits with 1 when anything is damaged.

    Depth 1: every object exists.  2: maps refer to stored chunks.  3: every byte is correct. Damage
    is recorded in the repository, so that later backups do not build on it; without damage nothing
    is written.
    """
    if depth not in tuple(Depth):
        raise Malformed("--depth is 1, 2 or 3")
    repository = open_repository(folder, key_file, kit, store)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        order = CheckOrder(record=_signer if record else None)
        report = verify(repository, Depth(depth), Resources(pool), order)
    _print(report)
    if not report.ok:
        sys.exit(1)


def _print(report: VerifyReport) -> None:
    for finding in report.findings:
        print(f"DAMAGED  {finding}")
    for name in report.strangers:
        print(f"FOREIGN  {_shown(name)} is not a file of the repository and is ignored")
    print(
        f"{units.counted(report.backups, 'backup')}, {units.counted(report.packs, 'pack')}, "
        f"{units.counted(report.groups, 'group')}, "
        f"{units.size(report.bytes)} read: {'ok' if report.ok else 'DAMAGED'}"
    )
    if not report.ok:
        print("`haulback repository repair` lists the possible repairs")


@app.command(name="repair")
def repair_command(
    folder: StoredFolder = None,
    *,
    apply: Annotated[
        bool,
        Parameter(
            negative="", help="Apply the repair; without --apply the command only lists the repair."
        ),
    ] = False,
    believe: Annotated[
        bool,
        Parameter(negative="", help="The damage is real: no part of the repository is unmounted."),
    ] = False,
    work: Work = None,
    key_file: KeyFile = None,
    kit: Kit = None,
    store: StoreOptions = FOLDER,
    consent: Consent = ASK,
) -> None:
    """List the possible repairs in FOLDER, and with --apply carry them out; exits with 1 if data is
    lost.

    The repair restores the configuration from its copy or from --kit (then --key-file, or
    HAULBACK_PASSPHRASE, opens the repository from now on), rebuilds the index from the packs, and
    moves good data out of damaged packs. Damaged objects move to aside/ in FOLDER; nothing is
    deleted.

    With --apply no other program may use the repository: stop all its servers and nodes.
    """
    repository = open_repository(folder, key_file, kit, store)
    apply = apply and not consent.dry_run
    if apply:
        with suppress(Damaged):  # this command also repairs an owner record that does not open
            act_for_owner(repository)
        print(f"stop all other programs that use {folder or store} before it is repaired")
        consent.agree()
    with TemporaryDirectory(dir=work) as temp, ThreadPoolExecutor(os.cpu_count()) as pool:
        secret = secret_of(key_file)
        secrets = (secret,) if secret else ()
        context = RepairContext(Path(temp), Resources(pool), _signer, secrets, believe=believe)
        done = repair(repository, context, apply=apply)
    _print_repaired(done)
    if done.losses:
        sys.exit(1)


def _print_repaired(done: RepairReport) -> None:
    for finding in done.findings:
        print(f"DAMAGED  {finding}")
    for action in done.actions:
        print(f"{'DONE    ' if done.is_applied else 'WOULD DO'} {action}")
    for name in done.strangers:
        print(f"FOREIGN  {_shown(name)} is not a file of the repository and is ignored")
    for loss in done.losses:
        print(f"LOST     {loss}")
    if not done.actions:
        print("nothing to repair")
    elif not done.is_applied:
        print("nothing was changed; add --apply to carry the repair out")


@app.command
def sweep(
    folder: StoredFolder = None,
    *,
    key_file: KeyFile = None,
    kit: Kit = None,
    store: StoreOptions = FOLDER,
) -> None:
    """Delete the index files in FOLDER that a merged file replaces.

    Safe at any time, even while others read and write.
    """
    repository = open_repository(folder, key_file, kit, store)
    act_for_owner(repository)
    repository.check_deletion()
    count = repository.sweep_index()
    print(f"{units.counted(count, 'replaced index file')} deleted")


@app.command
def clean(
    folder: StoredFolder = None,
    *,
    work: Work = None,
    key_file: KeyFile = None,
    kit: Kit = None,
    store: StoreOptions = FOLDER,
    consent: Consent = ASK,
) -> None:
    """Delete the data in FOLDER that no backup needs any more.

    No other program may use the repository: stop all its servers, nodes and commands. The command
    neither detects other programs nor waits for them.

    Nothing is deleted if a backup of the last clean-up is missing; `repository forget` gives up a
    missing backup.
    """
    repository = open_repository(folder, key_file, kit, store)
    act_for_owner(repository)
    if consent.dry_run or not consent.yes:
        with TemporaryDirectory(dir=work) as temp, ThreadPoolExecutor(os.cpu_count()) as pool:
            _print_preview(
                str(folder or store), preview_clean_up(repository, Path(temp), Resources(pool))
            )
    if not consent.agree():
        return
    with TemporaryDirectory(dir=work) as temp, ThreadPoolExecutor(os.cpu_count()) as pool:
        orders = CleanupOrder(by=_signer()[0])
        cleaned = clean_up(repository, Path(temp), frozenset, Resources(pool), orders)
    for backup in cleaned.damaged:
        print(f"DAMAGED  backup {backup} refers to data that is missing or damaged")
    for backup in cleaned.unreadable:
        print(f"DAMAGED  the manifest of backup {backup} cannot be read")
    if cleaned.held:
        print("nothing was deleted: part of a backup's map cannot be read")
    print(
        f"{units.counted(cleaned.backups, 'backup')} kept, "
        f"{units.counted(cleaned.packs_deleted, 'pack')} deleted, "
        f"{units.size(cleaned.bytes_freed)} freed, "
        f"{units.counted(cleaned.groups_rewritten, 'group')} rewritten"
    )
    if cleaned.damaged or cleaned.unreadable:
        sys.exit(1)


def _print_preview(place: str, preview: CleanupPreview) -> None:
    if preview.is_blind:
        print("nothing would be deleted: part of a backup's map cannot be read")
        return
    print(
        f"data in {place} that no backup needs is deleted: "
        f"{units.counted(preview.packs, 'pack')}, about {units.size(preview.bytes)}; "
        f"{units.counted(preview.backups, 'backup')} kept"
    )


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
