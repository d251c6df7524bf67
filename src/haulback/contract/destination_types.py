"""Types of backup destination: their settings and capabilities.

Data only: the server, the commands, the node and the driver itself read these declarations.  A new
type is an entry of `TYPES` here and a module in `haulback.destinations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import fields

SEALED = "sealedSettings"  # the member of a destination's stored settings that holds its secrets
_PATH, _SECRET, _DELETING = "path", "secret", "deleting"
_TUNABLE, _PLACE, _LINES, _TIMES = "tunable", "place", "lines", "times"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = r"([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]{2,45}\])"  # a name, an address, or an IPv6 address
_ORIGIN = rf"https?://{_HOST}(:{_PORT})?"
HTTP_URL = rf"^{_ORIGIN}/?$"
_FOLDER_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_RATE = r"(off|[1-9][0-9]{0,8}[KMG])"
_HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
TIMETABLE = rf"^({_RATE}|{_HOUR},{_RATE}( {_HOUR},{_RATE})*)$"
AbsolutePath = Annotated[
    str, Meta(pattern=r"^/", max_length=4096, description="a folder by its absolute path",
              extra={_PATH: True})
]  # fmt: skip
AbsoluteFile = Annotated[
    str, Meta(pattern=r"^/.*[^/]$", max_length=4096, description="a file by its absolute path",
              extra={_PATH: True})
]  # fmt: skip
Secret = Annotated[
    str, Meta(min_length=1, max_length=4096, description="the secret", extra={_SECRET: True})
]
"""A write-only setting: the server seals the value, and no answer shows it."""
AccessKey = Annotated[
    str, Meta(pattern=r"^[!-~]+$", max_length=4096,
              description="a key of the store: printable ASCII without spaces",
              extra={_SECRET: True})
]  # fmt: skip
"""A secret that a request carries in its header."""
DeletingSecret = Annotated[
    str, Meta(pattern=r"^[!-~]+$", max_length=4096,
              description="a secret that may delete: printable ASCII without spaces",
              extra={_SECRET: True, _DELETING: True})
]  # fmt: skip
"""A secret that a node receives only with orders that may delete."""

HttpUrl = Annotated[
    str, Meta(pattern=HTTP_URL, max_length=2048,
              description="a URL such as https://s3.example.com:9000", extra={_PLACE: True})
]  # fmt: skip
BucketName = Annotated[
    str, Meta(pattern=r"^(?!.*\.\.)(?![0-9]+(\.[0-9]+){3}$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
              description="a bucket: 3 to 63 small letters, digits, dots, hyphens",
              extra={_PLACE: True})
]  # fmt: skip
KeyPrefix = Annotated[
    str, Meta(pattern=rf"^({_FOLDER_NAME}(/{_FOLDER_NAME})*)?$",
              max_length=512, description="a folder in the bucket, such as backups/site-1",
              extra={_PLACE: True})
]  # fmt: skip
StorageClass = Annotated[
    str, Meta(pattern=r"^(?!GLACIER$|DEEP_ARCHIVE$)[A-Z][A-Z0-9_]{0,39}$",
              extra={_TUNABLE: True},
              description="a storage class whose objects can be read at once, such as STANDARD_IA")
]  # fmt: skip
CertificateFile = Annotated[
    str, Meta(pattern=r"^/", max_length=4096,
              extra={_TUNABLE: True},
              description="a PEM file on the node by its absolute path, with the certificate "
              "authority of the store")
]  # fmt: skip
Timetable = Annotated[
    str, Meta(pattern=TIMETABLE, max_length=1000,
              extra={_TUNABLE: True, _TIMES: True},
              description="a rate such as 10M, or rates by time such as 08:00,2M 19:00,off")
]  # fmt: skip
"""Bytes a second with K, M or G (1024-based), from each local time of the node on."""
USUAL_DELAY = -1.0  # the default of `listingDelay`: the usual delay of the kind of store
SHARED_DELAY = 120.0  # seconds; NFS and SMB clients keep directories for 60 s by default
_UNDOCUMENTED_DELAY = 120.0  # seconds, for stores that do not guarantee lists without delay
Share = Annotated[
    Literal["LOCAL", "NFS", "SMB", "OTHER"],
    Meta(description="LOCAL, NFS, SMB or OTHER", extra={_TUNABLE: True}),
]
ListingDelay = Annotated[
    float, Meta(ge=0, le=3600, description="seconds, 0 to 3600", extra={_TUNABLE: True})
]
"""The setting `listingDelay`: seconds until a listing shows a write or a deletion."""


class Capabilities(NamedTuple):
    """Abilities of a store.

    `local_path` is true if objects are files of this machine.  `exclusive_create` is true if
    exactly one of several creates of one name succeeds.  `listing_delay` is the number of seconds
    until a list shows a write or a deletion, None if unknown; a setting `listingDelay` of the type
    overrides this number. `object_lock` is true if the store itself keeps objects for a time.
    `usage` is true if the store reports total and free bytes.
    """

    local_path: bool = False
    exclusive_create: bool = True
    listing_delay: float | None = 0.0
    object_lock: bool = False
    usage: bool = False


class FolderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a folder on a node; the folder must exist.

    `share` is the kind of file system that holds the folder: a LOCAL disk, an NFS or SMB share,
    which must be mounted, or a file system of an OTHER kind that several hosts mount.
    `listingDelay` is the time in seconds until every node's lists show a write of another node: by
    default 0 for LOCAL and 120 for the others.
    """

    path: AbsolutePath
    share: Share = "LOCAL"
    listingDelay: ListingDelay = USUAL_DELAY

    @property
    def listing_delay(self) -> float | None:
        """Seconds until a list shows a write of another node, None for the delay of the type."""
        return _said(self.listingDelay, None if self.share == "LOCAL" else SHARED_DELAY)


def _said(delay: float, usual: float | None = None) -> float | None:
    return usual if delay == USUAL_DELAY else delay


ProxyUrl = Annotated[
    str, Meta(pattern=HTTP_URL, max_length=2048, description="a URL such as http://proxy:3128",
              extra={_TUNABLE: True})
]  # fmt: skip


class S3Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a bucket, or of a folder in it, of S3 or a compatible store.

    Without `endpoint` the store is Amazon's in `region`.  The credentials add and read objects; the
    deleting credentials are given to tasks that may delete, and default to the former.  Times are
    seconds, `partSize` bytes.  `listingDelay` is 0 for Amazon's store, and 120 for other stores by
    default.
    """

    bucket: BucketName
    accessKeyId: AccessKey
    secretAccessKey: AccessKey
    endpoint: HttpUrl = ""
    region: Annotated[
        str, Meta(pattern=r"^[a-z0-9-]{1,64}$", description="the region of the bucket")
    ] = "us-east-1"
    createBucket: Annotated[bool, Meta(description="whether to create the bucket")] = False
    prefix: KeyPrefix = ""
    pathStyle: Annotated[bool, Meta(description="whether URLs hold the bucket in the path")] = True
    deleteAccessKeyId: DeletingSecret = ""
    deleteSecretAccessKey: DeletingSecret = ""
    objectLock: Annotated[
        bool, Meta(description="whether the store itself keeps locked backups")
    ] = False
    singleWriter: Annotated[
        bool, Meta(description="whether to use a store that replaces existing objects")
    ] = False
    storageClass: StorageClass = ""
    ca: CertificateFile = ""
    proxy: ProxyUrl = ""
    partSize: Annotated[
        int,
        Meta(
            ge=5 << 20,
            le=5 << 30,
            extra={_TUNABLE: True},
            description="bytes of a part of a large object, at least 5 MiB",
        ),
    ] = 128 << 20
    parallelism: Annotated[
        int,
        Meta(
            ge=1, le=64, extra={_TUNABLE: True}, description="requests of a node at once, 1 to 64"
        ),
    ] = 4
    bandwidth: Timetable = ""
    requestTimeout: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            extra={_TUNABLE: True},
            description="seconds of a request, at most 86400",
        ),
    ] = 600
    connectTimeout: Annotated[
        int,
        Meta(ge=1, le=600, extra={_TUNABLE: True}, description="seconds to connect, at most 600"),
    ] = 10
    listingDelay: ListingDelay = USUAL_DELAY

    @property
    def listing_delay(self) -> float | None:
        """Seconds until a list shows a write, None for the delay of the type."""
        host = urlsplit(self.endpoint).hostname or ""
        is_amazon = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return _said(self.listingDelay, None if is_amazon else _UNDOCUMENTED_DELAY)


Seconds = Annotated[
    int, Meta(ge=1, le=86_400, extra={_TUNABLE: True}, description="seconds, at most 86400")
]  # fmt: skip


class SftpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a folder on an SSH server; the folder must exist.

    `key` or `password` authenticates the user.  `requestTimeout` is the time for 4 MiB.
    """

    host: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9._-]{1,255}|[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,8})$",
            extra={_PLACE: True},
            description="the name or the address of the SSH server; `port` is a setting of its own",
        ),
    ]
    user: Annotated[
        str,
        Meta(
            pattern=r"^[^\s:/]{1,64}$",
            extra={_PLACE: True},
            description="a user of the server",
        ),
    ]
    path: Annotated[
        str,
        Meta(
            pattern=r"^/",
            max_length=4096,
            extra={_PATH: True, _PLACE: True},
            description="a folder of the server by its absolute path",
        ),
    ]
    knownHosts: Annotated[
        str,
        Meta(
            pattern=r"\S",
            max_length=16_384,
            extra={_TUNABLE: True, _LINES: True},
            description="the host keys of the server, as `ssh-keyscan` prints them",
        ),
    ]
    port: Annotated[
        int, Meta(ge=1, le=65_535, extra={_PLACE: True}, description="a port, 1 to 65535")
    ] = 22
    key: Annotated[
        str,
        Meta(
            pattern=r"\S",
            max_length=16_384,
            extra={_SECRET: True, _LINES: True},
            description="the private key of the user, without a passphrase",
        ),
    ] = ""
    password: Secret = ""
    singleWriter: Annotated[
        bool, Meta(description="whether to use a server without hard links")
    ] = False
    bandwidth: Timetable = ""
    requestTimeout: Seconds = 120
    connectTimeout: Seconds = 20
    listingDelay: ListingDelay = USUAL_DELAY

    @property
    def listing_delay(self) -> float | None:
        """Seconds until a list shows a write, None for the delay of the type."""
        return _said(self.listingDelay)


class AzureSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a container of Azure Blob Storage, or of a folder in it; the container exists.

    `accountKey` or `sasToken` gives access; `deleteSasToken` is given to tasks that may delete, and
    defaults to the other credentials.  Times are seconds.
    """

    account: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]{3,24}$",
            extra={_PLACE: True},
            description="a storage account: 3 to 24 small letters and digits",
        ),
    ]
    container: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$",
            extra={_PLACE: True},
            description="a container: 3 to 63 small letters, digits, single hyphens",
        ),
    ]
    accountKey: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9+/]+={0,2}$",
            max_length=4096,
            extra={_SECRET: True},
            description="a key of the account, base 64",
        ),
    ] = ""
    sasToken: AccessKey = ""
    deleteSasToken: DeletingSecret = ""
    prefix: KeyPrefix = ""
    endpoint: Annotated[
        str,
        Meta(
            pattern=rf"^{_ORIGIN}(/[^\s?#@]*)?$",
            max_length=2048,
            extra={_PLACE: True},
            description="a URL, for other clouds and emulators: http://127.0.0.1:10000/account",
        ),
    ] = ""
    ca: CertificateFile = ""
    proxy: ProxyUrl = ""
    parallelism: Annotated[
        int,
        Meta(
            ge=1, le=64, extra={_TUNABLE: True}, description="requests of a node at once, 1 to 64"
        ),
    ] = 4
    bandwidth: Timetable = ""
    requestTimeout: Seconds = 600
    connectTimeout: Seconds = 10
    listingDelay: ListingDelay = USUAL_DELAY

    @property
    def listing_delay(self) -> float | None:
        """Seconds until a list shows a write, None for the delay of the type."""
        return _said(self.listingDelay)


class DestinationType(NamedTuple):
    """A type: its name in the API, the module of its driver, its settings and capabilities.

    `one_of` are secrets of which a destination needs one.  A destination has both settings `pair`
    or neither, and at most one of the settings `apart`.
    """

    name: str
    driver: str
    settings: type[Struct]
    capabilities: Capabilities
    one_of: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


DEFAULT = "FILESYSTEM"  # the type of a request that names no type
TYPES = (
    DestinationType(
        "FILESYSTEM", "folder", FolderSettings, Capabilities(local_path=True, usage=True)
    ),
    DestinationType(
        "S3",
        "s3",
        S3Settings,
        Capabilities(object_lock=True),
        pair=("deleteAccessKeyId", "deleteSecretAccessKey"),
    ),
    DestinationType(
        "AZURE",
        "azure",
        AzureSettings,
        Capabilities(),
        ("accountKey", "sasToken"),
        apart=("accountKey", "sasToken"),
    ),
    DestinationType("SFTP", "sftp", SftpSettings, Capabilities(usage=True), ("key", "password")),
)


class Setting(NamedTuple):
    """A setting of a type: its name, its form with limits, and words for messages.

    `is_path` is true if the value is the path of a folder or a file. `is_secret` is true if the
    value is write-only; `is_deleting` is true if the secret is for tasks that may delete.
    `is_tunable` is true if a change of the value does not change where the backups are.  `is_place`
    is true if the setting determines the location: two destinations of a type with equal values of
    all such settings are at one location. `has_lines` is true if the value may have several lines.
    `has_times` is true if the value may be a list of `time,rate` texts, separated by spaces, each
    time only once. `default` is the value of an absent setting, None for a required one.
    """

    name: str
    form: Any
    words: str
    default: Any
    is_required: bool
    is_path: bool
    is_secret: bool
    is_deleting: bool
    is_tunable: bool
    is_place: bool
    has_lines: bool
    has_times: bool


@cache
def settings_of(kind: DestinationType) -> Mapping[str, Setting]:
    """The settings that a type declares, by name, in declared order."""
    return {
        one.encode_name: _setting(
            one.encode_name, one.type, one.required, None if one.required else one.default
        )
        for one in fields(kind.settings)
    }


def _setting(name: str, form: Any, is_required: bool, default: Any) -> Setting:
    metas = [meta for meta in get_args(form)[1:] if isinstance(meta, Meta)]
    extra = {key: value for meta in metas for key, value in (meta.extra or {}).items()}
    words = next((meta.description for meta in metas if meta.description), "a value")
    extras = (_PATH, _SECRET, _DELETING, _TUNABLE, _PLACE, _LINES, _TIMES)
    marks = [mark in extra for mark in extras]
    return Setting(name, form, words, default, is_required, *marks)


def by_driver(driver: str) -> DestinationType | None:
    """The type of a driver, None for an unknown driver."""
    return next((kind for kind in TYPES if kind.driver == driver), None)


def by_name(name: str) -> DestinationType | None:
    """The type of that name, None for an unknown name."""
    return next((kind for kind in TYPES if kind.name == name), None)
