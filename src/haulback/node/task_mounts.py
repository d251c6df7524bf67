"""Backups that this node shares, as the work of a task begins and ends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from haulback.filesystems.records import Volume
from haulback.mounts.spec import MountSpec, MountState
from haulback.mounts.supervisor import MountSupervisor
from haulback.node.destination_settings import settings_of
from haulback.node.server_client import ServerClient
from haulback.node.task_progress import TaskProgress
from haulback.wire import JsonObject
from haulback.work.context import Sharing


class TaskMounts:
    """Shares of the node; keys are fetched from the server."""

    def __init__(self, shares: MountSupervisor, progress: TaskProgress, link: ServerClient) -> None:
        self._shares, self._progress, self._link = shares, progress, link

    def begin(self, wanted: Sharing) -> MountState:
        key = self._progress.ask(lambda: self._link.key(wanted.destination.guid))
        settings = self._progress.ask(lambda: settings_of(wanted.destination, self._link))
        return self._shares.begin(share_order(wanted, key, settings))

    def end(self, guid: str) -> None:
        self._shares.end(guid)

    def socket(self, guid: str) -> Path:
        return self._shares.socket(guid)

    def volumes(self, guid: str) -> list[Volume]:
        with self._shares.browser(guid) as browser:
            return browser.volumes()

    def archive(self, guid: str, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
        with self._shares.browser(guid) as browser:
            yield from browser.archive(volume, paths, strict=True)


def share_order(wanted: Sharing, key: bytes, settings: JsonObject) -> MountSpec:
    """Build the order of the process that serves a mount; `settings` are the destination's."""
    return MountSpec(
        guid=wanted.guid,
        driver=wanted.destination.driver,
        config=settings,
        repository=wanted.destination.repository,
        key=key,
        backup=wanted.backup,
        visible=wanted.visible,
        target=wanted.target,
        for_machine=wanted.for_machine,
    )
