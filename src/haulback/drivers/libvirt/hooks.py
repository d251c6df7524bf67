"""Commands in a guest before and after a backup's freeze.

`python -m haulback.drivers.libvirt.hooks URI UUID SECONDS` guards the command after the backup: it
reads the command as a line of JSON, prints "ready", and runs the command when its input ends or
after SECONDS, even if the node or the driver has died.
"""

from __future__ import annotations

import json
import logging
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from haulback.drivers.libvirt import guard_process
from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.errors import Conflict, HaulbackError, Unavailable

log = logging.getLogger(__name__)
DEADLINE = 600  # seconds until the guard runs the command even if the block has not ended
_SECONDS = 300  # timeout of a command
_KEPT = 500  # maximum length of a command's output in messages, in characters


class _Ended(NamedTuple):
    """Result of the command after the backup; `early` if it ran at the deadline, before the block's
    end.
    """

    code: int
    said: str
    early: bool = False


class Commands(NamedTuple):
    """Shell commands to run in a guest at the start and at the end of a block; "" runs none."""

    before: str
    after: str


@contextmanager
def around(
    uri: str,
    domain: Domain,
    commands: Commands,
    warn: Callable[[str], None],
    deadline: int = DEADLINE,
) -> Iterator[None]:
    """Run the command `before` at the start of the block, and `after` at its end.

    `after` runs even if `before`, the block or this process fails; its errors are passed to `warn`.
    Raises Unavailable without a responding agent, Conflict when `before` fails.
    """
    before, after = commands
    agent = Agent(domain)
    if not agent.answers():
        raise Unavailable(
            f"{domain.name}: its agent does not respond, so its commands around a backup cannot be "
            "run; start qemu-guest-agent in it, or remove the commands from its settings"
        )
    guard = _guard(uri, domain, after, deadline) if after else None
    try:
        if before:
            code, said = agent.run(before, _SECONDS)
            log.info("%s: the command before the backup ended with %d", domain.name, code)
            if code:
                raise Conflict(f"the command before the backup ended with {code}: {_short(said)}")
        yield
    finally:
        if guard and (text := _trouble(guard, agent, after)):
            warn(text)


def _guard(uri: str, domain: Domain, after: str, deadline: int) -> subprocess.Popen[bytes]:
    guard = guard_process.start(__spec__.name, uri, domain, deadline)
    assert guard.stdin
    assert guard.stdout
    try:
        guard.stdin.write(json.dumps(after).encode() + b"\n")
        guard.stdin.flush()
        if guard.stdout.readline().strip() == b"ready":
            return guard
    except BrokenPipeError:
        pass
    guard.communicate()
    raise Unavailable("the guard of the command after the backup did not start")


def _trouble(guard: subprocess.Popen[bytes], agent: Agent, after: str) -> str:
    """Let the guard run the command, or run it here if the guard died; returns a warning or ""."""
    try:
        told, _ = guard.communicate(timeout=_SECONDS + 60)
        ended = _Ended(**json.loads(told))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        guard.kill()
        guard.wait()
        return _without_guard(agent, after)
    if ended.code:
        return f"the command after the backup ended with {ended.code}: {_short(ended.said)}"
    return (
        "the command after the backup ran before the backup was complete, at its time limit"
        if ended.early
        else ""
    )


def _without_guard(agent: Agent, after: str) -> str:
    try:
        code, said = agent.run(after, _SECONDS)
    except HaulbackError as error:
        return f"it is unknown whether the command after the backup ran: {error.message}"
    return f"the guard of the command after the backup died; a second run ended with {code}: " + (
        _short(said)
    )


def _short(said: str) -> str:
    return said.strip()[-_KEPT:] or "no output"


def main(uri: str, uuid: str, seconds: str) -> None:
    """Wait for the end of the input or the deadline, run the command, and print its result."""
    # Signals that end the node's process group must not end the guard.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    agent = Agent(Host(uri).domain(uuid))
    command = json.loads(sys.stdin.buffer.readline())
    _say("ready")
    over, _, _ = select.select([sys.stdin.buffer], [], [], float(seconds))
    try:
        code, said = agent.run(command, _SECONDS)
    except HaulbackError as error:
        code, said = -1, error.message
    _say(json.dumps(_Ended(code, said[-_KEPT:], early=not over)._asdict()))


def _say(text: str, out: IO[str] = sys.stdout) -> None:
    try:
        out.write(f"{text}\n")
        out.flush()
    except BrokenPipeError:
        pass  # the driver that reads the result has died


if __name__ == "__main__":
    main(*sys.argv[1:])
