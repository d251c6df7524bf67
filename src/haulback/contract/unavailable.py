"""Requests of task kinds that this version does not serve."""

from __future__ import annotations

import msgspec

from haulback.contract.import_machine import TaskFile
from haulback.contract.machines import EntityType
from haulback.contract.restore import LocationRef
from haulback.wire import JsonObject, Ref, Word


class SubmittedRequest(msgspec.Struct, kw_only=True):
    """Members that every request may have."""

    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class TypedRef(msgspec.Struct):
    """NameGuidAndType."""

    guid: str
    type: EntityType | None = None


class Tapes(SubmittedRequest, kw_only=True):
    """EjectTapeTaskRequest and ImportTapeTaskRequest."""

    tapes: list[Ref]
    tapeLocation: Ref | None = None
    backupDestination: Ref | None = None


class TapeManagers(SubmittedRequest, kw_only=True):
    """TapeManagerInventorySyncTaskRequest."""

    tapeManagers: list[Ref]


class CloudImportRequest(SubmittedRequest, kw_only=True):
    """ImportForCloudTaskRequest."""

    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    cloudServiceProvider: Ref | None = None
    dstProtectedEntity: TypedRef | None = None
    restorePath: str | None = None
    overwrite: bool | None = None
    taskFiles: list[TaskFile] | None = None
    paths: list[str] | None = None
    restoreOptions: JsonObject | None = None


class FeatureOptions(msgspec.Struct):
    """Options of a feature of a cloud account."""

    feature: Word
    options: JsonObject | None = None


class CloudFeatureRequest(CloudImportRequest, kw_only=True):
    """CloudTaskWithOptionsPerFeatureRequest."""

    optionsPerFeature: list[FeatureOptions] | None = None


class AgentImportRequest(SubmittedRequest, kw_only=True):
    """ImportForAgentTaskRequest."""

    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    osAgent: Ref | None = None
    restorePath: str | None = None
    paths: list[str] | None = None
    overwrite: bool | None = None
