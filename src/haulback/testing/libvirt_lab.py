"""Real libvirt hosts for tests: several on one machine, each in separate Linux namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

try:
    import libvirt
except ImportError:
    libvirt = None
_LIBVIRTD = """unix_sock_dir = "{folder}/sock"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "{uuid}"
log_outputs = "2:file:{folder}/log/libvirtd.log"
"""
_QEMU = """user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
_BINDS = {
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "etc": "/etc/libvirt",
}
_CAPABILITIES = Path("cache", "qemu", "capabilities")
# Files in which libvirtd stores its findings about QEMU, which take five seconds; later labs of
# this process get copies.
_probed: dict[str, bytes] = {}


def missing() -> str | None:
    """Missing requirement of a lab; None when a lab can run on this machine."""
    if os.geteuid() != 0:
        return "root"
    if libvirt is None:
        return "libvirt's binding (pip install 'haulback[libvirt]')"
    programs = ("libvirtd", "qemu-system-x86_64", "qemu-img", "unshare")
    return next((one for one in programs if not shutil.which(one)), None)


class LibvirtLab:
    """A libvirtd whose whole state is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.storage = folder, folder / "images"
        for name in (*_BINDS, "sock", "images", "work"):
            (folder / name).mkdir(parents=True)
        (folder / "etc" / "libvirtd.conf").write_text(
            _LIBVIRTD.format(folder=folder, uuid=uuid.uuid4())
        )
        (folder / "etc" / "qemu.conf").write_text(_QEMU)
        (folder / _CAPABILITIES).mkdir(parents=True)
        for name, content in _probed.items():
            (folder / _CAPABILITIES / name).write_bytes(content)
        self.uri = f"qemu+unix:///system?socket={folder}/sock/libvirt-sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.connection: Any = None

    def start(self) -> None:
        binds = [f"mkdir -p {at}; mount --bind {self.folder}/{n} {at}" for n, at in _BINDS.items()]
        script = f"hostname {self.folder.name}.test; {'; '.join(binds)}; exec libvirtd -p $0"
        self._process = subprocess.Popen(
            [
                "unshare",
                "-m",
                "-u",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                f"{self.folder}/pid",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        libvirt.registerErrorHandler(lambda _, __: None, None)
        end = time.monotonic() + 60
        while True:
            try:
                self.connection = libvirt.open(self.uri)
                return
            except libvirt.libvirtError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    @property
    def process_id(self) -> int:
        """Process id of libvirtd, which runs in the host's namespaces."""
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        """Kill libvirtd; machines keep running."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def pid(self, name: str) -> int:
        """Process id of the QEMU of a machine."""
        return int((self.folder / "run" / "qemu" / f"{name}.pid").read_text())

    def node(self, machine: str, device: str) -> str:
        """QEMU's block node name of the image behind a disk."""
        root = ElementTree.fromstring(self.connection.lookupByUUIDString(machine).XMLDesc(0))
        source = root.find(f"devices/disk/target[@dev='{device}']/../source")
        assert source is not None
        return f"libvirt-{source.get('index')}-format"

    def until(self, what: Any, seconds: float = 30) -> None:
        """Wait until the condition `what` is true; fails after `seconds`."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end
            time.sleep(0.02)

    def clear(self) -> None:
        """Remove all machines and images."""
        for domain in self.connection.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
        for folder in (self.storage, self.folder / "work"):
            shutil.rmtree(folder)
            folder.mkdir()

    def close(self) -> None:
        for file in (self.folder / _CAPABILITIES).iterdir():
            _probed[file.name] = file.read_bytes()
        self.clear()
        self.connection.close()
        assert self._process
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def lab(folder: Path) -> Iterator[LibvirtLab]:
    """Run a libvirt host for the duration of the block."""
    made = LibvirtLab(folder)
    made.start()
    try:
        yield made
    finally:
        made.close()
