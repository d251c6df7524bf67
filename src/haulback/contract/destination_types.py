"""Types of backup destination: their settings and capabilities.

Data only: the server, the commands, the node and the driver itself read these declarations.  A new
type is an entry of `TYPES` here and a module in `haulback.destinations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from msgspec import Meta, Struct
from msgspec.structs import fields

SEALED = "sealedSettings"  # the member of a destination's stored settings that holds its secrets
_FOLDER, _SECRET, TUNABLE = "folder", "secret", "tunable"
AbsolutePath = Annotated[
    str, Meta(pattern=r"^/", max_length=4096, description="a folder by its absolute path",
              extra={_FOLDER: True})
]  # fmt: skip
Secret = Annotated[
    str, Meta(min_length=1, max_length=4096, description="the secret", extra={_SECRET: True})
]
"""A write-only setting: the server seals the value, and no answer shows it."""
USUAL_DELAY = -1.0  # the default of `listingDelay`: the usual delay of the kind of store
_SHARED_DELAY = 120.0  # seconds; NFS and SMB clients keep directories for 60 s by default
Share = Annotated[
    Literal["LOCAL", "NFS", "SMB", "OTHER"],
    Meta(description="LOCAL, NFS, SMB or OTHER", extra={TUNABLE: True}),
]
ListingDelay = Annotated[
    float, Meta(ge=0, le=3600, description="seconds, 0 to 3600", extra={TUNABLE: True})
]
"""The setting `listingDelay`: seconds until a list shows a write or a deletion."""


class Capabilities(NamedTuple):
    """Abilities of a store.

    `local_path`: objects are files of this machine.  `exclusive_create`: of several creates of one
    name exactly one succeeds.  `listing_delay`: seconds until a list shows a write or a deletion,
    None where nothing is known; a setting `listingDelay` of the type overrides it.
    `object_lock`: the store itself keeps objects for a time.  `usage`: total and free bytes.
    """

    local_path: bool = False
    exclusive_create: bool = True
    listing_delay: float | None = 0.0
    object_lock: bool = False
    usage: bool = False


class FolderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a folder on a node; the folder must exist.

    `share` says on what the folder lies: a LOCAL disk, an NFS or SMB share, which must be mounted,
    or a file system of an OTHER kind that several hosts mount.  `listingDelay` is the time in
    seconds until every node's lists show a write of another node: 0 for LOCAL, 120 for the others
    unless said.
    """

    path: AbsolutePath
    share: Share = "LOCAL"
    listingDelay: ListingDelay = USUAL_DELAY

    @property
    def listing_delay(self) -> float | None:
        """Seconds until a list shows a write of another node, None for the delay of the type."""
        if self.listingDelay != USUAL_DELAY:
            return self.listingDelay
        return None if self.share == "LOCAL" else _SHARED_DELAY


class DestinationType(NamedTuple):
    """A type: its name in the API, the module of its driver, its settings and capabilities."""

    name: str
    driver: str
    settings: type[Struct]
    capabilities: Capabilities


DEFAULT = "FILESYSTEM"  # the type of a request that names none
TYPES = (
    DestinationType(
        "FILESYSTEM", "folder", FolderSettings, Capabilities(local_path=True, usage=True)
    ),
)


class Setting(NamedTuple):
    """A setting of a type: its name, its form with limits, and words for messages.

    `is_folder`: the value is a path of a folder. `is_secret`: the value is write-only.
    `is_tunable`: the value can be changed, because it does not say where the objects are.
    """

    name: str
    form: Any
    words: str
    is_required: bool
    is_folder: bool
    is_secret: bool
    is_tunable: bool


@cache
def settings_of(kind: DestinationType) -> Mapping[str, Setting]:
    """The declared settings of a type by name, in their order."""
    return {
        one.encode_name: _setting(one.encode_name, one.type, one.required)
        for one in fields(kind.settings)
    }


def _setting(name: str, form: Any, is_required: bool) -> Setting:
    metas = [meta for meta in get_args(form)[1:] if isinstance(meta, Meta)]
    extra = {key: value for meta in metas for key, value in (meta.extra or {}).items()}
    words = next((meta.description for meta in metas if meta.description), "a value")
    flags = (_FOLDER in extra, _SECRET in extra, TUNABLE in extra)
    return Setting(name, form, words, is_required, *flags)


def by_driver(driver: str) -> DestinationType | None:
    """The type of a driver, None for an unknown driver."""
    return next((kind for kind in TYPES if kind.driver == driver), None)


def by_name(name: str) -> DestinationType | None:
    """The type of that name, None for an unknown name."""
    return next((kind for kind in TYPES if kind.name == name), None)
