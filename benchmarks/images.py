"""The images of the benchmarks: two disks with different contents, each with a later state.

`programs` holds this machine's own files and changes mostly in hot regions.  `generated` holds
random trees of text and records besides incompressible data, and changes in single 64 KiB blocks
all over the disk.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from haulback.drivers.source import Extent
from haulback.units import KIB, MIB

BLOCK, PAGE = 64 * KIB, 4 * KIB
_CHANGED = 0.03  # share of the 64 KiB blocks of a disk
_FULL = 0.75  # share of the bytes of a disk


class Images(NamedTuple):
    """A disk, its later state, and the extents in which they differ."""

    before: Path
    after: Path
    changes: list[Extent]


class Content(NamedTuple):
    """The functions that create a tree of at most some bytes, and that change an image."""

    tree: Callable[[Path, int], None]
    writes: Callable[[int, random.Random], Iterator[tuple[int, bytes]]]


def made(folder: Path, content: str, size: int) -> Images:
    """The images of a content in `folder`, created unless they exist."""
    maker = (CONTENTS | MORE_CHANGES)[content]
    before, after = folder / "before.raw", folder / "after.raw"
    if not after.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _image(folder, maker, size).replace(before)
        _changed(before, folder / "part.raw", maker).replace(after)
    return Images(before, after, differences(before, after))


def differences(before: Path, after: Path) -> list[Extent]:
    """The 64 KiB blocks in which two images of one size differ."""
    result, at = list[Extent](), 0
    with open(before, "rb") as a, open(after, "rb") as b:
        while block := a.read(BLOCK):
            if block != b.read(BLOCK):
                result.append(Extent(at, len(block)))
            at += BLOCK
    return result


def copy(source: Path, target: Path) -> None:
    """A sparse copy."""
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def _image(folder: Path, maker: Content, size: int) -> Path:
    tree, image = folder / "tree", folder / "part.raw"
    maker.tree(tree, int(size * _FULL))
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-qFt", "ext4", "-i", "8192", "-d", tree, image], check=True)
    shutil.rmtree(tree)
    return image


def _changed(image: Path, target: Path, maker: Content) -> Path:
    copy(image, target)
    size, touched = image.stat().st_size, set[int]()
    with open(target, "r+b") as file:
        for at, data in maker.writes(size, random.Random(3)):
            if at + len(data) <= size:
                file.seek(at)
                file.write(data)
                touched.update(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))
            if len(touched) >= size // BLOCK * _CHANGED:
                break
    return target


def _programs(tree: Path, size: int) -> None:
    """Copies of this machine's files."""
    copied = 0
    for folder in ("/usr/lib", "/usr/share", "/usr/bin"):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            taken = -(-path.stat().st_size // PAGE) * PAGE
            if copied + taken > size:
                continue
            target = tree / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            copied += taken


def _hot_writes(size: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """Writes of 4 to 64 KiB of random data, at the offsets where a live machine writes."""
    for at in _hot_places(size, chance):
        yield at, chance.randbytes(chance.randint(1, 16) * PAGE)


def _hot_places(size: int, chance: random.Random) -> Iterator[int]:
    """Offsets of writes: 60 % of them in 24 hot regions."""
    pages = size // PAGE
    hot = [chance.randrange(pages) for _ in range(24)]
    while True:
        near = chance.choice(hot) + chance.randrange(1024)
        yield (near if chance.random() < 0.6 else chance.randrange(pages)) * PAGE


def _updates(size: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """Writes of 4 to 64 KiB at the same places, of this machine's files, as an update writes them;
    the files come from the end of the list from which the disk was filled.
    """
    files = sorted(path for path in Path("/usr").glob("*/**/*") if path.is_file())[::-1]
    files = [path for path in files if not path.is_symlink() and path.stat().st_size >= 64 * KIB]
    for at in _hot_places(size, chance):
        data = chance.choice(files[: len(files) // 4]).read_bytes()
        count = chance.randint(1, 16) * PAGE
        begin = chance.randrange(len(data) - count + 1)
        yield at, data[begin : begin + count]


def _generated(tree: Path, size: int) -> None:
    """Random trees: two fifths random data, two fifths text, a fifth records; all lengths."""
    chance, written, folder = random.Random(7), 0, tree
    vocabulary = _vocabulary(chance)
    for number in range(1 << 30):
        if number % 40 == 0:
            parts = [f"d{chance.randrange(12)}" for _ in range(chance.randint(1, 6))]
            folder = tree.joinpath(*parts)
            folder.mkdir(parents=True, exist_ok=True)
        length = min(int(chance.lognormvariate(10, 2)), 16 * MIB)
        taken = -(-length // PAGE) * PAGE
        if written + taken > size:
            return
        data = _data(chance, length, *vocabulary)
        (folder / f"file{number}").write_bytes(data)
        written += taken


def _vocabulary(chance: random.Random) -> tuple[list[str], list[float]]:
    """Words, and the cumulated weights with which a text uses them."""
    words = [chance.randbytes(chance.randint(1, 5)).hex() for _ in range(5000)]
    return words, list(accumulate(1 / (rank + 3) for rank in range(len(words))))


def _data(chance: random.Random, length: int, words: list[str], weights: list[float]) -> bytes:
    kind = chance.randrange(5)
    if kind < 2:
        return chance.randbytes(length)
    count = length // 6 + 1
    if kind < 4:
        return " ".join(chance.choices(words, cum_weights=weights, k=count)).encode()[:length]
    rows = (
        f'{{"id":{chance.getrandbits(40)},"at":{1.7e9 + row},"state":"{words[row % 9]}"}}\n'
        for row in range(length // 40 + 1)
    )
    return "".join(rows).encode()[:length]


def _scattered_writes(size: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """Whole blocks of 64 KiB anywhere on the disk, with the same kinds of data as the disk."""
    vocabulary = _vocabulary(chance)
    while True:
        yield chance.randrange(size // BLOCK) * BLOCK, _data(chance, BLOCK, *vocabulary)


CONTENTS = {
    "programs": Content(_programs, _hot_writes),
    "generated": Content(_generated, _scattered_writes),
}
# Changes of another kind, of which only the growth is measured.
MORE_CHANGES = {"updates": Content(_programs, _updates)}
