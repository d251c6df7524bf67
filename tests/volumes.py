"""Disks with file systems, made by the tools and kernels that own the formats."""

import os
import random
import shutil
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from haulback.drivers.source import RawImage
from haulback.filesystems.browser import Browser
from haulback.units import GIB, MIB

needs_ext = pytest.mark.skipif(not shutil.which("mke2fs"), reason="e2fsprogs is not installed")


def tool(name):
    """Skip the test when a tool is missing."""
    if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        pytest.skip(f"{name} is not installed")
    return name


def run(*command, **more):
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    words = [os.fspath(word) if not isinstance(word, int) else str(word) for word in command]
    done = subprocess.run(words, capture_output=True, env=environment, check=False, **more)
    assert not done.returncode, done.stderr
    return done.stdout.decode()


def empty(path, size=64 * MIB):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def browser(*images, **more):
    """A browser of images as disks vda, vdb, ..."""
    disks = {f"vd{chr(97 + number)}": RawImage(image) for number, image in enumerate(images)}
    return Browser(disks, **more)


def plain_tree(root):
    """Files and directories that any file system supports."""
    chance = random.Random(5)
    root.mkdir(parents=True)
    (root / "empty").touch()
    (root / "small").write_bytes(b"hello\n")
    (root / "of 60").write_bytes(b"i" * 60)
    (root / "of 140").write_bytes(b"j" * 140)
    (root / "of 700").write_bytes(b"k" * 700)
    (root / "big").write_bytes(chance.randbytes(5_000_001))
    (root / "grün 日本.txt").write_bytes(b"unicode")
    (root / "many").mkdir()
    for number in range(300):
        (root / "many" / f"file-{number:05d} with a longish name").write_bytes(b"%d" % number)
    deep = root
    for number in range(40):
        deep = deep / f"d{number}"
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"leaf")
    os.utime(root / "small", (1_700_000_000, 1_700_000_000.25))
    return root


def unix_tree(root):
    """The plain tree, and files that only UNIX file systems support."""
    plain_tree(root)
    for number in range(300, 5000):
        (root / "many" / f"file-{number:05d} with a longish name").touch()
    with open(root / "sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(b"x" * 5000)
        file.truncate(9_000_000)
    with open(root / "huge", "wb") as file:
        file.seek(5 * GIB)
        file.write(b"the end of it")
    with open(root / "fragments", "wb") as file:
        for number in range(1500):
            file.seek(number * 3 * 4096)
            file.write(bytes([number % 251]) * 4096)
    (root / "fast").symlink_to("small")
    (root / "slow").symlink_to("d0/../" * 40 + "small")
    (root / "broken").symlink_to("nowhere")
    (root / "way").symlink_to("/d0/d1")
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    (root / "old").touch()
    os.utime(root / "old", (-86_400, -86_400))
    (root / "future").touch()
    os.utime(root / "future", (4_000_000_000, 4_000_000_000))
    os.mkfifo(root / "fifo")
    os.chmod(root / "small", 0o4641)
    if os.getuid() == 0:
        os.chown(root / "small", 1234, 70_000)
    return root


# The mount has a separate name space: a name space created meanwhile (for a libvirt host) would
# copy the mount, and the file system would stay open after the unmount.
_BY_KERNEL = 'mount -o loop "$0" "$1" || exit 1; echo; read _; sync -f "$1"; umount "$1"'
_BY_NTFS = """ntfs-3g -o compression,special_files=wsl,no_detach "$0" "$1" &
until mountpoint -q "$1"; do kill -0 $! || exit 1; sleep 0.05; done
echo; read _; umount "$1"; wait"""


@contextmanager
def mounted(image, folder, how=_BY_KERNEL):
    """Mount an image privately; skip the test without the permission."""
    folder.mkdir(exist_ok=True)
    apart = ["unshare", "-m", "--propagation", "private", "sh", "-c", how, str(image), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(apart, **pipes) as holder:
        if os.getuid() or not holder.stdout.readline():
            holder.kill()
            pytest.skip("images cannot be mounted here")
        try:
            yield Path(f"/proc/{holder.pid}/root{folder}")
        finally:
            holder.stdin.close()
            assert holder.wait(120) == 0


def ntfs(image, folder):
    """Mount an NTFS in user space, so that files can be written into it."""
    return mounted(image, folder, _BY_NTFS)


def filled(image, tree, folder):
    """A tree copied into an image by the kernel, with some files deleted again."""
    with mounted(image, folder) as root:
        run("cp", "-a", "--sparse=always", f"{tree}/.", root)
        (root / "deleted").write_bytes(b"deleted" * 1000)
        os.sync()
        (root / "deleted").unlink()
    return image


def ext(path, tree, *options, size=64 * MIB):
    """An ext file system filled by mke2fs."""
    tool("mke2fs")
    run("mke2fs", "-q", "-F", "-d", tree, *options, empty(path, size))
    return path


def fat(path, tree, *options, size=64 * MIB):
    tool("mkfs.vfat"), tool("mcopy")
    run("mkfs.vfat", "-n", "LABEL", *options, empty(path, size))
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    files = sorted(tree.iterdir())
    subprocess.run(["mcopy", "-s", "-m", "-i", path, *files, "::"], env=environment, check=True)
    return path


def described(tree, unix=True):
    """The entries below a folder, by path: type bits, size of files, time, mode and ids, target."""
    result = {}
    for folder, folders, files in os.walk(tree):
        for name in folders + files:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            kind = stat.S_IFMT(seen.st_mode)
            target = os.readlink(path) if kind == stat.S_IFLNK else None
            size = seen.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else None
            rights = (seen.st_mode & 0o7777, seen.st_uid, seen.st_gid) if unix else None
            time = seen.st_mtime_ns // 1_000_000 if kind == stat.S_IFREG else None
            result["/" + os.path.relpath(path, tree)] = kind, size, time, rights, target
    return result


_KINDS = {
    "DIRECTORY": stat.S_IFDIR,
    "REGULAR_FILE": stat.S_IFREG,
    "SYMLINK": stat.S_IFLNK,
    "BROKEN_SYMLINK": stat.S_IFLNK,
    "OTHER": stat.S_IFIFO,
}


def listed(browser, volume, path="/", unix=True):
    """The entries of a volume in the form of `described`, without those that mkfs creates."""
    result = {}
    for entry in browser.listing(volume, path, most=10_000):
        place = path.rstrip("/") + "/" + entry.name
        kind = _KINDS[entry.type]
        size = entry.size if kind in (stat.S_IFREG, stat.S_IFLNK) else None
        rights = (entry.mode, entry.uid, entry.gid) if unix else None
        time = entry.modified if kind == stat.S_IFREG else None
        if place == "/lost+found":
            continue
        result[place] = kind, size, time, rights, entry.target
        if kind == stat.S_IFDIR:
            result |= listed(browser, volume, place, unix)
    return result
