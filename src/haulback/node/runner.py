"""Main loop of the node: takes tasks, runs each task in a thread and reports its end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from threading import Event, Lock, Thread

import msgspec

import haulback
from haulback.contract.node_tasks import AWAY
from haulback.errors import (
    Cancelled,
    Fenced,
    HaulbackError,
    Unauthenticated,
    Unavailable,
)
from haulback.logs import members
from haulback.node.file_requests import FileRequestWorker
from haulback.node.mount_sync import MountSync
from haulback.node.reporter import Reporter
from haulback.node.server_calls import patiently
from haulback.node.server_client import Offer, ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_context import NodeServices, RunningTask
from haulback.retry import Backoff, retry
from haulback.system_errors import of_system
from haulback.tasks.record import EPOCH
from haulback.texts import sendable
from haulback.work.context import Results, TaskWork, TaskWorks
from haulback.work.staging_cleanup import sweep_after

log = logging.getLogger(__name__)
_AGAIN = 1.0  # seconds before the next attempt to reach a server or platform
_OVER = "another process uses the identity of this node, or the server removed the node"
_HEAR = 1.0  # seconds; longest delay before a signal is handled
_TIDYING = 30.0  # seconds in which a clean-up is retried
_CAUSES = 4  # causes of an error that the task's log lists


class Runner:
    """The node's main loop.  `run` ends after `stop`, or raises Fenced when a newer process uses
    this node's identity.
    """

    def __init__(self, link: ServerClient, home: StateDir, kinds: TaskWorks) -> None:
        self._link, self._home, self._kinds = link, home, kinds
        self._services, self._stop = NodeServices(link, home), Event()
        self._taken: set[str] = set()
        self._running: dict[str, RunningTask] = {}
        self._threads: list[Thread] = []
        # guards `_taken` and `_running`, which the poll, attempts and the reporter share; no
        # request and no work runs while it is held
        self._lock = Lock()
        self._over = ""  # the reason why this process ends
        self._is_cut_off = False  # the last call for tasks had no answer

    def run(self) -> None:
        self._open()
        reporter = Reporter(self._link, self._home, self.work, self.fence)
        helpers = (
            reporter,
            FileRequestWorker(self._link, self._home),
            MountSync(self._link, self._home),
        )
        for helper in helpers:
            helper.start()
        # A separate thread, because a long poll must not delay the stop of the node.
        Thread(target=self._poll_tasks, name="poll", daemon=True).start()
        try:
            # Python runs signal handlers in the main thread only, at its next wake-up.
            while not self._stop.wait(_HEAR):
                pass
        finally:
            for helper in helpers:
                helper.stop()
            self.fence()
            for thread in self._threads:
                thread.join()
            log.info("node stopped")
        if self._over:
            raise Fenced(self._over)

    def _poll_tasks(self) -> None:
        while not self._stop.is_set():
            self._round()

    def stop(self) -> None:
        """Stop the node soon; running attempts end and will run again."""
        self._stop.set()

    def work(self) -> list[RunningTask]:
        """Running attempts, without those that only clean up."""
        return [work for work in self._all() if not work.progress.is_done]

    def fence(self) -> None:
        """Fence all running attempts: the server no longer accepts their results."""
        for work in self._all():
            work.progress.fence()

    def _all(self) -> list[RunningTask]:
        with self._lock:
            return list(self._running.values())

    def _open(self) -> None:
        try:
            retry(self._link.open, Backoff(_AGAIN), self._is_away, self._stop.wait)
        except Unavailable:
            return  # the node stops
        self._home.journal.clear()
        self._is_cut_off = False
        log.info("connected to the server", extra=members(server=self._link.url))

    def _round(self) -> None:
        try:
            offers = self._link.offers()
            self._found_again()
            taken = [offer for offer in offers if self._take(offer)]
        except (Fenced, Unauthenticated) as error:
            self._over = error.message if isinstance(error, Fenced) else _OVER
            self._stop.set()
            return
        except Exception as error:
            # the stop closes the connection during the request
            if not self._stop.is_set() and not self._is_away(error):
                log.exception("queued tasks cannot be fetched; trying again")
            self._stop.wait(_AGAIN)
            return
        if offers and not taken:
            self._stop.wait(_AGAIN)

    def _is_away(self, error: Exception) -> bool:
        """Whether the server does not answer; only the first of several such errors is logged."""
        if not isinstance(error, Unavailable):
            return False
        if not self._is_cut_off:
            log.warning("%s; trying again", error.message)
        self._is_cut_off = True
        return True

    def _found_again(self) -> None:
        """Log that the server answers again after calls that it did not answer."""
        if self._is_cut_off:
            log.info("reconnected to the server", extra=members(server=self._link.url))
        self._is_cut_off = False

    def _take(self, offer: Offer) -> bool:
        kind = self._kinds.get(offer.type["name"])
        if kind is None or self._stop.is_set() or not self._claim(offer.guid):
            return False
        try:
            self._link.take(offer.guid)
        except HaulbackError as error:
            self._release(offer.guid)
            if isinstance(error, Unavailable | Unauthenticated):
                raise
            return False  # another node was faster, or a limit was reached
        thread = Thread(target=self._attempt, args=(offer.guid, kind), name=f"task-{offer.guid}")
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()
        return True

    def _claim(self, guid: str) -> bool:
        """Claim a task for a new thread of this node; False while an older attempt still runs.

        The older attempt has lost its lease and is fenced, so that it ends before the next attempt
        begins.
        """
        with self._lock:
            if guid not in self._taken:
                self._taken.add(guid)
                return True
            if old := self._running.get(guid):
                old.progress.fence()
        return False

    def _release(self, guid: str) -> None:
        with self._lock:
            self._taken.discard(guid)
            self._running.pop(guid, None)

    def _attempt(self, guid: str, kind: TaskWork) -> None:
        try:
            self._begin(guid, kind)
        except Exception as error:  # noqa: BLE001 - the lease decides about the task
            _warn("the task was abandoned", guid, error)
        finally:
            self._release(guid)

    def _begin(self, guid: str, kind: TaskWork) -> None:
        try:
            number, order = patiently(lambda: self._link.order(guid, kind.order), self._stop)
        except (Unavailable, Fenced):
            return  # the node is stopping, or another attempt owns the task
        except (HaulbackError, msgspec.ValidationError) as error:
            why = reason(error)
            log.warning("task has no order", extra=members(task=guid, reason=why))
            patiently(lambda: self._link.refuse(guid, why), self._stop)
            return
        try:
            work = RunningTask(guid, number, order, self._services)
        except Exception as error:  # noqa: BLE001 - the server gets a report
            _warn("task cannot begin", guid, error, type=kind.type, attempt=number)
            self._tell(f"{guid}-{number}", "FAILED", reason(error))
            return
        with self._lock:
            self._running[guid] = work
        log.info("task begins", extra=_about(work, kind))
        work.log(_begin(number))
        if self._stop.is_set():
            work.progress.fence()  # `stop` came before the attempt was fenced
        try:
            self._run(work, kind)
        finally:
            work.close()

    def _run(self, work: RunningTask, kind: TaskWork) -> None:
        try:
            if kind.stages:
                self._home.check_space()
            results = {**_results(work, kind), **work.progress.summary()}
            results = {**work.damage(kind.type), **work.repositories.owner(), **results}
        except Cancelled:
            log.info("task cancelled", extra=_about(work, kind))
            work.log("the task stopped at a point where nothing is half done")
            self._give_up(work, "CANCELLED", "cancelled by a user")
        except (Fenced, Unauthenticated):
            self._give_up(work)
        except Exception as error:  # noqa: BLE001 - the server gets a report
            _warn("task failed", work.guid, error, type=kind.type, attempt=work.number)
            for cause in _causes(error):
                work.log(f"caused by {cause}")
            self._say_why(work, error, kind)
            self._give_up(work, "FAILED", work.progress.cleaned(reason(error)))
            if isinstance(error, Unavailable):
                self._sweep(work)
        else:
            self._write_down(work, results)
            self._finish(work, kind, results)

    def _sweep(self, work: RunningTask) -> None:
        """Clean up on platforms that stopped answering and may soon answer again."""
        for record in list(work.machines.used.values()):
            self._patiently_tidy(work, partial(sweep_after, work, record))

    def _patiently_tidy(self, work: RunningTask, call: Callable[[], object]) -> None:
        """Retry a clean-up for _TIDYING seconds; a later staging clean-up removes the remainder."""
        backoff = Backoff(_AGAIN, seconds=_TIDYING)
        try:
            retry(call, backoff, _is_unavailable, self._stop.wait)
        except HaulbackError as error:
            _warn_of(work, "leftovers of a task stay until a later clean-up", error)

    def _write_down(self, work: RunningTask, results: Results) -> None:
        """Write results to the journal; a failed write is only logged.

        Without a journal entry the results must reach the server before this process ends.
        """
        try:
            self._home.journal.write(work.attempt, results)
        except (OSError, HaulbackError) as error:
            _warn_of(work, "the journal cannot be written", error)

    def _give_up(self, work: RunningTask, state: str | None = None, why: str = "") -> None:
        """Clean up, then report the end, so that a reader of the final state finds no leftovers."""
        self._home.discard(work.attempt)
        if state is None:
            log.warning("the server ended an attempt", extra=_about(work))
        else:
            self._say(work)
            self._tell(work.attempt, state, why)

    def _finish(self, work: RunningTask, kind: TaskWork, results: Results) -> None:
        """Report FINISHED until the server answers; the journal keeps the results meanwhile."""
        self._say(work)
        work.progress.is_done = True
        try:
            patiently(lambda: self._link.results(work.attempt, results), self._stop)
            patiently(lambda: self._link.set_state(work.attempt, "FINISHED"), self._stop)
        except Unavailable:
            return  # the node is stopping: the journal keeps the results for the next session
        except (Fenced, Unauthenticated):
            self._discard_unless_needed(work)
        except HaulbackError as error:
            if error.code == "internal":
                return  # a defect of the server: the lease decides, and the journal entry stays
            self._give_up(work, "FAILED", error.message)
        else:
            log.info("task finished", extra=_about(work, kind))
            self._tidy(work, kind)
        self._home.journal.remove(work.attempt)

    def _discard_unless_needed(self, work: RunningTask) -> None:
        """Clean up an attempt that the server refused, unless its files are still needed.

        The reason is a lost lease, or a repeated FINISHED whose first call had arrived; only the
        server knows the reason.
        """
        log.warning("the server ended an attempt", extra=_about(work))
        try:
            if work.attempt not in work.server.needed():
                self._home.discard(work.attempt)
        except HaulbackError as error:
            _warn_of(work, "files of an attempt stay until a later clean-up", error)

    def _tidy(self, work: RunningTask, kind: TaskWork) -> None:
        if not kind.stages:
            self._home.discard(work.attempt)
        self._patiently_tidy(work, partial(kind.tidy, work))

    def _say(self, work: RunningTask) -> None:
        """Send the last lines of the log; an error is only logged."""
        lines = [work.progress.lines.popleft() for _ in range(len(work.progress.lines))]
        try:
            if lines:
                self._link.log(work.attempt, lines)
        except HaulbackError as error:
            _warn_of(work, "the last lines of a task's log are lost", error)

    def _say_why(self, work: RunningTask, error: Exception, kind: TaskWork) -> None:
        """Report the error code, by which the server decides about a retry, and the damage that was
        found.
        """
        result = work.damage(kind.type, error) | work.repositories.owner()
        if isinstance(error, HaulbackError) and error.retryable:
            result |= {"failure": error.code}
        if isinstance(error, Unavailable) and (away := work.repositories.away):
            result |= {AWAY: away}
        if not result:
            return
        try:
            self._link.results(work.attempt, result)
        except HaulbackError as other:
            _warn_of(work, "the report of a failed task is lost", other)

    def _tell(self, attempt: str, state: str, info: str) -> None:
        """Report a failed or cancelled end until the server answers, or the lease runs out."""
        if self._stop.is_set():
            return
        try:
            # An internal error of the server is not retried, because the lease decides then.
            retry(
                lambda: self._link.set_state(attempt, state, info[:2000]),
                Backoff(_AGAIN),
                _is_unavailable,
                self._stop.wait,
            )
        except HaulbackError as error:
            if not self._stop.is_set():
                task, _, number = attempt.rpartition("-")
                about = members(task=task, attempt=number, state=state, reason=error.message)
                log.warning("the server refused the end of a task", extra=about)


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, Unavailable)


def _results(work: RunningTask, kind: TaskWork) -> Results:
    """Run a task.  A panic of a library in Rust, which is no Exception, becomes a RuntimeError,
    because the thread would otherwise end without a report.
    """
    try:
        return kind.run(work)
    except Exception:
        raise
    except BaseException as panic:
        raise RuntimeError(f"a library failed: {panic}; see the node's log") from panic


def _about(work: RunningTask, kind: TaskWork | None = None, **more: str) -> dict[str, object]:
    """The members of a log line about an attempt."""
    return members(task=work.guid, type=kind and kind.type, attempt=work.number, **more)


def _warn_of(work: RunningTask, event: str, error: Exception) -> None:
    log.warning(event, extra=_about(work, reason=reason(error)))


def _warn(event: str, guid: str, error: Exception, **more: str | int) -> None:
    """Log a line for a foreseen error, and the traceback for a defect."""
    is_foreseen = isinstance(error, HaulbackError | OSError)
    about = members(task=guid, **more, reason=reason(error))
    log.warning(event, extra=about, exc_info=None if is_foreseen else error)


def _begin(number: int) -> str:
    """The line of the log at the start of an attempt."""
    times = f"attempt {number % EPOCH}"
    return f"{times} starts on {socket.gethostname()} with Haulback {haulback.__version__}"


def _causes(error: BaseException) -> list[str]:
    """The causes of an error, the nearest first, each a line, without repeated texts."""
    causes: list[str] = []
    said = str(error)
    while (behind := _behind(error)) and len(causes) < _CAUSES:
        text = behind.message if isinstance(behind, HaulbackError) else _first_lines(behind)
        if text not in said:
            causes.append(f"{type(behind).__name__}: {text}"[:500])
            said += text
        error = behind
    return causes


def _first_lines(error: BaseException) -> str:
    """The text of an error up to an empty line as one line; obstore adds pages of internals."""
    return " ".join(str(error).partition("\n\n")[0].split())


def _behind(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def reason(error: Exception) -> str:
    """The message of an error for users, escaped for sending."""
    if isinstance(error, HaulbackError):
        return sendable(error.message)
    if isinstance(error, OSError):
        return sendable(of_system(error).message)
    return sendable(f"internal error: {type(error).__name__}: {error}")
