"""Mounted backups of this node, as the work of a task starts and ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from haulback.contract.damage import DamageReport
from haulback.contract.order_records import BackupDestination, BackupPlace
from haulback.errors import HaulbackError
from haulback.filesystems.records import Volume
from haulback.mounts.spec import MountPlace, MountSpec, MountState
from haulback.mounts.supervisor import MountSupervisor
from haulback.node.destination_settings import settings_of
from haulback.node.server_client import ServerClient
from haulback.node.task_progress import TaskProgress
from haulback.wire import JsonObject
from haulback.work.context import Sharing


class Access(NamedTuple):
    """The key of a destination's repository, and the settings for its driver."""

    key: bytes
    settings: JsonObject


def access_to(record: BackupDestination, link: ServerClient) -> Access:
    """Key and settings of a destination, fetched over the node's own channel."""
    return Access(link.key(record.guid), settings_of(record, link))


class TaskMounts:
    """Mounts of the node; keys are fetched from the server."""

    def __init__(self, shares: MountSupervisor, progress: TaskProgress, link: ServerClient) -> None:
        self._shares, self._progress, self._link = shares, progress, link

    def begin(self, wanted: Sharing) -> MountState:
        return self._shares.begin(share_order(wanted, self._access))

    def _access(self, record: BackupDestination) -> Access:
        return self._progress.call_server(lambda: access_to(record, self._link))

    def end(self, guid: str) -> list[DamageReport]:
        return on_server_clock(self._shares.end(guid), self._link.now_ms())

    def socket(self, guid: str) -> Path:
        return self._shares.socket(guid)

    def volumes(self, guid: str) -> list[Volume]:
        with self._shares.browser(guid) as browser:
            return browser.volumes()

    def archive(self, guid: str, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
        with self._shares.browser(guid) as browser:
            yield from browser.archive(volume, paths, strict=True)


def on_server_clock(
    reports: Sequence[DamageReport], server_ms: int, node_ms: int | None = None
) -> list[DamageReport]:
    """The reports with their times of finding on the server's clock (epoch ms).

    `node_ms` is the present time of this node's clock; None: read now.
    """
    ahead = server_ms - (node_ms or time.time_ns() // 1_000_000)
    return [
        msgspec.structs.replace(report, found=max(report.found + ahead, 1)) for report in reports
    ]


def share_order(wanted: Sharing, access: Callable[[BackupDestination], Access]) -> MountSpec:
    """Build the order of the process that serves a mount; `access` gives key and settings.

    Other locations that cannot be accessed are left out.
    """
    key, settings = access(wanted.destination)
    others = []
    for place in wanted.others:
        with suppress(HaulbackError):
            others.append(_place(place, access(place.destination)))
    return MountSpec(
        guid=wanted.guid,
        destination=wanted.destination.guid,
        driver=wanted.destination.driver,
        config=settings,
        repository=wanted.destination.repository,
        key=key,
        backup=wanted.backup,
        visible=wanted.visible,
        target=wanted.target,
        for_machine=wanted.for_machine,
        others=others,
    )


def _place(place: BackupPlace, access: Access) -> MountPlace:
    to = place.destination
    key, settings = access
    return MountPlace(
        destination=to.guid,
        driver=to.driver,
        config=settings,
        repository=to.repository,
        key=key,
        backup=place.backup,
    )
