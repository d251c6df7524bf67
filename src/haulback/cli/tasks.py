"""`haulback task`: running, queued and finished tasks."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import (
    DestinationOption,
    HypervisorOption,
    MachineOption,
    NodeOption,
    NodeWord,
    ProjectOption,
    Rows,
    TaskWord,
)
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, console, dump, moment, named, show, text
from haulback.cli.questions import agreed
from haulback.cli.watch import follow
from haulback.client.projects import project_uuid
from haulback.client.tasks import TaskQuery, Tasks
from haulback.contract.task_states import State
from haulback.errors import Malformed

app = App(name="task")
app.command("haulback.cli.node_tasks:app", name="node", show=False)
_COLUMNS = (
    text("guid"),
    named("type"),
    named("state"),
    named("protectedEntity"),
    text("progress"),
    moment("startTime"),
    text("statusInfo"),
)
_AT_ONCE = 500  # rows per request
_WAITING = (*_COLUMNS[:4], text("priority"), text("queueReason"))
_SAMPLE = (text("transferRate"), text("transferredBytes"), moment("timestamp"))
Queued = Annotated[bool, Parameter(negative="", help="Include waiting tasks.")]
Running = Annotated[bool, Parameter(negative="", help="Show running tasks instead.")]


@app.command
def ls(
    *,
    state: Annotated[
        list[str], Parameter(help="State of the tasks, such as FAILED; may be repeated.")
    ] = [],  # noqa: B006 - read only
    type: Annotated[str, Parameter(help="Type of the tasks, such as EXPORT.")] = "",  # noqa: A002 - the option's name
    machine: MachineOption = "",
    node: NodeOption = "",
    hypervisor: HypervisorOption = "",
    destination: DestinationOption = "",
    project: ProjectOption = "",
    search: Annotated[
        str, Parameter(help="Text in the rows, such as the beginning of a guid.")
    ] = "",
    size: Rows = 50,
    detailed: Annotated[bool, Parameter(negative="", help="All members, with -o json.")] = False,
    output: Output = "table",
) -> None:
    """List the newest tasks; --state FAILED lists failed tasks."""
    client = connect()
    about = project_uuid(client.records.projects, project)
    query = TaskQuery(states=state, type=type, filter=search, project_uuid=about)
    query["size"] = min(size, _AT_ONCE)
    query |= {
        "protected_entity": client.machines.find(machine).guid if machine else "",
        "node": client.nodes.find(node).guid if node else "",
        "hypervisor": client.hypervisors.find(hypervisor).guid if hypervisor else "",
        "backup_destination": client.destinations.find(destination).guid if destination else "",
    }
    if detailed:
        show(islice(client.tasks.all_detailed(**query), size), _COLUMNS, output)
    else:
        show(islice(client.tasks.all(**query), size), _COLUMNS, output)


@app.command
def queued(node: NodeWord | None = None, *, output: Output = "table") -> None:
    """List queued tasks with the reason; with NODE the tasks that the node may start now."""
    client = connect()
    guid = "" if node is None else client.nodes.find(node).guid
    show(client.tasks.queued(guid), _WAITING, output)


@app.command(name="show")
def show_task(guid: TaskWord) -> None:
    """Show all details of a task, its workflow and why it waits."""
    tasks = connect().tasks
    dump(tasks.get(tasks.guid(guid), extended=True))


@app.command
def state(
    guid: TaskWord, *, full: Annotated[bool, Parameter(negative="", help="Progress too.")] = False
) -> None:
    """Show the state of a task with the reason."""
    tasks = connect().tasks
    guid = tasks.guid(guid)
    found = tasks.state_v2(guid) if full else tasks.state(guid)
    progress = "" if found.progress is None else f"{found.progress:g}%"
    print("  ".join(part for part in (found.state.name, progress, found.statusInfo) if part))


@app.command
def move(
    guid: TaskWord,
    state: Annotated[State, Parameter(help="The new state.")],
    *,
    info: Annotated[str, Parameter(help="Reason that the task shows.")] = "",
) -> None:
    """Set the state of a task, as its node does when it takes the task (RUNNING) or ends it."""
    tasks = connect().tasks
    tasks.set_state(tasks.guid(guid), state, info or None)


@app.command
def modified() -> None:
    """Show the time of the last task change, epoch ms."""
    print(connect().tasks.last_change())


@app.command
def rate(guid: TaskWord, *, output: Output = "table") -> None:
    """Show the last transfer rate of a task: bytes per second, bytes."""
    tasks = connect().tasks
    show([tasks.last_rate(tasks.guid(guid))], _SAMPLE, output)


@app.command
def log(
    guid: TaskWord,
    *,
    follow: Annotated[
        bool,
        Parameter(
            help="Print new lines until the task has ended.", name=["-f", "--follow"], negative=""
        ),
    ] = False,
    plan: Annotated[bool, Parameter(help="Add the tasks of its workflow.", negative="")] = False,
    output: Output = "table",
) -> None:
    """Show the log of a task: decisions, phases, warnings, and the error with its cause.

    --follow prints new lines until the task has ended; --plan adds the tasks of its workflow.
    """
    tasks = connect().tasks
    guid = tasks.guid(guid)
    if output == "json":
        dump([line for shown in _logged(tasks, guid, plan) for line in tasks.log(shown)])
        return
    for shown in _logged(tasks, guid, plan):
        for line in tasks.follow_log(shown) if follow else tasks.log(shown):
            print(f"{moment('time')[1]({'time': line.time})}  {line.text}", flush=True)


def _logged(tasks: Tasks, guid: str, plan: bool) -> list[str]:
    """The guids of a task, or of all tasks of its workflow in their order."""
    if not plan:
        return [guid]
    workflow = tasks.get(guid, extended=True).workflowExecution
    return [step.guid for step in workflow.tasks or []] if workflow else [guid]


@app.command
def watch(guid: TaskWord) -> None:
    """Follow a task and its followers to the end; exits with 8 if one failed."""
    client = connect()
    follow(client, client.tasks.guid(guid), console())


@app.command
def cancel(
    *guid: TaskWord,
    info: Annotated[str, Parameter(help="Reason that the tasks show.")] = "Cancelled by user",
) -> None:
    """Cancel tasks; a second call cancels without waiting for their node."""
    tasks = connect().tasks
    guids = [tasks.guid(word) for word in _some(guid)]
    if len(guids) == 1:
        tasks.cancel(guids[0], info)
    else:
        tasks.set_states(guids, State.CANCELLED, info)


@app.command
def rm(*guid: TaskWord, consent: Consent = ASK) -> None:
    """Remove tasks from the list; a running task is cancelled."""
    client = connect()
    found = [client.tasks.guid(word) for word in _some(guid)]
    acts = [partial(client.tasks.remove, task) for task in found]
    if agreed(client, consent, *acts):
        for act in acts:
            act()


@app.command
def clear(
    *guid: TaskWord, queued: Queued = False, running: Running = False, consent: Consent = ASK
) -> None:
    """Remove finished tasks from the list: all, or those among the given tasks."""
    client = connect()
    tasks = client.tasks
    guid = tuple(tasks.guid(word) for word in guid)
    if running and queued:
        raise Malformed("--running cancels running tasks; leave out --queued")
    act = tasks.remove_finished_and_queued if queued else tasks.remove_finished
    act = partial(tasks.cancel_running if running else act, *guid)
    if agreed(client, consent, act):
        act()


def _some(guids: tuple[str, ...]) -> tuple[str, ...]:
    if not guids:
        raise Malformed("name at least one task by its guid")
    return guids
