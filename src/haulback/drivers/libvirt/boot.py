"""Isolated boot of a copy for a proof: read-only disks, no network, no host devices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Machine
from haulback.drivers.images import overlay, qemu
from haulback.drivers.libvirt import copied_members, firmware
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.connection import Host
from haulback.drivers.libvirt.definition import CopyMode, compose
from haulback.drivers.libvirt.png import png
from haulback.drivers.nbd_server import NbdServer
from haulback.drivers.source import Source
from haulback.errors import HaulbackError
from haulback.ids import new_guid
from haulback.libvirt_xml import parse
from haulback.units import KIB

_CONSOLE_BYTES = 64 * KIB  # end of the console output that is returned


class IsolatedMachine:
    """A Booted machine; its files are in `folder`, whose name is also the machine's name."""

    def __init__(
        self, host: Host, wanted: Machine, sources: Mapping[str, Source], folder: Path
    ) -> None:
        self._folder, self._left = folder, list[str]()
        self._open = ExitStack()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._open.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            self._open.enter_context(NbdServer(folder / "nbd", sources))
            firmware.write(wanted.definition, folder)
            overlays = {name: self._overlay(name, n) for n, name in enumerate(sources)}
            qemu.hand_over(folder, *folder.iterdir())
            text = _isolated(wanted, overlays, folder, self._left.append)
            self._domain = host.run_once(text)
            self._open.callback(self._domain.stop)
        except BaseException:
            self._open.close()
            raise

    def _overlay(self, name: str, number: int) -> Path:
        path = self._folder / f"disk{number}.qcow2"
        overlay.make(path, overlay.NbdExport(str(self._folder / "nbd"), name))
        return path

    def left_out(self) -> list[str]:
        return self._left

    def is_running(self) -> bool:
        try:
            return self._domain.is_active
        except HaulbackError:
            return False

    def console(self) -> str:
        try:
            with open(self._folder / "console", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _CONSOLE_BYTES))
                return file.read().decode(errors="replace").replace("\0", "")
        except FileNotFoundError:
            return ""

    def agent_answers(self) -> bool:
        return Agent(self._domain).answers()

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        return Agent(self._domain).run(script, seconds)

    def screen(self) -> bytes | None:
        found = self._domain.screenshot()
        return png(*found) if found else None

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(HaulbackError):
            self.close()


def _isolated(
    wanted: Machine, overlays: Mapping[str, Path], folder: Path, tell: Callable[[str], None]
) -> str:
    disks = tuple(disk._replace(format="qcow2", allocate=False) for disk in wanted.disks)
    copy = wanted._replace(uuid=new_guid(), name=folder.name, disks=disks)
    root = parse(compose(copy, overlays, "qemu", CopyMode(fresh=True, tell=tell)))
    copied_members.isolate(root)
    for name in ("on_poweroff", "on_reboot", "on_crash"):
        xml.drop(root, name)
        ET.SubElement(root, name).text = "destroy"
    devices = root.find("devices")
    assert devices is not None
    serial = ET.SubElement(devices, "serial", {"type": "pty"})
    ET.SubElement(serial, "log", {"file": str(folder / "console"), "append": "off"})
    channel = ET.SubElement(devices, "channel", {"type": "unix"})
    ET.SubElement(channel, "target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    if devices.find("video") is None:
        ET.SubElement(ET.SubElement(devices, "video"), "model", {"type": "vga"})
    return ET.tostring(root, encoding="unicode")
