"""`haulback hypervisor`: sources of backups."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import HypervisorWord, NewName, NodeOption, folder
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import PLACE, Output, dump, moment, show, text
from haulback.cli.place_options import reach_members
from haulback.cli.questions import ConfirmOption, agreed, give_up
from haulback.cli.submit_options import WatchOption, kept, ref, refs, watch
from haulback.client.client import Client
from haulback.contract.connectivity_test import ConnectivityTestRequest
from haulback.contract.hypervisors import ChangedHypervisor, NewHypervisor
from haulback.contract.inventory_sync import (
    Candidate,
    InventorySyncRequest,
    InventorySyncWizardRequest,
)
from haulback.errors import Incomplete, Malformed
from haulback.units import counted
from haulback.wire import Word

app = App(name="hypervisor")
_Nodes = Annotated[
    list[str], Parameter(help="A node that reaches the hypervisor; may be repeated.")
]
_AllNodes = Annotated[bool, Parameter(negative="", help="Every node reaches the hypervisor.")]
_Type = Annotated[
    str,
    Parameter(
        name="--type",
        help="Type of the hypervisor, such as the label of a driver of your own; the default is "
        "IMAGE_FOLDER, or KVM with --libvirt.",
    ),
]
_SHOWN = (*PLACE, text("vmCount"), moment("notBelievedSince"))


@app.command(name="ls")
def hypervisors(*, output: Output = "table") -> None:
    """List all hypervisors."""
    show(connect().hypervisors.all(), _SHOWN, output)


@app.command(name="show")
def show_hypervisor(name: HypervisorWord) -> None:
    """Show all details of a hypervisor."""
    dump(connect().hypervisors.find(name))


@app.command(name="add")
def add_hypervisor(
    name: NewName,
    path: Annotated[
        Path | None, Parameter(help="Image folder on the node.", converter=folder)
    ] = None,
    *,
    kind: _Type = "",
    libvirt: Annotated[str, Parameter(help="URL of libvirt, like qemu:///system.")] = "",
    node: _Nodes = [],  # noqa: B006 - read only
    all_nodes: _AllNodes = False,
    manager: Annotated[
        str, Parameter(help="Manager of the hypervisor: name, guid or its beginning.")
    ] = "",
    cluster: Annotated[
        str, Parameter(help="Cluster of the hypervisor: name, guid or its beginning.")
    ] = "",
) -> None:
    """Add a folder of machines, a libvirt host, or a hypervisor of another --type, and scan its
    machines.

    PATH is the folder of machines, with one sub-folder each; with --libvirt it is the folder for
    new images; for another type the driver defines its meaning. The URL of the node's own libvirt
    is qemu:///system, of another host qemu+ssh://root@host/system.
    """
    if path and (url := re.match("[a-z+]+:/", str(path))):
        raise Malformed(
            f"PATH {path} looks like a URL ({url[0]}), but is a folder; name the URL of libvirt by "
            "--libvirt"
        )
    client = connect()
    records = client.records
    new = NewHypervisor(
        name=name,
        type=Word(kind) if kind else None,
        path=str(path.absolute()) if path else None,
        url=libvirt or None,
        **reach_members(client, node, all_nodes=all_nodes),
        hypervisorManager=ref(manager and records.managers.find(manager).guid),
        cluster=ref(cluster and records.clusters.find(cluster).guid),
    )
    made = client.hypervisors.add(new)
    print(made.guid)
    with kept("hypervisor", name, "sync"):
        _scan(client, [made.task.guid] if made.task else [])


@app.command(name="set")
def set_hypervisor(
    name: HypervisorWord,
    *,
    rename: Annotated[str, Parameter(help="The new name.")] = "",
    manager: Annotated[
        str, Parameter(help="Manager of the hypervisor: name, guid or its beginning.")
    ] = "",
    cluster: Annotated[
        str, Parameter(help="Cluster of the hypervisor: name, guid or its beginning.")
    ] = "",
    node: _Nodes = [],  # noqa: B006 - read only
    all_nodes: _AllNodes = False,
) -> None:
    """Rename a hypervisor, assign it to a manager, or set the nodes that reach it; options not
    given stay unchanged.
    """
    if not (rename or manager or cluster or node or all_nodes):
        raise Malformed(
            "name at least one option to change; `haulback hypervisor set --help` lists them"
        )
    client = connect()
    records = client.records
    wanted = ChangedHypervisor(
        name=rename or None,
        **reach_members(client, node, all_nodes=all_nodes),
        hypervisorManager=ref(manager and records.managers.find(manager).guid),
        cluster=ref(cluster and records.clusters.find(cluster).guid),
    )
    client.hypervisors.change(client.hypervisors.find(name).guid, wanted)


@app.command(name="rm")
def remove_hypervisor(
    name: HypervisorWord, *, gone: ConfirmOption = False, consent: Consent = ASK
) -> None:
    """Remove a hypervisor whose machines have no backups.

    --gone: the hypervisor is lost for good. Machines with backups stay as absent machines, whose
    backups can be restored elsewhere.
    """
    client = connect()
    guid = client.hypervisors.find(name).guid
    if gone:
        give_up(client, consent, partial(client.hypervisors.give_up, guid))
    elif agreed(client, consent, lambda: client.hypervisors.remove(guid)):
        client.hypervisors.remove(guid)


@app.command
def sync(
    *name: HypervisorWord,
    manager: Annotated[
        list[str],
        Parameter(help="Manager whose hypervisors are scanned: name, guid or its beginning."),
    ] = [],  # noqa: B006 - read only
    watch: WatchOption = True,
) -> None:
    """Scan the machines of hypervisors, and of all hypervisors of a --manager; follows the scans.

    --no-watch: print the guids of the tasks instead of following the tasks.
    """
    if not name and not manager:
        raise Malformed("name at least one hypervisor, or a --manager")
    client = connect()
    request = InventorySyncRequest(
        hypervisors=refs(client.hypervisors.find(word).guid for word in name),
        hypervisorManagers=refs(client.records.managers.find(word).guid for word in manager),
    )
    tasks = [task.guid for task in client.tasks.inventory_sync(request)]
    if watch:
        _scan(client, tasks)
        return
    for task in tasks:
        print(task)


@app.command
def confirm_absent(name: HypervisorWord, *, consent: Consent = ASK) -> None:
    """Confirm that the machines which a hypervisor no longer lists are deleted; prints their names.

    If a hypervisor suddenly lists no machine, or less than half of them, Haulback waits for the
    next scan.
    """
    client = connect()
    guid = client.hypervisors.find(name).guid
    if not agreed(client, consent, lambda: client.hypervisors.confirm_absent(guid)):
        return
    for machine in client.hypervisors.confirm_absent(guid):
        print(f"absent  {machine.guid}  {machine.name}")


@app.command(name="try")
def try_hypervisor(
    name: Annotated[str, Parameter(help="Name for the messages.")],
    path: Annotated[Path, Parameter(help="Image folder on the node.", converter=folder)],
    *,
    kind: _Type = "",
    node: NodeOption = "",
) -> None:
    """Scan a folder of machines, and add it as a hypervisor if the scan succeeds."""
    client = connect()
    where = ref(node and client.nodes.find(node).guid)
    candidate = Candidate(
        name=name, path=str(path.absolute()), type=Word(kind) if kind else None, node=where
    )
    tasks = client.tasks.try_hypervisors(InventorySyncWizardRequest(hypervisors=[candidate]))
    _scan(client, [task.guid for task in tasks])


def _scan(client: Client, tasks: list[str]) -> None:
    """Follow scans, then list the machines that cannot be read.  Raises Incomplete if there are
    any.
    """
    watch(client, tasks)
    count = 0
    for guid in tasks:
        report = client.tasks.get(guid, extended=True).transferInfo or {}
        for problem in report.get("unreadable") or []:
            print(f"cannot be read: {problem['where']}: {problem['message']}", file=sys.stderr)
        count += int(report.get("problems") or 0)
        print(f"machines found: {len(report.get('machines') or [])}")
    if count:
        machines = counted(count, "machine")
        raise Incomplete(f"{machines} cannot be read and will have no new backups", count=count)


@app.command(name="test")
def test_hypervisor(*name: HypervisorWord) -> None:
    """Test whether nodes reach hypervisors."""
    client = connect()
    guids = refs(client.hypervisors.find(word).guid for word in name)
    tasks = client.tasks.connectivity_test(ConnectivityTestRequest(hypervisors=guids))
    watch(client, [task.guid for task in tasks])
