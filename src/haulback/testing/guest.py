"""A real guest: it boots, mounts its disk, and runs commands through its guest agent."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from haulback.testing.libvirt_lab import LibvirtLab
from haulback.wire import JsonObject

try:
    import libvirt
    import libvirt_qemu
except ImportError:
    libvirt = libvirt_qemu = None
PARTS = Path(os.environ.get("HAULBACK_GUEST", ".guest")).absolute()
_XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='MiB'>192</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>{parts}/vmlinuz</kernel>
<initrd>{parts}/initrd</initrd><cmdline>console=ttyS0 quiet panic=-1 mitigations=off</cmdline></os>
<features><acpi/></features><cpu mode='custom' match='exact'><model>qemu64</model></cpu>
<on_reboot>destroy</on_reboot><devices>{disks}
<serial type='pty'><log file='{log}' append='off'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<memballoon model='none'/></devices></domain>"""
_DISK = """<disk type='file' device='disk'><driver name='qemu' type='{format}'/>
<source file='{path}'/><target dev='{device}' bus='virtio'/></disk>"""


def missing() -> str | None:
    """The missing part of the guest image; None when the guest can boot."""
    there = (PARTS / "vmlinuz").exists() and (PARTS / "initrd").exists()
    return None if there else f"a guest in {PARTS} (scripts/guest builds it)"


class Guest:
    """A machine on a libvirt host, identified by its uuid."""

    def __init__(self, host: LibvirtLab, name: str, machine: str = "") -> None:
        self.host, self.name, self.uuid = host, name, machine or str(uuid.uuid4())
        self.log = host.folder / "log" / f"{name}.serial"

    @property
    def domain(self) -> Any:
        return self.host.connection.lookupByUUIDString(self.uuid)

    def make(self, size: str = "64M", *, extra: int = 0, hello: str = "world") -> None:
        """Define the guest with an ext4 file system on its first disk and `extra` empty disks.

        `size` is the size of the first disk, as truncate(1) takes it; `hello` is the content of its
        file.
        """
        images = [self._image("vda", size, hello)]
        images += [self._image(f"vd{'bcdef'[number]}", "16M") for number in range(extra)]
        self.host.connection.defineXML(
            _XML.format(
                name=self.name, uuid=self.uuid, parts=PARTS, log=self.log, disks="".join(images)
            )
        )

    def _image(self, device: str, size: str, hello: str = "") -> str:
        path = self.host.storage / f"{self.name}-{device}.qcow2"
        raw = path.with_suffix(".raw")
        subprocess.run(["truncate", "-s", size, str(raw)], check=True)
        if hello:
            seed = self.host.folder / "seed"
            seed.mkdir(exist_ok=True)
            (seed / "hello").write_text(f"{hello}\n")
            subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", seed, raw], check=True)
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
        subprocess.run(convert, check=True)
        raw.unlink()
        return _DISK.format(format="qcow2", path=path, device=device)

    def start(self) -> None:
        """Power the guest on and wait until it is ready."""
        if not self.domain.isActive():
            self.domain.create()
        self.wait_ready()

    def wait_ready(self) -> str:
        """Wait for the ready message on the console and for the agent; returns the console text."""
        self.until(lambda: "GUEST-READY" in self.console())
        self.until(lambda: self._agent({"execute": "guest-ping"}) is not None)
        return self.console()

    def console(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def run(self, command: str) -> str:
        """Run a shell command in the guest and return its standard output; it must succeed."""
        path = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        begun: JsonObject = {}

        def taken() -> bool:  # the agent refuses commands while the file systems are frozen
            begun.update(self._agent({"execute": "guest-exec", "arguments": path}) or {})
            return bool(begun)

        self.until(taken)
        wanted = {"execute": "guest-exec-status", "arguments": begun}
        status: JsonObject = {}

        def ended() -> bool:
            status.update(self._agent(wanted) or {})
            return bool(status.get("exited"))

        self.until(ended)
        said = base64.b64decode(status.get("out-data", "")).decode()
        assert status["exitcode"] == 0, (
            command,
            said,
            base64.b64decode(status.get("err-data", "")),
        )
        return said

    def _agent(self, command: JsonObject) -> JsonObject | None:
        try:
            text = libvirt_qemu.qemuAgentCommand(self.domain, json.dumps(command), 10, 0)
        except libvirt.libvirtError:
            return None
        return dict(json.loads(text)["return"])

    def until(self, what: Any, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.console()
            time.sleep(0.1)

    def dies(self) -> None:
        """Remove the guest and its disks."""
        domain = self.domain
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(1 | 2 | 16)  # managed save, snapshots, checkpoints
        for path in self.host.storage.glob(f"{self.name}-*"):
            path.unlink()
