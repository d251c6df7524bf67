"""The single step that defines a machine in libvirt once its images are complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from haulback.drivers.hypervisor import Machine
from haulback.drivers.images.image_writer import free_name
from haulback.drivers.libvirt import machine_builder, retained_devices
from haulback.drivers.libvirt.cleanup import Leftovers
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.definition import AUTOSTART, CopyMode, compose
from haulback.drivers.libvirt.machine_builder import DefinedMachine
from haulback.drivers.libvirt.volumes import located
from haulback.errors import HaulbackError
from haulback.ids import new_guid
from haulback.libvirt_xml import parse


class MachineDefiner:
    """Defines machines on a host; the caller must hold the lock on the storage.

    `measure` returns the description of a defined machine.
    """

    def __init__(self, host: Host, left: Leftovers, measure: Callable[[Domain], Machine]) -> None:
        self._host, self._left, self._measure = host, left, measure

    def new(
        self, wanted: Machine, paths: Mapping[str, Path], attempt: str, *, layers: bool = False
    ) -> DefinedMachine:
        """Define a new machine; an existing uuid or name is replaced by a new one.

        libvirt can set autostart only after the definition, so a note for the sweep is written
        before both.
        """
        domains = self._host.domains()
        taken = {domain.uuid for domain in domains}
        again = not wanted.uuid or wanted.uuid.lower() in taken
        names = {domain.name for domain in domains}
        made = wanted._replace(
            uuid=new_guid() if again else wanted.uuid.lower(),
            name=free_name(names.__contains__, wanted.name),
        )
        said: list[str] = []
        fresh = again or _original(wanted) in taken
        standing = CopyMode(fresh=fresh, layers=layers, tell=said.append)
        if fresh or wanted.definition.get(AUTOSTART) is not True:
            return DefinedMachine(self._define(made, paths, standing), said)
        note = self._left.note_start(attempt, made.uuid)
        self._define(made, paths, standing)
        try:
            self._left.let_start(note)
        except HaulbackError as error:  # after a refusal by libvirt the machine stays unchanged
            note.unlink(missing_ok=True)
            said.append(f"the machine does not start with its host: {error.message}")
        return DefinedMachine(self._measure(self._host.domain(made.uuid)), said)

    def over(
        self, old: Domain, wanted: Machine, paths: Mapping[str, Path], attempt: str
    ) -> DefinedMachine:
        """Replace the disks of a machine; its old images are deleted if no machine refers to
        them.
        """
        machine_builder.refuse_if_running(old)
        said: list[str] = []
        standing, devices = self._stands(old, wanted, said)
        said += retained_devices.that_stay(located(self._host, old.definition()), devices)
        note = self._left.note_replaced(attempt, old, devices)
        asleep, name = old.in_managed_save(), old.name
        others = {domain.name for domain in self._host.domains()} - {name}
        wanted = wanted._replace(name=free_name(others.__contains__, wanted.name))
        for checkpoint in old.checkpoints():
            old.delete_checkpoint(checkpoint, only_forget=True)
        # The definition comes before the deletions: if libvirt refuses it, the machine keeps its
        # disks and its saved memory.
        made = self._define(wanted._replace(uuid=old.uuid, name=name), paths, standing)
        self._left.carry_out(note)
        if asleep:
            said.append("the saved memory (managed save) was removed with its disks")
        if wanted.name != name:
            renamed = self._host.domain(old.uuid)
            renamed.rename(wanted.name)
            made = self._measure(renamed)
        return DefinedMachine(made, said)

    def _stands(
        self, old: Domain, wanted: Machine, said: list[str]
    ) -> tuple[CopyMode, set[str] | None]:
        """Relation of a wanted machine to the old one, and the replaced disks (None for all)."""
        text, original = _present(old), _original(wanted)
        if original != old.uuid:
            there = any(one.uuid == original for one in self._host.domains())
            return CopyMode(fresh=there, tell=said.append), None
        devices = retained_devices.exchanged(wanted, parse(text))
        return CopyMode(now=text, tell=said.append), devices

    def _define(self, wanted: Machine, paths: Mapping[str, Path], standing: CopyMode) -> Machine:
        return self._measure(self._host.define(compose(wanted, paths, "qemu", standing)))


def _present(old: Domain) -> str:
    """Current XML of a machine; its screens are locked if the host refuses to show passwords."""
    try:
        return old.with_passwords()
    except HaulbackError:
        return old.locked()


def _original(wanted: Machine) -> str:
    """Uuid of the machine from which a backup was made."""
    return str(wanted.definition.get("uuid", "")).lower()
