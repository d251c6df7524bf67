"""Object lock on S3: retention of objects, and their versions.

An object of a repository is created once, so that its oldest version is the object; a delete marker
or a newer version hides the object and counts as damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from haulback.contract.destination_types import S3Settings
from haulback.destinations.s3_errors import where
from haulback.destinations.s3_versions import asking, client_of, key_of
from haulback.errors import Conflict, Damaged, Misconfigured, NotFound

_MODE = "COMPLIANCE"
_BRIDGE_DAYS = 1  # days of the bucket's default retention
_PROBE_SECONDS = 60  # length of the lock of a probe's object
_KEPT = ("packs/", "manifests/")  # folders whose objects are deleted only after their lock
_WATCHED = (*_KEPT, "haulback.")  # the configuration and its copy are locked too
_PROBES = ".probe/"
_SWEPT = (
    "graves/",
    "index/",
    "extracts/",
    "rolls/",
    "rolls-copy/",
    "tombstones/",
    "aside/",
    _PROBES,
    ".tmp/",
)  # folders in which a clean-up creates delete markers
Version = dict[str, object]


class _History(NamedTuple):
    """The versions of an object and its delete markers, each newest first."""

    versions: list[Version]
    markers: list[Version]

    @property
    def is_hidden(self) -> bool:
        """Whether a read shows another version than the oldest."""
        return bool(self.versions) and not self.versions[-1]["IsLatest"]

    def above(self) -> list[Version]:
        """The versions and delete markers that are newer than the oldest version."""
        return [*self.markers, *self.versions[:-1]]


class S3Locks:
    """Retention and versions of the objects below the prefix of a destination."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings

    @cached_property
    def _adding(self) -> Any:
        settings = self._settings
        return client_of(settings, settings.accessKeyId, settings.secretAccessKey)

    @cached_property
    def _deleting(self) -> Any:
        settings = self._settings
        if not settings.deleteAccessKeyId:
            return self._adding
        return client_of(settings, settings.deleteAccessKeyId, settings.deleteSecretAccessKey)

    def prepare(self) -> None:
        """Create the bucket with object lock and a default retention of one day."""
        settings, more = self._settings, {}
        if not settings.endpoint and settings.region != "us-east-1":
            more = {"CreateBucketConfiguration": {"LocationConstraint": settings.region}}
        with asking(settings, "the creation of the bucket"), suppress(_existing(self._adding)):
            self._adding.create_bucket(
                Bucket=settings.bucket, ObjectLockEnabledForBucket=True, **more
            )
            self._adding.put_object_lock_configuration(
                Bucket=settings.bucket,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": _MODE, "Days": _BRIDGE_DAYS}},
                },
            )

    def check(self) -> None:
        """Check the bucket, and lock an object of a probe.  Raises Misconfigured."""
        self._check_bucket()
        key = key_of(self._settings, f"{_PROBES}lock-{os.urandom(8).hex()}")
        until = datetime.now(UTC) + timedelta(seconds=_PROBE_SECONDS)
        with asking(self._settings, "the lock of an object of the probe"):
            made = self._adding.put_object(
                Bucket=self._settings.bucket,
                Key=key,
                Body=b"probe",
                ObjectLockMode=_MODE,
                ObjectLockRetainUntilDate=until,
            )
            version = {"Key": key, "VersionId": made["VersionId"]}
            if self._until(version) is None or self._remove(version):
                raise Misconfigured(
                    f"{where(self._settings)} accepts an object lock, but does not "
                    "enforce the lock: leave `objectLock` out; then only Haulback keeps "
                    "locked backups"
                )

    def _check_bucket(self) -> None:
        bucket, place = self._settings.bucket, where(self._settings)
        with asking(self._settings, "the look-up of the bucket's versioning"):
            status = self._adding.get_bucket_versioning(Bucket=bucket).get("Status")
        if status != "Enabled":
            raise Misconfigured(
                f"{place}: versioning is {(status or 'off').lower()}: enable versioning, or leave "
                "`objectLock` out; a store without versions enforces no lock"
            )
        told: Mapping[str, Any] = {}
        with (
            asking(self._settings, "the look-up of the bucket's object lock"),
            suppress(_client_error()),
        ):
            told = self._adding.get_object_lock_configuration(Bucket=bucket)
        lock = told.get("ObjectLockConfiguration", {})
        if lock.get("ObjectLockEnabled") != "Enabled":
            raise Misconfigured(
                f"{place} has no object lock: use a bucket with object lock, or leave "
                "`objectLock` out; then only Haulback keeps locked backups"
            )
        default = lock.get("Rule", {}).get("DefaultRetention", {})
        if default.get("Days") != _BRIDGE_DAYS or default.get("Mode") != _MODE:
            raise Misconfigured(
                f"{place}: set the bucket's default retention to {_BRIDGE_DAYS} day, {_MODE}: it "
                "protects objects until each has its own lock; a longer retention keeps "
                "objects that a clean-up must delete"
            )

    def extend(self, names: Iterable[str], until: int) -> None:
        """Lock objects at least until a time (epoch ms), and read each lock back.

        Raises Damaged for a hidden object, NotFound, and Misconfigured for a lock that the store
        refuses or does not keep.
        """
        end = datetime.fromtimestamp(until / 1000, UTC)
        with ThreadPoolExecutor(self._settings.parallelism) as pool:
            for _ in pool.map(lambda name: self._extend(name, end), names):
                continue

    def _extend(self, name: str, end: datetime) -> None:
        with asking(self._settings, f"the lock of {name}"):
            version = self._oldest(name)
            present = self._until(version)
            if present is not None and present >= end:
                return
            self._adding.put_object_retention(
                Bucket=self._settings.bucket,
                **version,
                Retention={"Mode": _MODE, "RetainUntilDate": end},
            )
            held = self._until(version)
        if held is None or held < end - timedelta(seconds=1):
            raise Misconfigured(
                f"{where(self._settings)} accepted the lock of {name} until "
                f"{end:%Y-%m-%d %H:%M}, but reports {held}: the backup was not stored; "
                "check the object lock of the bucket"
            )

    def until(self, name: str) -> int | None:
        """The end of the lock of an object, epoch ms; None for an object without one.

        The locks of hidden versions count, since none of them can be deleted.  Raises NotFound.
        """
        with asking(self._settings, f"the look-up of the lock of {name}"):
            versions = self._history(name).versions
            if not versions:
                raise NotFound(f"{name} is not in {where(self._settings)}", name=name)
            ends = [end for version in versions if (end := self._until(_named(version)))]
        return int(max(ends).timestamp() * 1000) if ends else None

    def delete(self, name: str) -> None:
        """Delete all versions of an object; locked versions stay behind a delete marker.

        Raises Conflict for a pack or a manifest under lock.
        """
        with asking(self._settings, f"the deletion of {name}"):
            history = self._history(name)
            removed = [self._remove(_named(version)) for version in history.versions]
            if all(removed):
                for marker in history.markers:
                    self._remove(_named(marker))
                return
            if name.startswith(_KEPT):
                raise Conflict(
                    f"{name} was not deleted: its object lock has not expired", name=name
                )
            if not any(marker["IsLatest"] for marker in history.markers):
                key = key_of(self._settings, name)
                self._deleting.delete_object(Bucket=self._settings.bucket, Key=key)

    def hidden(self) -> dict[str, str]:
        """Packs, manifests and copies of the configuration that a marker or a newer version hides,
        with the reason.
        """
        reasons = {}
        with asking(self._settings, "the list of versions"):
            for prefix in _WATCHED:
                for name, history in self._histories(key_of(self._settings, prefix)).items():
                    if history.is_hidden:
                        cover = "a delete marker" if history.markers else "a newer version"
                        reasons[name] = (
                            f"{name} is hidden by {cover}: the object was deleted or "
                            "replaced; repair the repository"
                        )
        return reasons

    def unhide(self, name: str) -> None:
        """Remove the markers and versions that hide an object.  Raises Conflict for a newer version
        under lock.
        """
        with asking(self._settings, f"the return of {name}"):
            kept = [v for v in self._history(name).above() if not self._remove(_named(v))]
        if kept:
            raise Conflict(
                f"{name}: a newer version is under the default lock of the bucket: repair "
                "the repository again tomorrow"
            )

    def sweep(self) -> int:
        """Delete the versions behind a clean-up's markers, and a probe's objects, whose lock has
        ended.
        """
        with asking(self._settings, "the sweep of versions"):
            return sum(map(self._sweep, _SWEPT))

    def _sweep(self, folder: str) -> int:
        swept = 0
        for history in self._histories(key_of(self._settings, folder)).values():
            is_gone = any(marker["IsLatest"] for marker in history.markers)
            if not (is_gone or folder == _PROBES):
                continue
            below = [self._remove(_named(version)) for version in history.versions]
            swept += sum(below)
            if all(below):
                for marker in history.markers:
                    self._remove(_named(marker))
        return swept

    def _oldest(self, name: str) -> Version:
        """The version that is locked; a replacement may hide a copy of the configuration, since
        writers complete a missing copy from the other.
        """
        history = self._history(name)
        if not history.versions:
            raise NotFound(f"{name} is not in {where(self._settings)}", name=name)
        if history.is_hidden and name.startswith(_KEPT):
            raise Damaged(
                f"{name} is hidden by a delete marker or a newer version; repair the repository",
                name=name,
            )
        return _named(history.versions[-1])

    def _history(self, name: str) -> _History:
        return self._histories(key_of(self._settings, name)).get(name, _History([], []))

    def _histories(self, prefix: str) -> dict[str, _History]:
        """The version histories of all objects below a prefix of keys, by name."""
        found: dict[str, _History] = {}
        cut = len(key_of(self._settings, ""))
        for page in self._pages(prefix):
            for kind in ("Versions", "DeleteMarkers"):
                for entry in page.get(kind, []):
                    history = found.setdefault(entry["Key"][cut:], _History([], []))
                    (history.versions if kind == "Versions" else history.markers).append(entry)
        return found

    def _pages(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        pages = self._adding.get_paginator("list_object_versions")
        yield from pages.paginate(Bucket=self._settings.bucket, Prefix=prefix)

    def _until(self, version: Version) -> datetime | None:
        bucket = self._settings.bucket
        try:
            told = self._adding.get_object_retention(Bucket=bucket, **version)["Retention"]
        except _client_error() as error:
            if error.response["Error"]["Code"] != "NoSuchObjectLockConfiguration":
                raise
            return None
        end: datetime = told["RetainUntilDate"]
        return end.astimezone(UTC) if told["Mode"] == _MODE else None

    def _remove(self, version: Version) -> bool:
        """Permanently delete a version or a marker; False while it is locked."""
        try:
            self._deleting.delete_object(Bucket=self._settings.bucket, **version)
        except _client_error() as error:
            if error.response["Error"]["Code"] not in ("AccessDenied", "ObjectLocked"):
                raise
            return False
        return True


def _named(version: Version) -> Version:
    return {"Key": version["Key"], "VersionId": version["VersionId"]}


def _existing(client: Any) -> type[Exception]:
    kind: type[Exception] = client.exceptions.BucketAlreadyOwnedByYou
    return kind


def _client_error() -> Any:
    from botocore.exceptions import ClientError

    return ClientError
