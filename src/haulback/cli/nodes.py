"""`haulback node`: run a node and manage all nodes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from haulback import credentials
from haulback.cli.arguments import LogForm, NewName, NodeWord, RecordWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import InsecureHttp, connect
from haulback.cli.log_start import start_log
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.questions import ConfirmOption, agreed, give_up
from haulback.contract.nodes import ChangedNode
from haulback.errors import Malformed
from haulback.logs import LogFormat
from haulback.wire import Ref

app = App(name="node")
_COLUMNS = (
    text("guid"),
    text("name"),
    named("state"),
    moment("lastSeen"),
    text("version"),
    named("nodeConfig"),
)


@app.default
def run_node(
    *,
    server: Annotated[str, Parameter(help="Address of the server.")],
    data: Annotated[
        Path, Parameter(help="Folder of the node's identity, journal and staging area.")
    ] = Path("haulback-node"),
    name: Annotated[
        str, Parameter(help="Name of the node; the default is the name of the machine.")
    ] = "",
    token: Annotated[
        str | None,
        Parameter(
            help="Enrolment token; - for stdin; see --token-file.", allow_leading_hyphen=True
        ),
    ] = None,
    token_file: Annotated[
        Path | None, Parameter(help="File with the enrolment token.", allow_leading_hyphen=True)
    ] = None,
    restore_root: Annotated[
        list[Path], Parameter(help="Folder below which files may be restored; may be repeated.")
    ] = [],  # noqa: B006 - read only
    trust: Annotated[
        Path | None, Parameter(help="File of the server's own certificate (PEM).")
    ] = None,
    insecure_http: InsecureHttp = False,
    iscsi: Annotated[str, Parameter(help="Address and port of iSCSI targets.")] = "0.0.0.0:3260",
    log_format: LogForm = LogFormat.TEXT,
    leash: Annotated[bool, Parameter(show=False)] = False,
) -> None:
    """The command `haulback node`."""
    from haulback.node import main

    start_log(log_format)
    main.run(
        main.NodeSettings(
            data=data,
            server=server,
            name=name or os.uname().nodename,
            token=_token(token, token_file),
            roots=restore_root,
            trust=str(trust) if trust else None,
            insecure_http=insecure_http,
            portal=_portal(iscsi),
            leash=leash,
        )
    )


def _token(said: str | None, file: Path | None) -> str | None:
    if said is not None:
        credentials.check_argument(said, "--token")
        file = Path("-")
    if file is not None:
        return credentials.read(file, "--token-file")
    return credentials.get("HAULBACK_ENROLMENT_TOKEN")


def _portal(text: str) -> str:
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or not 0 < int(port) < 65536:
        raise Malformed(
            f"--iscsi: {text!r} is not an address and port; write it like 10.0.0.5:3260"
        )
    return text


@app.command
def ls(*, output: Output = "table") -> None:
    """List all nodes."""
    show(connect().nodes.all(), _COLUMNS, output)


@app.command(name="show")
def show_node(name: NodeWord) -> None:
    """Show all details of a node."""
    dump(connect().nodes.find(name))


@app.command
def token(node: NodeWord | None = None, *, consent: Consent = ASK) -> None:
    """Print an enrolment token for one node, valid for one hour; with NODE a new token for that
    node, whose running process stops.
    """
    client = connect()
    nodes = client.nodes
    if node is None:
        print(nodes.invite())
        return
    guid = nodes.find(node).guid
    if agreed(client, consent, lambda: nodes.renew_token(guid)):
        print(nodes.renew_token(guid).token)


@app.command
def add(name: NewName) -> None:
    """Register a third-party node, and print its token; it is shown only once."""
    print(connect().nodes.add(name).token)


@app.command
def rename(node: NodeWord, name: NewName) -> None:
    """Rename a node."""
    nodes = connect().nodes
    nodes.change(nodes.find(node).guid, ChangedNode(name=name))


@app.command
def config(node: NodeWord, config: RecordWord) -> None:
    """Assign another node configuration to a node (`haulback node-config`)."""
    client = connect()
    found = Ref(client.records.node_configs.find(config).guid)
    client.nodes.change(client.nodes.find(node).guid, ChangedNode(nodeConfig=found))


@app.command
def rm(node: NodeWord, *, gone: ConfirmOption = False, consent: Consent = ASK) -> None:
    """Remove a node without running tasks, destinations or hypervisors.

    --gone: the node is lost for good. The node is given up with the hypervisors and destinations
    that only this node reached; backups with another good location stay.
    """
    client = connect()
    guid = client.nodes.find(node).guid
    if gone:
        give_up(client, consent, partial(client.nodes.give_up, guid))
    elif agreed(client, consent, lambda: client.nodes.remove(guid)):
        client.nodes.remove(guid)
