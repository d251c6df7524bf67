"""Staged files of a backup are published on the destination, each at most once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.destinations.pass_through import parallelism_of
from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.pack import name_of


def pack_of(file: str) -> bytes:
    """The id of a pack in a staging folder, by the name of its file."""
    return bytes.fromhex(Path(file).stem)


def publish_packs(
    destination: ObjectStore, files: Sequence[Path], *, are_needed: bool = True
) -> None:
    """Publish packs, as many at once as the store accepts.  Raises Damaged for a needed pack
    that is neither in staging nor stored.
    """

    def publish(path: Path) -> None:
        if not publish_file(destination, path, name_of(pack_of(path.name))) and are_needed:
            raise Damaged(
                f"{path} disappeared from staging before its backup was published; back up again"
            )

    most = min(parallelism_of(destination), len(files))
    if most <= 1:
        for path in files:
            publish(path)
        return
    with ThreadPoolExecutor(most) as pool:
        try:
            for _ in pool.map(publish, files):
                continue
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def publish_file(destination: ObjectStore, path: Path, name: str) -> bool:
    """Whether the object is stored: moved now, or by an earlier attempt."""
    if path.exists():
        destination.adopt(name, path)
        return True
    try:
        destination.info(name)
    except NotFound:
        return False
    return True
