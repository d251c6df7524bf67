"""The S3 server of this test process, started at the first use."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from haulback.contract.destination_types import S3Settings
from haulback.testing.s3_server import ADMIN, S3Server

_numbers = itertools.count(1)


@cache
def server() -> S3Server:
    """The running server; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="haulback-s3-"))
    made = S3Server(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(made.kill)
    made.start()
    return made


@cache
def administrator() -> Any:
    """A client with all rights, for checks from outside."""
    return boto3.client(
        "s3",
        endpoint_url=server().endpoint,
        aws_access_key_id=ADMIN.key_id,
        aws_secret_access_key=ADMIN.secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def new_bucket(**more: Any) -> str:
    """The name of a new, empty bucket."""
    name = f"bucket-{next(_numbers)}"
    administrator().create_bucket(Bucket=name, **more)
    return name


def config_of(bucket: str, **more: Any) -> dict[str, Any]:
    """Settings of a destination in a bucket, as a request gives them."""
    keys = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
    place = {"endpoint": server().endpoint, "bucket": bucket, "listingDelay": 0}
    return {**place, **keys, **more}


def settings_of(bucket: str, **more: Any) -> S3Settings:
    """Settings of a destination in a bucket, as the driver takes them."""
    return S3Settings(**config_of(bucket, **more))
