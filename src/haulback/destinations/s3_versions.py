"""Multipart uploads on S3 over boto3, which the extra `s3-lock` installs.

obstore can neither list the uploads of a bucket nor complete an upload conditionally.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from haulback.contract.destination_types import S3Settings
from haulback.destinations.answer_headers import pause_of
from haulback.destinations.https_access import tls_problem
from haulback.destinations.s3_errors import Answer, problem
from haulback.errors import Conflict, HaulbackError, Misconfigured, Unavailable

_MARKS = ".tmp/"  # keys of the marks, .tmp/ATTEMPT.RANDOM; each names an upload
_OLD = timedelta(hours=24)  # greatest age of an upload without a mark
_TYPE = "application/octet-stream"


def is_installed() -> bool:
    """Whether boto3 is installed."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        return False
    return True


class Uploads:
    """Multipart uploads below the prefix of a destination.

    A mark names each upload and its attempt, so that a later attempt finds the uploads of a dead
    attempt.
    """

    def __init__(self, settings: S3Settings, owner: str) -> None:
        self._settings, self._owner = settings, owner

    @cached_property
    def client(self) -> Any:
        """boto3's client with the adding credentials."""
        settings = self._settings
        return client_of(settings, settings.accessKeyId, settings.secretAccessKey)

    @cached_property
    def _deleting(self) -> Any:
        settings = self._settings
        if not settings.deleteAccessKeyId:
            return self.client
        return client_of(settings, settings.deleteAccessKeyId, settings.deleteSecretAccessKey)

    def create(self, name: str, data: mmap.mmap) -> None:
        """Create an object by a multipart upload.  Raises Conflict for an existing name."""
        bucket, key = self._settings.bucket, self._key(name)
        with asking(self._settings, f"the creation of {name}"):
            upload = self.begin(key)
            mark = self.mark(key, upload)
            try:
                parts = [*self._parts(key, upload, data)]
                self.client.complete_multipart_upload(
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
            except BaseException:
                with suppress(Exception):
                    self._abort(key, upload)
                    self._unmark(mark)
                raise
            self._unmark(mark)

    def sweep(self, alive: Set[str]) -> int:
        """End the uploads of attempts that are not active, and old uploads without a mark."""
        with asking(self._settings, "the sweep of uploads"):
            marks = {key: self._read_mark(key) for key in self._marks()}
            swept, marked = 0, set()
            for mark, upload in marks.items():
                owner = mark.rpartition("/")[2].rpartition(".")[0]
                if owner in alive:
                    marked.add(upload)
                    continue
                swept += self._abort(*upload)
                self._unmark(mark)
            return swept + self._sweep_old(marked)

    def _sweep_old(self, marked: Set[tuple[str, str]]) -> int:
        swept = 0
        for entry in self._uploads():
            upload = (entry["Key"], entry["UploadId"])
            began: datetime = entry["Initiated"]
            if upload not in marked and datetime.now(began.tzinfo) - began > _OLD:
                swept += self._abort(*upload)
        return swept

    def begin(self, key: str) -> str:
        """Begin an upload under a key of the bucket; returns its id."""
        more = {"StorageClass": self._settings.storageClass} if self._settings.storageClass else {}
        begun = self.client.create_multipart_upload(
            Bucket=self._settings.bucket, Key=key, ContentType=_TYPE, **more
        )
        return str(begun["UploadId"])

    def _parts(self, key: str, upload: str, data: mmap.mmap) -> Iterator[dict[str, object]]:
        size = self._settings.partSize
        for number, at in enumerate(range(0, len(data), size), 1):
            answer = self.client.upload_part(
                Bucket=self._settings.bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=data[at : at + size],
            )
            yield {"ETag": answer["ETag"], "PartNumber": number}

    def mark(self, key: str, upload: str) -> str:
        """Store the mark of an upload; returns the key of the mark."""
        mark = self._key(f"{_MARKS}{self._owner}.{os.urandom(12).hex()}")
        body = json.dumps({"key": key, "upload": upload}).encode()
        self.client.put_object(Bucket=self._settings.bucket, Key=mark, Body=body)
        return mark

    def _unmark(self, mark: str) -> None:
        """Remove a mark; without the right to delete it stays, although its upload has ended."""
        from botocore.exceptions import ClientError

        with suppress(ClientError):
            self._deleting.delete_object(Bucket=self._settings.bucket, Key=mark)

    def _read_mark(self, mark: str) -> tuple[str, str]:
        stored = self.client.get_object(Bucket=self._settings.bucket, Key=mark)["Body"].read()
        body = json.loads(stored)
        return str(body["key"]), str(body["upload"])

    def _marks(self) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._settings.bucket, Prefix=self._key(_MARKS)):
            yield from (item["Key"] for item in page.get("Contents", []))

    def _uploads(self) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._settings.bucket, Prefix=self._key("")):
            yield from page.get("Uploads", [])

    def _abort(self, key: str, upload: str) -> int:
        """End an upload; returns 0 if it had ended before."""
        from botocore.exceptions import ClientError

        try:
            self.client.abort_multipart_upload(
                Bucket=self._settings.bucket, Key=key, UploadId=upload
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise
            return 0
        return 1

    def _key(self, name: str) -> str:
        return key_of(self._settings, name)


def key_of(settings: S3Settings, name: str) -> str:
    """The key of an object in the bucket."""
    return f"{settings.prefix}/{name}" if settings.prefix else name


def _endpoint(settings: S3Settings) -> str | None:
    """The URL of the store for boto3, which puts the bucket before its host itself."""
    if settings.pathStyle:
        return settings.endpoint or None
    return settings.endpoint.replace(f"://{settings.bucket}.", "://", 1) or None


def client_of(settings: S3Settings, key: str, secret: str) -> object:
    """A client of boto3 with the settings of a destination.  Raises Misconfigured without boto3."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise Misconfigured(
            f"boto3 is not installed on this node: `{sys.prefix}/bin/pip install boto3`"
        ) from None
    proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
    config = Config(
        s3={"addressing_style": "path" if settings.pathStyle else "virtual"},
        connect_timeout=settings.connectTimeout,
        read_timeout=settings.requestTimeout,
        retries={"total_max_attempts": 1},
        proxies=proxies,
        # stores other than Amazon's refuse the checksums that boto3 adds by default
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=_endpoint(settings),
        region_name=settings.region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        verify=settings.ca or None,
        config=config,
    )


@contextmanager
def asking(settings: S3Settings, doing: str) -> Iterator[None]:
    """Translate the errors of boto3."""
    from botocore.exceptions import BotoCoreError, ClientError, SSLError

    try:
        yield
    except ClientError as error:
        raise _translated(error.response, settings, doing) from error
    except BotoCoreError as error:
        is_tls = isinstance(error, SSLError)
        text = tls_problem(str(error)) if is_tls else " ".join(str(error).split())[:300]
        answer = Answer(None, "Tls" if is_tls else "", text)
        raise problem(answer, settings, doing) from error


def _translated(response: Any, settings: S3Settings, doing: str) -> HaulbackError:
    told, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    status, code = meta.get("HTTPStatusCode"), str(told.get("Code", ""))
    if code == "PreconditionFailed":
        return Conflict(f"{doing}: the name exists already")
    if code in ("ConditionalRequestConflict", "OperationAborted"):
        return Unavailable(
            f"{doing} failed: another request changed the object at the same time; try again"
        )
    headers = meta.get("HTTPHeaders", {})
    pause = pause_of(headers.get("retry-after"), headers.get("date"))
    answer = Answer(status, code, str(told.get("Message", ""))[:300])
    return problem(answer, settings, doing, pause)
