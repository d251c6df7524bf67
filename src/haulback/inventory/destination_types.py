"""Which types of backup destination are served, and which settings belong to others."""

from __future__ import annotations

from haulback.errors import Malformed

SERVED = {"FILESYSTEM": "folder"}  # the driver of each type
# Settings of object stores, deduplicating appliances and other backup products: whoever sends
# one expects a storage that no folder is.
_SETTINGS = """
    accessKey accessKeyId accountKey accountName apiUrl apiVersion authUrl bucket bucketName
    clientId clientSecret connectionString container containerName credential credentials domain
    endpoint endpointUrl host hostname poolName port region regionName password s3Bucket
    s3Endpoint secretAccessKey secretKey server storageAccount storageClass storageUnit tenant
    tenantName url user username vaultName versionedBucket volumeName
"""
_OF_OTHERS = frozenset(_SETTINGS.split())


def check(body: object, kind: str | None) -> None:
    """Whether a body asks for a destination that is served.

    Raises Malformed naming `type`, or the first member that the type does not know.
    """
    if kind is not None and kind not in SERVED:
        raise Malformed(
            f"type: {kind[:40]!r} is not served, only {', '.join(SERVED)} is: name a folder of a "
            "node as path; nothing was made",
            field="type",
        )
    members = body if isinstance(body, dict) else {}
    for name, value in members.items():
        if name in _OF_OTHERS and value not in (None, "", False, [], {}):
            raise Malformed(
                f"{name}: a destination of type FILESYSTEM has no such setting; leave it out and "
                "name a folder of a node as path",
                field=name,
            )
