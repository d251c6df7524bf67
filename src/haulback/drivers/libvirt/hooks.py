"""Commands inside a guest around the moment of a backup.

`python -m haulback.drivers.libvirt.hooks URI UUID SECONDS` is the guard of the latter one: it is
told the command in a line of JSON, says "ready", and runs it once its input or the seconds end,
whatever else has died by then.
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

from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.edge import Domain, Host
from haulback.errors import Conflict, HaulbackError, Unavailable

log = logging.getLogger(__name__)
DEADLINE = 600  # seconds in which the moment has to come; what is held in the guest is held so long
_SECONDS = 300  # that a command may take
_KEPT = 500  # letters of what it says


class _Ended(NamedTuple):
    """What became of the latter command; `early`: before the moment had come."""

    code: int
    said: str
    early: bool = False


@contextmanager
def around(  # which machine, what to run in it, and who hears of it
    uri: str,
    domain: Domain,
    before: str,
    after: str,
    warn: Callable[[str], None],
    deadline: int = DEADLINE,
) -> Iterator[None]:
    """Run `before`, and `after` when the block ends.

    `after` runs although `before`, the block or this process did not end well; what goes wrong
    with it is a warning.  Raises Unavailable without an agent, Conflict when `before` fails.
    """
    agent = Agent(domain)
    if not agent.answers():
        raise Unavailable(
            f"{domain.name}: its agent does not answer, so its commands around a backup cannot be "
            "run; start qemu-guest-agent in it, or take the commands off its settings"
        )
    guard = _guard(uri, domain, after, deadline) if after else None
    try:
        if before:
            code, said = agent.run(before, _SECONDS)
            log.info("%s: the command before ended with %d", domain.name, code)
            if code:
                raise Conflict(f"the command before the backup ended with {code}: {_short(said)}")
        yield
    finally:
        if guard and (text := _trouble(guard, agent, after)):
            warn(text)


def _guard(uri: str, domain: Domain, after: str, deadline: int) -> subprocess.Popen[bytes]:
    guard = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, uri, domain.uuid, str(deadline)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
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
    """Have it run the command, or do that ourselves; what went wrong, if anything did."""
    try:
        told, _ = guard.communicate(timeout=_SECONDS + 60)
        ended = _Ended(**json.loads(told))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        guard.kill()
        guard.wait()
        return _without_guard(agent, after)
    if ended.code:
        return f"the command after the backup ended with {ended.code}: {_short(ended.said)}"
    return "the command after the backup had to be run before its moment" if ended.early else ""


def _without_guard(agent: Agent, after: str) -> str:
    try:
        code, said = agent.run(after, _SECONDS)
    except HaulbackError as error:
        return f"nobody knows whether the command after the backup was run: {error.message}"
    return f"the guard of the command after the backup died; run again, it ended with {code}: " + (
        _short(said)
    )


def _short(said: str) -> str:
    return said.strip()[-_KEPT:] or "it said nothing"


def main(uri: str, uuid: str, seconds: str) -> None:
    """Wait, run it, and say what became of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # of whoever ends the node
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
        pass  # who wanted to know has died


if __name__ == "__main__":
    main(*sys.argv[1:])
