"""Responses of a guest agent are hostile input: they are parsed or refused, and never trusted."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from haulback.drivers.libvirt.agent import Agent
from haulback.drivers.libvirt.connection import Domain
from haulback.errors import Unavailable


class Lying:
    """A machine whose agent gives these answers, one after another."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[tuple[dict[str, Any], int]]()

    def ask_agent(self, command: str, seconds: int) -> str:
        self.asked.append((json.loads(command), seconds))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, str) else json.dumps({"return": answer})


def agent(lying: Lying) -> Agent:
    return Agent(cast(Domain, lying))


def test_a_script_is_run_and_what_it_says_is_read():
    said = base64.b64encode(b"hello\0").decode()
    lying = Lying({"pid": 7}, {"exited": False}, {"exited": True, "exitcode": 3, "out-data": said})
    assert agent(lying).run("true", 5) == (3, "hello")


@pytest.mark.parametrize(
    "answers",
    [
        ["not json"],
        ['{"error": {}}'],
        [[]],
        [{}],
        [{"pid": "7"}],
        [{"pid": 7}, 5],
        [{"pid": 7}, {"exited": True, "exitcode": "no"}],
        [{"pid": 7}, {"exited": True, "exitcode": float("inf")}],
        [{"pid": 7}, {"exited": True, "exitcode": 1 << 64}],
        [{"pid": 7}, {"exited": True, "out-data": 5}],
        [{"pid": 7}, {"exited": True, "out-data": "x"}],
        ["[" * 100_000],
    ],
)
def test_nonsense_is_called_so(answers: list[Any]):
    with pytest.raises(Unavailable, match="malformed response"):
        agent(Lying(*answers)).run("true", 5)


def test_what_an_agent_answers_does_not_say_how_long_we_wait():
    lying = Lying({"pid": 7, "seconds": -2, "command": "x"}, {"exited": True, "exitcode": 0})
    assert agent(lying).run("true", 5) == (0, "")
    assert [seconds for _, seconds in lying.asked] == [10, 10]
    assert lying.asked[1][0]["arguments"] == {"pid": 7}
