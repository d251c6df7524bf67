"""A Linux kernel in a virtual machine, for file systems without a driver in this machine's
kernel.
"""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from haulback.testing.guest import PARTS

MODULES = PARTS / "modules"
_SECONDS = 300
_INIT = """#!/bin/sh
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do insmod "$module"; done
for module in nls_utf8 nls_cp437 nls_cp850 nls_cp866 nls_cp932 fat vfat exfat; do
  insmod "/drivers/$module.ko"
done
tries=0
while [ ! -b /dev/vdLAST ] && [ "$tries" -lt 200 ]; do sleep 0.1; tries=$((tries + 1)); done
WORK
echo ALL-DONE
poweroff -f
"""
_SHOW = """mount -t TYPE -o ro,OPTIONS /dev/vdFROM /mnt &&
  { tar -C /mnt -cf /dev/vdTO . ; umount /mnt; } || echo NOT-DONE"""
_FILL = "mount -t TYPE /dev/vda /mnt && tar -C /mnt -xf /dev/vdb && umount /mnt || echo NOT-DONE"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def missing():
    """The missing requirement for running a kernel; None when a kernel can run."""
    there = (PARTS / "vmlinuz").exists() and list(MODULES.glob("*.ko"))
    return None if there else f"a guest with drivers in {PARTS} (scripts/guest builds it)"


needs_drivers = pytest.mark.skipif(bool(missing()), reason=str(missing()))


def shown_by_linux(folder, images):
    """The files that a kernel in a virtual machine shows of images: contents by name for each
    image.

    `images` are (path, type, mount options).  Contents are a list per name, because a name may
    occur several times; directories have None as contents.
    """
    steps, disks = [], []
    for number, (image, type_, options) in enumerate(images):
        out = Path(folder) / f"shown{number}"
        with open(out, "wb") as file:
            file.truncate(2 * Path(image).stat().st_size + (64 << 20))
        step = _SHOW.replace("TYPE", type_).replace("OPTIONS", options)
        source, target = _LETTERS[2 * number], _LETTERS[2 * number + 1]
        steps.append(step.replace("FROM", source).replace("TO", target))
        disks += [(image, "on"), (out, "off")]
    _boot(folder, disks, steps)
    return [_read(path) for path, read_only in disks if read_only == "off"]


def filled_by_linux(folder, image, type_, tree):
    """An image that a kernel in a virtual machine fills with the files of a folder."""
    packed = Path(folder) / "files"
    with tarfile.open(packed, "w") as tar:
        tar.add(tree, ".")
    _boot(folder, [(image, "off"), (packed, "on")], [_FILL.replace("TYPE", type_)])
    return image


def _boot(folder, disks, steps):
    """Run a shell script in a virtual machine with disks, each (path, on or off)."""
    init = _INIT.replace("WORK", "\n".join(steps)).replace("LAST", _LETTERS[len(disks) - 1])
    initrd = Path(folder) / "initrd"
    drivers = {f"drivers/{item.name}": item.read_bytes() for item in MODULES.iterdir()}
    initrd.write_bytes((PARTS / "initrd").read_bytes() + _packed({"init": init.encode()} | drivers))
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "384", "-nographic", "-no-reboot"]
    command += ["-kernel", PARTS / "vmlinuz", "-initrd", initrd]
    command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]
    for path, read_only in disks:
        command += ["-drive", f"if=virtio,format=raw,file={path},read-only={read_only}"]
    done = subprocess.run(
        command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    said = done.stdout[-2000:] + done.stderr[-2000:]
    assert b"ALL-DONE" in done.stdout, said
    assert b"NOT-DONE" not in done.stdout, said


def _read(path):
    found = {}
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        for one in tar:
            name = one.name.removeprefix("./")
            data = tar.extractfile(one).read() if one.isfile() else None
            found.setdefault(name, []).append(data)
    path.unlink()
    return found


def _packed(files):
    """An archive that a kernel unpacks over the previous archive."""
    made = io.BytesIO()
    for name, data in {"drivers": None, **files, "TRAILER!!!": b""}.items():
        mode = 0o40755 if data is None else 0o100755
        raw, data = name.encode() + b"\0", data or b""
        numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % one for one in numbers) + raw
        made.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
    return gzip.compress(made.getvalue(), 1)
