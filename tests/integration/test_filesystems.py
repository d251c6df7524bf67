"""File systems made by their own tools and kernels are read to the last byte."""

import hashlib
import io
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import tarfile

import pytest

from haulback.errors import Unsupported
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import EntryType
from haulback.units import GIB, MIB
from tests import volumes
from tests.hosts import needs_guest
from tests.linux import filled_by_linux, needs_drivers
from tests.unit.filesystems.test_archive import Torn, named, unpacked
from tests.volumes import browser, described, empty, ext, filled, listed, run, tool


@pytest.fixture(scope="module")
def unix(tmp_path_factory):
    return volumes.unix_tree(tmp_path_factory.mktemp("unix") / "tree")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return volumes.plain_tree(tmp_path_factory.mktemp("plain") / "tree")


def whole_seconds(found):
    """Times rounded to seconds, as in old inodes and by mke2fs."""
    return {
        path: (kind, size, None if time is None else time // 1000 * 1000, *rest)
        for path, (kind, size, time, *rest) in found.items()
    }


def same_bytes(browser, volume, tree, most=64 * MIB):
    """Compare every file below `tree` with the volume; of a huge file only the end."""
    for path, (kind, size, *_) in described(tree).items():
        if kind != stat.S_IFREG:
            continue
        with open(os.fspath(tree) + path, "rb") as file:
            if size > most:
                file.seek(size - MIB)
                assert browser.read(volume, path, size - MIB, 2 * MIB) == file.read(), path
                assert browser.read(volume, path, 1 * GIB, MIB) == bytes(MIB)
            else:
                theirs = hashlib.file_digest(file, "sha256").digest()
                ours = hashlib.sha256(b"".join(browser.stream(volume, path))).digest()
                assert ours == theirs, path


EXT = {
    "ext4": ("-t", "ext4"),
    "ext4 with blocks of 1 KiB and short inodes": ("-t", "ext4", "-b", "1024", "-I", "128"),
    "ext4 with data in inodes": ("-t", "ext4", "-O", "inline_data,64bit,metadata_csum"),
    "ext4 with groups apart": ("-t", "ext4", "-O", "meta_bg,^resize_inode,^flex_bg", "-b", "1024"),
    "ext4 with encryption allowed": ("-t", "ext4", "-O", "encrypt,large_dir,ea_inode"),
    "ext4 with clusters": ("-t", "ext4", "-O", "bigalloc", "-C", "16384"),
    "ext3": ("-t", "ext3"),
    "ext2": ("-t", "ext2", "-b", "1024"),
}


@pytest.mark.parametrize("options", EXT.values(), ids=EXT)
def test_an_ext_filled_by_the_kernel_is_read_as_it_is(options, tmp_path, unix):
    tool("mke2fs")
    image = empty(tmp_path / "image", 200 * MIB)
    run("mke2fs", "-q", "-F", "-L", "data", *options, image)
    filled(image, unix, tmp_path / "mount")
    with browser(image) as result:
        (volume,) = result.volumes()
        assert (volume.name, volume.type, volume.label) == ("vda", options[1], "data")
        theirs, ours = described(unix), listed(result, "vda")
        if "128" in options:
            theirs, ours = whole_seconds(theirs), whole_seconds(ours)
            theirs.pop("/future"), ours.pop("/future")
        assert ours == theirs
        same_bytes(result, "vda", unix)


def test_an_ext4_filled_by_mke2fs_is_read_as_it_is(tmp_path, unix):
    with browser(ext(tmp_path / "image", unix, "-t", "ext4", size=200 * MIB)) as found:
        theirs, ours = whole_seconds(described(unix)), whole_seconds(listed(found, "vda"))
        theirs.pop("/future"), ours.pop("/future")
        assert ours == theirs
        same_bytes(found, "vda", unix)


@pytest.mark.parametrize(
    "options",
    [("-t", "ext4"), ("-t", "ext3"), ("-t", "ext4", "-O", "^metadata_csum"), ("-b", "1024")],
    ids=" ".join,
)
def test_an_ext_caught_in_use_is_read_as_mounting_would_show_it(options, tmp_path, unix):
    tool("mke2fs")
    image, caught = empty(tmp_path / "image", 200 * MIB), tmp_path / "caught"
    run("mke2fs", "-q", "-F", "-J", "size=8", *options, image)
    with volumes.mounted(image, tmp_path / "mount") as root:
        for number in range(40):  # more data than the journal holds
            folder = root / f"folder{number}"
            run("cp", "-a", unix / "d0", folder)
            for item in range(200):
                (folder / f"file{item}").write_bytes(b"%d" % number * 100)
            (folder / "file7").unlink()
            if number % 3 == 0:
                shutil.rmtree(folder)
            committed(root)
        run("cp", "--sparse=always", image, caught)
    assert b"needs_recovery" in subprocess.check_output(["/usr/sbin/dumpe2fs", "-h", caught])
    with browser(caught) as result:
        ours = listed(result, "vda")
        read = {path: result.read("vda", path, 0, MIB) for path in ours if "/file" in path}
    with volumes.mounted(caught, tmp_path / "mount") as root:
        theirs = described(root)
        theirs.pop("/lost+found")
        assert ours == theirs
        assert read == {path: (root / path[1:]).read_bytes() for path in read}


def committed(root):
    """Leave committed changes only in the journal, not in their final places."""
    handle = os.open(root, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


XFS = {
    "as mkfs makes it": (),
    "with small blocks and large directories": ("-b", "size=1024", "-n", "size=8192"),
    "with 64-bit counters": ("-i", "nrext64=1"),
}


@pytest.mark.parametrize("options", XFS.values(), ids=XFS)
def test_an_xfs_filled_by_the_kernel_is_read_as_it_is(options, tmp_path, unix):
    tool("mkfs.xfs")
    image = empty(tmp_path / "image", 330 * MIB)
    done = subprocess.run(
        ["/usr/sbin/mkfs.xfs", "-q", "-L", "data", *options, image],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this mkfs.xfs does not know these options")
    filled(image, unix, tmp_path / "mount")
    with browser(image) as result:
        (volume,) = result.volumes()
        assert (volume.type, volume.label) == ("xfs", "data")
        assert listed(result, "vda") == described(unix)
        same_bytes(result, "vda", unix)


def test_an_xfs_says_when_its_log_holds_what_stands_nowhere_else(tmp_path):
    tool("mkfs.xfs")
    image, caught = empty(tmp_path / "image", 330 * MIB), tmp_path / "caught"
    run("mkfs.xfs", "-q", image)
    said = [reason(image)]
    with volumes.mounted(image, tmp_path / "mount") as root:
        for round_ in range(2):
            for number in range(50):
                (root / f"file{round_}-{number}").write_bytes(b"x" * 100)
            committed(root)
            run("cp", "--sparse=always", image, caught)
            said.append(reason(caught))
            run("xfs_freeze", "-f", root)
            run("cp", "--sparse=always", image, caught)
            run("xfs_freeze", "-u", root)
            said.append(reason(caught))
    said.append(reason(image))
    assert [bool(item) for item in said] == [False, True, False, True, False, False]
    assert "the latest changes may be missing" in said[1]


def reason(image):
    """The warning about the only volume of an image; the volume is readable."""
    with browser(image) as found:
        (volume,) = found.volumes()
        assert volume.readable
        found.listing("vda", "/")
    return volume.reason


def test_damage_in_an_xfs_is_named_and_the_rest_delivered(tmp_path):
    tool("mkfs.xfs")
    tree = tmp_path / "tree"
    (tree / "f" / "sub").mkdir(parents=True)
    whole = random.Random(2).randbytes(3 * MIB)
    (tree / "f" / "big").write_bytes(whole)
    for number in range(400):
        (tree / "f" / "sub" / f"{number:03d}{'n' * 50}").touch()
    (tree / "f" / "zulu").write_bytes(b"Z" * 5000)
    (tree / "f" / "inode").write_bytes(b"I" * 7777)
    image = empty(tmp_path / "image", 330 * MIB)
    run("mkfs.xfs", "-q", image)
    raw = bytearray(filled(image, tree, tmp_path / "mount").read_bytes())
    low = raw.index(whole[MIB : MIB + 64])
    data = [at for at in range(0, len(raw), 4096) if raw[at : at + 4] == b"XDD3"]
    raw[data[-1] : data[-1] + 4] = bytes(4)
    raw[data[0] + 100] ^= 1  # a letter of a name
    inodes = [at for at in range(0, len(raw), 512) if raw[at : at + 2] == b"IN"]
    [inode] = [at for at in inodes if raw[at + 56 : at + 64] == (7777).to_bytes(8, "big")]
    raw[inode + 47] ^= 1  # the time of the last change
    with Browser({"vda": Torn(bytes(raw), (low, low + 1))}) as result:
        members = unpacked(result.archive("vda", ["/f"]))
    said = named(members)
    assert set(said) == {"/f/big", "/f/inode", "/f/sub"}
    assert "the checksum of its inode differs" in said["/f/inode"]
    assert "the checksum of a block" in said["/f/sub"]
    assert f"damaged from byte {MIB} of {3 * MIB}" in said["/f/big"]
    assert members["f/big"] == whole[:MIB] + bytes(2 * MIB)
    assert "the folder could not be listed completely" in said["/f/sub"]
    assert members["f/zulu"] == b"Z" * 5000
    assert 300 < len([name for name in members if name.startswith("f/sub/")]) < 400


def test_an_xfs_of_version_4_is_read_as_mkfs_fills_it(tmp_path):
    tool("mkfs.xfs")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3_000_000))
    many = "\n".join(f"file-{number:05d} ---640 7 8 {tmp_path / 'empty'}" for number in range(1500))
    (tmp_path / "empty").touch()
    files = (
        f"big ---644 0 0 {big}\nlink l--777 0 0 big\nmany d--755 0 0\n{many}\n$\nlast d--700 0 0\n$"
    )
    (tmp_path / "proto").write_text(f"/dev/null\n0 0\nd--755 0 0\n{files}\n$\n")
    old = "crc=0,finobt=0,reflink=0,rmapbt=0,bigtime=0,inobtcount=0"
    image = empty(tmp_path / "image", 330 * MIB)
    run("mkfs.xfs", "-q", "-m", old, "-p", tmp_path / "proto", image)
    with browser(image) as result:
        names = [(item.name, item.type) for item in result.listing("vda", "/")]
        assert names == list(zip(
            ("big", "last", "link", "many"),
            ("REGULAR_FILE", "DIRECTORY", "SYMLINK", "DIRECTORY"), strict=True))  # fmt: skip
        crowd = result.listing("vda", "/many", most=10_000)
        assert len(crowd) == 1500
        assert {(item.mode, item.uid, item.gid) for item in crowd} == {(0o640, 7, 8)}
        assert b"".join(result.stream("vda", "/link")) == big.read_bytes()


@pytest.mark.parametrize(
    ("kind", "size"),
    [("12", 20 * MIB), ("16", 64 * MIB), ("32", 64 * MIB)],
    ids=lambda one: str(one),
)
def test_a_fat_is_read_as_it_is(kind, size, tmp_path, plain):
    options = ["-F", kind, *(["-s", "16"] if kind == "12" else [])]
    with browser(volumes.fat(tmp_path / "image", plain, *options, size=size)) as found:
        (volume,) = found.volumes()
        assert (volume.type, volume.label) == (f"fat{kind}", "LABEL")
        assert listed_by_name(found) == described_by_name(plain)
        same_bytes(found, "vda", plain)


def test_an_empty_exfat_is_read(tmp_path):
    tool("mkfs.exfat")
    run("mkfs.exfat", empty(tmp_path / "image"))
    with browser(tmp_path / "image") as found:
        assert found.volumes()[0].type == "exfat"
        assert found.listing("vda", "/") == []


@needs_guest
@needs_drivers
@pytest.mark.parametrize("size", ["512", "32768"])
def test_an_exfat_filled_by_the_kernel_is_read_as_it_is(size, tmp_path, plain):
    tool("mkfs.exfat")
    image = empty(tmp_path / "image")
    run("mkfs.exfat", "-c", size, "-L", "Größe", image)
    filled_by_linux(tmp_path, image, "exfat", plain)
    with browser(image) as found:
        (volume,) = found.volumes()
        assert (volume.type, volume.label) == ("exfat", "Größe")
        assert listed_by_name(found) == described_by_name(plain)
        same_bytes(found, "vda", plain)


def test_an_ntfs_is_read_as_it_is(tmp_path, plain):
    tool("mkntfs")
    tool("ntfs-3g")
    image = empty(tmp_path / "image", 64 * MIB)
    run("mkntfs", "-q", "-F", "-f", "-L", "Daten", image)
    with volumes.ntfs(image, tmp_path / "mount") as root:
        run("cp", "-a", f"{plain}/.", root)
        (root / "deleted").write_bytes(b"x" * 10_000)
        (root / "deleted").unlink()
    with browser(image) as result:
        (volume,) = result.volumes()
        assert (volume.type, volume.label, volume.reason) == ("ntfs", "Daten", "")
        assert listed(result, "vda", unix=False) == described(plain, unix=False)
        same_bytes(result, "vda", plain)


def reparse(path, tag, data):
    os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", tag, len(data), 0) + data)


def test_what_only_windows_does_is_read_or_refused(tmp_path):
    tool("mkntfs")
    tool("ntfs-3g")
    image = empty(tmp_path / "image", 64 * MIB)
    run("mkntfs", "-q", "-F", "-f", image)
    words = b"line of text, again and again\n" * 40_000
    with volumes.ntfs(image, tmp_path / "mount") as root:
        (root / "folder" / "inner").mkdir(parents=True)
        (root / "packed").mkdir()
        os.setxattr(root / "packed", "system.ntfs_attrib_be", struct.pack(">I", 0x800))
        (root / "packed" / "words").write_bytes(words)
        (root / "link").mkdir()
        name = "folder\\inner".encode("utf-16-le")
        lengths = struct.pack("<HHHHI", 0, len(name), 0, len(name), 1)
        reparse(root / "link", 0xA000000C, lengths + name)
        (root / "unix").symlink_to("folder")
        (root / "compact").write_bytes(b"x")
        reparse(root / "compact", 0x80000017, struct.pack("<IIII", 1, 2, 1, 0))
    with browser(image) as result:
        assert b"".join(result.stream("vda", "/packed/words")) == words
        assert result.entry("vda", "/link").target == "folder/inner"
        assert [item.name for item in result.listing("vda", "/unix")] == ["inner"]
        with pytest.raises(Unsupported, match="0x80000017"):
            result.read("vda", "/compact", 0, 10)


def listed_by_name(found):
    """Entries by name; FAT stores times in steps of two seconds without a time zone."""
    return {path: seen[:2] for path, seen in listed(found, "vda", unix=False).items()}


def described_by_name(tree):
    return {path: seen[:2] for path, seen in described(tree).items()}


def partitioned(path, script, parts):
    """A disk with a partition table by sfdisk; `parts` are (offset in MiB, image)."""
    tool("sfdisk")
    run("sfdisk", "-q", empty(path, 256 * MIB), input=script.encode())
    with open(path, "r+b") as disk:
        for start, image in parts:
            disk.seek(start * MIB)
            disk.write(image.read_bytes())
    return path


GPT = "label: gpt\nstart=1MiB,size=8MiB\nstart=16MiB,size=64MiB\nstart=96MiB,size=64MiB\n"
MBR = (
    "label: dos\nstart=1MiB,size=8MiB,type=83\nstart=16MiB,size=230MiB,type=5\n"
    "start=17MiB,size=64MiB,type=83\nstart=96MiB,size=64MiB,type=c\n"
)


@pytest.mark.parametrize(
    ("script", "first", "names"),
    [(GPT, 16, ("vda1", "vda2", "vda3")), (MBR, 17, ("vda1", "vda5", "vda6"))],
    ids=["GPT", "MBR with logical partitions"],
)
def test_partitions_are_volumes(script, first, names, tmp_path, plain):
    parts = [(first, ext(tmp_path / "ext", plain)), (96, volumes.fat(tmp_path / "fat", plain))]
    with browser(partitioned(tmp_path / "disk", script, parts)) as found:
        seen = [(one.name, one.type, one.readable) for one in found.volumes()]
        types = ("unknown", "ext2", "fat16")
        assert seen == list(zip(names, types, (False, True, True), strict=True))
        for name in names[1:]:
            assert found.read(name, "/small", 0, 100) == b"hello\n"
            assert len(found.listing(name, "/many")) == 300


def test_a_disk_whose_first_gpt_is_gone_is_read_by_its_spare(tmp_path, plain):
    disk = partitioned(tmp_path / "disk", GPT, [(16, ext(tmp_path / "ext", plain))])
    with open(disk, "r+b") as file:
        file.seek(512)
        file.write(bytes(512 * 33))
    with browser(disk) as found:
        assert found.read("vda2", "/small", 0, 100) == b"hello\n"


class Lvm:
    """Two physical volumes on loop devices, changed without the device mapper."""

    def __init__(self, folder):
        tool("lvm")
        self.images = [empty(folder / f"pv{number}") for number in (0, 1)]
        if os.getuid() or not os.path.exists("/dev/loop-control"):
            pytest.skip("loop devices cannot be made here")
        self.devices = [run("losetup", "-f", "--show", one).strip() for one in self.images]
        only = ",".join(f'"a|^{device}$|"' for device in self.devices)
        self.config = f'devices{{use_devicesfile=0 filter=[{only},"r|.*|"]}} backup{{backup=0}}'

    def __call__(self, command, *arguments):
        options = ["-q", "--driverloaded", "n", "--config", self.config]
        return run("lvm", command, *options, *arguments)

    def close(self):
        for device in self.devices:
            run("losetup", "-d", device)

    def fill(self, name, image):
        """Write an image to the place that `lvs` reports for the volume."""
        told = self("lvs", "--noheadings", "--segments", "-o", "seg_pe_ranges,stripesize",
                    "--units", "b", "--nosuffix", f"vg0/{name}")  # fmt: skip
        data = io.BytesIO(image.read_bytes())
        for line in told.splitlines():
            ranges = re.findall(r"(/dev/loop\d+):(\d+)-(\d+)", line)
            stripe = int(line.split()[-1]) or 1 << 40
            self.write(data, ranges, stripe)

    def write(self, data, ranges, stripe):
        size = (int(ranges[0][2]) - int(ranges[0][1]) + 1) * MIB
        for row in range(0, size, min(stripe, size)):
            for device, first, _ in ranges:
                with open(self.images[self.devices.index(device)], "r+b") as file:
                    file.seek(MIB + int(first) * MIB + row)
                    file.write(data.read(min(stripe, size)))


def test_logical_volumes_linear_and_striped_are_read(tmp_path, plain):
    lvm = Lvm(tmp_path)
    try:
        lvm("pvcreate", "--dataalignment", "1m", *lvm.devices)
        lvm("vgcreate", "-s", "1M", "vg0", *lvm.devices)
        for name, *options in (
            ("root", "-L", "24M"),
            ("striped", "-i", "2", "-I", "16k", "-L", "24M"),
            ("joined", "-L", "60M"),
        ):
            lvm("lvcreate", "-an", "-Zn", "-Wn", *options, "-n", name, "vg0")
            size = int(options[-1][:-1]) * MIB
            lvm.fill(name, ext(tmp_path / name, plain, "-t", "ext4", "-b", "1024", size=size))
    finally:
        lvm.close()
    with browser(*lvm.images) as result:
        seen = {volume.name: (volume.type, set(volume.disks)) for volume in result.volumes()}
        assert seen == {
            "vg0/root": ("ext4", {"vda"}),
            "vg0/striped": ("ext4", {"vda", "vdb"}),
            "vg0/joined": ("ext4", {"vda", "vdb"}),
        }
        for name in seen:
            same_bytes(result, name, plain)
    with browser(*lvm.images, *lvm.images) as result:  # a copy of the group beside it
        copies = {volume.name: set(volume.disks) for volume in result.volumes()}
        assert copies["vg0/joined"] == {"vda", "vdb"}
        assert copies["vg0/joined~2"] == {"vdc", "vdd"}
        assert result.read("vg0/striped~2", "/small", 0, 10) == b"hello\n"
    with browser(lvm.images[0]) as result:
        missing = {volume.name: volume.reason for volume in result.volumes() if not volume.readable}
        assert set(missing) == {"vg0/striped", "vg0/joined"}
        assert "not among the disks" in missing["vg0/joined"]
        assert result.read("vg0/root", "/small", 0, 10) == b"hello\n"


def test_space_that_was_reserved_and_not_written_is_zeros(tmp_path):
    tool("mke2fs")
    image = empty(tmp_path / "image")
    with open(image, "wb") as file:
        file.write(b"secret" * (64 * MIB // 6))
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    with volumes.mounted(image, tmp_path / "mount") as root:
        run("fallocate", "-l", 20 * MIB, root / "reserved")
        with open(root / "reserved", "r+b") as file:
            file.seek(7 * MIB)
            file.write(b"written")
    with browser(image) as result:
        data = b"".join(result.stream("vda", "/reserved"))
    assert data == bytes(7 * MIB) + b"written" + bytes(13 * MIB - 7)


def test_a_tar_of_directories_unpacks_to_what_they_hold(tmp_path, unix):
    tree = tmp_path / "tree"
    shutil.copytree(unix, tree, symlinks=True, ignore=shutil.ignore_patterns("huge", "fifo"))
    with browser(ext(tmp_path / "image", tree, "-t", "ext4", size=128 * MIB)) as result:
        wanted = ["/d0", "/many", "/slow", "/" + os.fsdecode(b"caf\xe9"), "/fragments"]
        packed = b"".join(result.archive("vda", wanted))
        everything = b"".join(result.archive("vda", ["/"]))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "out"], input=packed, check=True)
    theirs = {path: seen for path, seen in described(tree).items() if path.split("/")[1] in
              [item[1:] for item in wanted]}  # fmt: skip
    assert whole_seconds(described(tmp_path / "out")) == whole_seconds(theirs)
    with tarfile.open(fileobj=io.BytesIO(everything)) as tar:
        names = tar.getnames()
    assert "./d0/d1" in names
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/")]


def test_types_tell_links_that_lead_nowhere(tmp_path, unix):
    with browser(ext(tmp_path / "image", unix, "-t", "ext4", size=200 * MIB)) as found:
        assert found.entry("vda", "/fast").type is EntryType.SYMLINK
        assert found.entry("vda", "/slow").type is EntryType.SYMLINK
        assert found.entry("vda", "/broken").type is EntryType.BROKEN_SYMLINK
        assert [one.name for one in found.listing("vda", "/way")] == ["d2"]
        assert found.read("vda", "/way/../small".replace("way/../", ""), 0, 5) == b"hello"
