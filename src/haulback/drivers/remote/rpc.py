"""Remote calls between two processes over a pair of pipes, concurrent and in both directions.

A message is its length (4 bytes, big endian) and MessagePack. The peer is not trusted: a peer can
call only public methods of offered objects, with arguments of the declared types.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from threading import Event, Lock, Thread
from typing import Any, TypeVar, get_type_hints

import msgspec

from haulback import framing
from haulback.errors import Conflict, HaulbackError, Malformed, Unavailable, by_code, received
from haulback.units import MIB
from haulback.wire import JsonObject

log = logging.getLogger(__name__)
T = TypeVar("T")
HYPERVISOR = 0  # number of the first object that the peer offers
_LARGEST = 64 * MIB  # bytes of a message
_AT_ONCE = 16  # calls of the peer that run at the same time
# Seconds between heartbeats, until a silent peer counts as disconnected, and between checks for the
# end.
_BEAT_EVERY, _SILENCE, _LOOK_EVERY = 20.0, 120.0, 1.0


class _Request(msgspec.Struct, array_like=True, tag="ask"):
    number: int
    target: int
    method: str
    arguments: msgspec.Raw


class _Answer(msgspec.Struct, array_like=True, tag="answer"):
    number: int
    value: msgspec.Raw


class _Refusal(msgspec.Struct, array_like=True, tag="refusal"):
    number: int
    code: str
    message: str
    details: JsonObject


class _Beat(msgspec.Struct, array_like=True, tag="beat"):
    """Heartbeat."""


_Message = _Request | _Answer | _Refusal | _Beat
_decoder: msgspec.msgpack.Decoder[_Message] = msgspec.msgpack.Decoder(_Message)
_encode = msgspec.msgpack.Encoder().encode
_CLASSES = by_code()


class PeerConnection:
    """Connection to a peer; takes ownership of both file descriptors.

    When the peer disconnects, `ended` is called, waiting calls raise Unavailable with the reason
    from `why`, and offered objects that have a `close` method are closed, the youngest first.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        why: Callable[[], str] = str,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._incoming, self._outgoing, self._why = incoming, outgoing, why
        self._ended = ended
        self._objects: dict[int, object] = {}
        self._waiting: dict[int, Future[msgspec.Raw]] = {}
        self._numbers, self._lock, self._writing = count(), Lock(), Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="far")
        self.over = Event()
        for pipe in (incoming, outgoing):
            with suppress(OSError):  # not a pipe, or the size is above the system's limit
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, MIB)
        os.set_blocking(outgoing, False)  # a blocked write would hold `_writing` and block `close`
        self._poll = select.poll()
        self._poll.register(incoming, select.POLLIN)
        self._reader = Thread(target=self._listen, name="far-listen", daemon=True)
        Thread(target=self._beat, name="far-beat", daemon=True).start()

    def start(self) -> None:
        """Start to read messages. The peer's first object must have been offered before."""
        self._reader.start()

    def offer(self, served: object) -> int:
        """Let the peer call the public methods of an object; returns the number of the object."""
        with self._lock:
            number = next(self._numbers)
            self._objects[number] = served
        return number

    def withdraw(self, served: object) -> bool:
        """Withdraw an offered object; returns whether the object was offered."""
        with self._lock:
            numbers = [number for number, it in self._objects.items() if it is served]
            for number in numbers:
                del self._objects[number]
        return bool(numbers)

    @contextmanager
    def offered(self, served: object) -> Iterator[int]:
        """Offer an object for the duration of the block, under the number that is returned."""
        try:
            yield self.offer(served)
        finally:
            self.withdraw(served)

    def call(self, target: int, method: str, *arguments: object, kind: type[T]) -> T:
        """Call a method of an object that the peer offers, and decode its result as a `kind`.

        Raises the error that the method raises, and Unavailable when the peer has disconnected or
        its response is malformed.
        """
        return self.result(self.begin(target, method, *arguments), kind)

    def begin(self, target: int, method: str, *arguments: object) -> Future[msgspec.Raw]:
        """Start a call without waiting for its result; see `result`."""
        future: Future[msgspec.Raw] = Future()
        with self._lock:
            if self.over.is_set():
                raise self._gone()
            number = next(self._numbers)
            self._waiting[number] = future
        self._send(_Request(number, target, method, msgspec.Raw(_encode(arguments))))
        return future

    def result(self, future: Future[msgspec.Raw], kind: type[T]) -> T:
        """Wait for the result of a started call and decode it as a `kind`; raises as `call`."""
        try:
            return msgspec.msgpack.decode(future.result(), type=kind)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"the peer sent a malformed response: {error}") from None

    def close(self) -> None:
        """Close the connection; a second call is no error. Waiting calls raise Unavailable."""
        with self._writing:
            outgoing, self._outgoing = self._outgoing, -1
            if outgoing >= 0:
                os.close(outgoing)

    def wait(self) -> None:
        """Wait until the peer has disconnected and all offered objects are closed."""
        self._reader.join()

    def _gone(self) -> Unavailable:
        return Unavailable(self._why() or "the connection to the peer is broken")

    def _send(self, message: _Message) -> None:
        data = framing.pack(message)
        try:
            with self._writing:
                if self._outgoing < 0:
                    raise self._gone()
                self._write(memoryview(data))
        except OSError:
            self.close()  # a part of the message may have been sent: the stream is unusable
            raise self._gone() from None

    def _write(self, view: memoryview) -> None:
        """Write all bytes.

        Raises OSError when the peer accepts no byte for two minutes or has disconnected.
        """
        free, end = select.poll(), time.monotonic() + _SILENCE
        free.register(self._outgoing, select.POLLOUT)
        while view:
            try:
                view = view[os.write(self._outgoing, view) :]
                end = time.monotonic() + _SILENCE
            except BlockingIOError:
                if self.over.is_set() or time.monotonic() > end:
                    raise
                free.poll(_LOOK_EVERY * 1000)

    def _beat(self) -> None:
        while not self.over.wait(_BEAT_EVERY):
            with suppress(Unavailable):
                self._send(_Beat())

    def _listen(self) -> None:
        try:
            while True:
                message = framing.read(self._take, _decoder, _LARGEST)
                if isinstance(message, _Request):
                    self._pool.submit(self._work, message)
                elif not isinstance(message, _Beat):
                    self._settle(message)
        except EOFError:
            pass
        except (OSError, ValueError, Malformed) as error:
            log.warning("the peer sent a malformed message: %s", error)
        finally:
            self._end()

    def _take(self, length: int) -> bytearray:
        """Read `length` bytes.

        Raises EOFError at the end of the stream and after two minutes of silence.
        """
        data = bytearray(length)
        view, end = memoryview(data), time.monotonic() + _SILENCE
        while view:
            ready = self._poll.poll(max(0, end - time.monotonic()) * 1000)
            got = os.readv(self._incoming, [view]) if ready else 0
            if not got:
                raise EOFError
            view, end = view[got:], time.monotonic() + _SILENCE
        return data

    def _settle(self, message: _Answer | _Refusal) -> None:
        with self._lock:
            future = self._waiting.pop(message.number, None)
        if future is None:
            raise Malformed("a response without a request")
        if isinstance(message, _Answer):
            future.set_result(message.value)
        else:
            details = _plain(message.details)
            future.set_exception(received(_CLASSES, message.code, message.message, details))

    def _work(self, request: _Request) -> None:
        answer: _Answer | _Refusal
        try:
            value = _encode(self._invoke(request))
            answer = _Answer(request.number, msgspec.Raw(value))
        except HaulbackError as error:
            answer = _Refusal(request.number, error.code, error.message, _plain(error.details))
        except Exception as error:
            log.exception("%s failed", request.method)
            answer = _Refusal(request.number, "internal", f"{type(error).__name__}: {error}", {})
        with suppress(Unavailable):
            self._send(answer)

    def _invoke(self, request: _Request) -> object:
        with self._lock:
            target: Any = self._objects.get(request.target)
        if target is None:
            raise Conflict(f"{request.method[:80]}: the object of the call is closed already")
        try:
            wanted = msgspec.msgpack.decode(
                request.arguments, type=_takes(target.__class__, request.method)
            )
        except msgspec.MsgspecError as error:
            raise Malformed(f"{request.method}: {error}") from None
        return getattr(target, request.method)(*wanted)

    def _end(self) -> None:
        with self._lock:
            self.over.set()
            # `over` is set first, so that a blocked writer releases the lock that `close` needs.
            waiting, self._waiting = list(self._waiting.values()), {}
        self.close()
        os.close(self._incoming)
        self._ended()
        for future in waiting:
            future.set_exception(self._gone())
        self._pool.shutdown()
        for served in reversed(list(self._objects.values())):
            close = getattr(served, "close", None)
            try:
                if close:
                    close()
            except Exception:
                log.exception("%s could not be closed", type(served).__name__)
        self._objects.clear()


@cache
def _takes(kind: Any, method: str) -> Any:
    """Types of a method's parameters, as a tuple type.

    Raises Malformed for a method that is not public.
    """
    function = vars(kind).get(method)
    if method.startswith("_") or not callable(function):
        raise Malformed(f"{kind.__name__} has no method {method[:80]!r}")
    hints = get_type_hints(function)
    hints.pop("return", None)
    return tuple.__class_getitem__(tuple(hints.values()))


def _plain(details: JsonObject) -> JsonObject:
    """Details of an error that can be sent: scalars only."""
    return {
        name: value
        for name, value in details.items()
        if isinstance(value, str | int | float | bool | None) and name != "message"
    }
