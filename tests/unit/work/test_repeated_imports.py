"""An IMPORT that repeats a failed task does not make the machine twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from haulback.contract.import_machine import ImportMachineOrder
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.work import import_machine
from haulback.work.support.machine_mark import MARK

PLACE = BackupDestination(guid="d", name="d", driver="folder", config={})
PLATFORM = Hypervisor(guid="h", name="host", driver="imagefolder", config={})


@pytest.mark.parametrize(("task", "mark"), [("first", ""), ("second", "first")])
def test_the_machine_of_an_earlier_attempt_is_the_result(tmp_path: Path, task: str, mark: str):
    host = ImageFolder(tmp_path)
    wanted = Machine("", "web", (MachineDisk("vda", 512, "raw"),), {MARK: "first"})
    with host.create(wanted, "attempt") as new:
        made = new.commit()
    said: list[str] = []
    context = SimpleNamespace(
        guid=task,
        order=ImportMachineOrder("b", PLACE, PLATFORM, "web", mark=mark),
        machines=SimpleNamespace(open=lambda record: host),
        server=SimpleNamespace(needed=set),
        log=said.append,
    )
    assert import_machine.run(context)["uuid"] == made.uuid
    assert len(host.inventory().machines) == 1
    assert "already" in said[0]
