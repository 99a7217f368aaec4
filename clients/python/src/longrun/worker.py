"""Workers: they claim operations, run a handler for each, prolong their leases, and record their outcomes.

Execution is at least once: a handler may get an operation again, for instance when its worker was disconnected. Make
repetitions harmless, for instance with the operation's id. Only one outcome is recorded.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import asdict
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import anyio
import httpx

from . import _calls, _trace, wire
from ._async import AsyncClient
from ._attempt import Attempt, Cancelled, Failure, output_text
from ._sync import Client
from ._text import cut, well_formed
from ._wire import seconds
from .errors import ApiError, LongrunError, UnexpectedAnswer, is_transient

__all__ = ["AsyncWorker", "Attempt", "Cancelled", "Failure", "Handler", "Worker"]

#: Runs an attempt and returns the output: text, or a value that is converted to JSON. A coroutine function, or an
#: object that is called like one, runs in the event loop, which it must not block; anything else on a separate thread.
Handler = Callable[[Attempt], Awaitable[Any]] | Callable[[Attempt], Any]
H = TypeVar("H", bound=Callable[..., Any])

_log = logging.getLogger("longrun.worker")

#: Maximum number of operations per claim or heartbeat.
_MAX_ROWS = 1_000
#: For how many seconds a server lets a worker wait at most.
_LONGEST_POLL = 60.0
#: For how many seconds progress reports are collected after a heartbeat.
_PROGRESS_EVERY = 1.0
#: How many seconds recording outcomes may take after the drain time.
_LAST_WORDS = 10.0
#: Maximum size of an output that a server stores, in bytes.
_MAX_OUTPUT_BYTES = 1024 * 1024
#: Maximum size of an error message that a server stores whole, in bytes.
_MAX_ERROR_BYTES = 8 * 1024


class AsyncWorker:
    """Runs operations of the kinds that it has handlers for.

    worker = AsyncWorker(client, concurrency=4)

    @worker.handler("thumbnail")
    async def thumbnail(attempt: Attempt) -> str:
        ...

    await worker.run()
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        concurrency: int = 1,
        poll_wait: float = 30.0,
        drain: float = 30.0,
        grace: float = 10.0,
        organizations: Iterable[str] | None = None,
    ) -> None:
        """
        Args:
            client: a client whose token has the scope `operations:work`. The worker does not close it.
            concurrency: how many operations run at the same time.
            poll_wait: how many seconds the server may wait for work before it answers that there is none; 1 to 60, and
                at most two thirds of the client's timeout.
            drain: how many seconds running attempts may continue after the worker was asked to stop; then they are
                released without being charged.
            grace: how many seconds a cancelled handler may take to end.
            organizations: with a token of the instance, only operations of these organizations are run; by default,
                those of all that the token can reach.
        """
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._client = client
        self._concurrency = concurrency
        self._poll_wait = min(max(poll_wait, 1.0), _LONGEST_POLL, client.settings.timeout * 2 / 3)
        self._drain = drain
        self._grace = grace
        self._organizations = _named(organizations)
        self._handlers: dict[str, Handler] = {}
        self._held: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def handler(self, kind: str) -> Callable[[H], H]:
        """A decorator that makes a function the handler of a kind."""

        def register(handler: H) -> H:
            self._handlers[kind] = handler
            return handler

        return register

    def stop(self) -> None:
        """Stops claiming; running attempts may end within the drain time. A second call releases them at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self, *, handle_signals: bool = True) -> None:
        """Works until it is stopped, by `stop`, or by SIGTERM or SIGINT if it runs in the main thread. It waits for a
        server that is busy or away. A worker can run only once. When it is cancelled, it releases what runs before it
        ends, which may take the grace time and a few seconds.

        Raises:
            ApiError: the server refuses to give work to this worker: its token is not valid or lacks the scope, or
                there is no such kind. Running attempts are drained first.
        """
        if not self._handlers:
            raise ValueError("the worker has no handler; register one with @worker.handler(kind)")
        signals = _Signals.of_loop() if handle_signals else None
        if signals is not None:
            signals.stop(self)
        places = asyncio.Semaphore(self._concurrency)
        # Calls are cancelled with scopes and not with their tasks: httpcore protects its clean-up only from
        # cancellations of anyio, and leaves connections open when a task is cancelled while it closes several.
        claims, beats = anyio.CancelScope(), anyio.CancelScope()
        claiming = asyncio.create_task(_within(claims, self._claim_and_start(places)))
        beating = asyncio.create_task(_within(beats, self._keep()))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            claims.cancel()
            await asyncio.wait({claiming})
            await self._drain_all()
        finally:
            # Cancelled or not: what still runs is released while heartbeats keep its leases. A scope of anyio that was
            # cancelled would also cancel this, without the shield.
            with anyio.CancelScope(shield=True):
                try:
                    claims.cancel()
                    await asyncio.wait({claiming})
                    await self._release_all()
                finally:
                    beats.cancel()
                    stopping.cancel()
                    # Outcomes that could not be recorded are given up.
                    for attempt in self._held.values():
                        _log.warning("the outcome of %s was not recorded; its lease expires", attempt.operation.id)
                    for task in self._tasks:
                        task.cancel()
                    # The caller closes the client next: a call in progress would leave its connection open.
                    await asyncio.wait({claiming, stopping, beating, *self._tasks})
                    if signals is not None:
                        signals.leave(self)
        if error := claiming.exception():
            raise error

    async def _drain_all(self) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        everything = asyncio.create_task(self._all_ended())
        try:
            await asyncio.wait({everything, hurry}, timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            everything.cancel()

    async def _release_all(self) -> None:
        for attempt in self._held.values():
            attempt._end("released")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace + _LAST_WORDS)

    async def _all_ended(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    # Claiming.

    async def _claim_and_start(self, places: asyncio.Semaphore) -> None:
        failures, has_claimed = 0, False
        while True:
            # As many as are free now; those that become free while the server waits are filled by the next claim.
            await places.acquire()
            count = 1
            while count < _MAX_ROWS and not places.locked():
                await places.acquire()
                count += 1
            asked_at = time.monotonic()
            claims: list[wire.ClaimedOperation] = []
            try:
                answer = await self._claim(count)
                has_claimed = True
                claims = answer.operations
                for claimed in claims:
                    self._start(claimed, seconds(answer.lease_duration), places)
            except LongrunError as error:
                if not is_transient(error) and not (has_claimed and _is_foreign(error)):
                    raise
                asked_for = error.retry_after if isinstance(error, ApiError) else None
                pause = _calls.pause(asked_for, failures)
                _log.warning("could not claim, trying again in %.1f s: %s", pause, error)
            else:
                # A server that is stopping ends the calls of its workers; another one may be available in a moment.
                came_early = not claims and time.monotonic() - asked_at < self._poll_wait / 2
                failures = failures if came_early else -1
                pause = _calls.pause(None, failures) if came_early else 0.0
            for _ in range(count - len(claims)):
                places.release()
            failures += 1
            await asyncio.sleep(pause)

    async def _claim(self, count: int) -> wire.ClaimedOperations:
        """Claims operations. An answer that has begun is read to its end even if the worker is being stopped: what it
        brings belongs to this worker, and would be charged an attempt."""
        settings = self._client.settings
        call = _calls.claim(settings, self._handlers, count, self._poll_wait, self._organizations)
        response = await self._client._open(call)
        with anyio.CancelScope(shield=True):
            try:
                await self._client._read_body(response)
            except httpx.TransportError as broken:
                raise _calls.transport_error(settings.url, broken) from broken
        return _calls.read(wire.ClaimedOperations, response)

    def _start(self, claimed: wire.ClaimedOperation, lease_seconds: float, places: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        attempt = Attempt(claimed, lease_seconds, lambda: _from_any_thread(loop, self._changed.set))
        self._held[attempt._lease_token + attempt.operation.id] = attempt
        self._changed.set()
        task = asyncio.create_task(self._run(attempt, seconds(claimed.timeout), places))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # An attempt.

    async def _run(self, attempt: Attempt, limit: float, places: asyncio.Semaphore) -> None:
        """Runs an attempt and waits until its outcome is recorded. Heartbeats prolong its lease until then."""
        handler = self._handlers[attempt.operation.kind]
        running = _start_handler(handler, attempt)
        # A thread cannot be killed: its slot is in use as long as it runs.
        running.add_done_callback(lambda _: places.release())
        try:
            try:
                outcome = await self._outcome(attempt, running, limit)
            except Exception as error:  # For instance of an exception that cannot be written as text.
                _log.error("the outcome of %s cannot be read", attempt.operation.id, exc_info=error)
                outcome = _failed(f"the outcome cannot be read: {type(error).__name__}", retryable=False)
            if outcome is not None:
                attempt._has_outcome = True
                await self._settle(attempt, outcome)
        finally:
            running.cancel()
            self._held.pop(attempt._lease_token + attempt.operation.id, None)

    async def _outcome(self, attempt: Attempt, running: asyncio.Future[Any], limit: float) -> dict[str, Any] | None:
        """The outcome of the attempt; `None` if it cannot be recorded because the lease was lost."""
        stop = asyncio.create_task(attempt._stop.wait())
        await asyncio.wait({running, stop}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if running.done():
            return _outcome_of(attempt, running)
        attempt._end("timed out")
        attempt._cancelled.set()
        if isinstance(running, asyncio.Task):
            running.cancel()
        await asyncio.wait({running}, timeout=self._grace)
        reason = attempt._stop_reason
        if attempt._is_lost:
            return None
        if reason == "timed out":
            return _failed(f"timed out after {limit:g} s", retryable=True)
        # It was done before it noticed the cancellation: the result is recorded.
        if running.done() and not running.cancelled() and running.exception() is None:
            return _outcome_of(attempt, running)
        return {"release": True} if reason == "released" else _failed("cancelled", retryable=False)

    async def _settle(self, attempt: Attempt, outcome: dict[str, Any], *, is_refusal: bool = False) -> None:
        """Records an outcome, however long the server is away; one that cannot be sent as a failure that says so
        (`is_refusal`)."""
        failures = 0
        row: Any = {**attempt._lease, **outcome}
        while True:
            try:
                [answer] = await self._client.settle([row])
            except Exception as error:  # An outcome must not be lost without a word, whatever went wrong.
                if _is_transient(error) or _is_foreign(error):
                    pause = _calls.pause(getattr(error, "retry_after", None), failures)
                    told = "could not record the outcome of %s, trying again in %.1f s: %s"
                    _log.warning(told, attempt.operation.id, pause, error)
                    await asyncio.sleep(pause)
                    failures += 1
                    continue
                _log.error("the outcome of %s was refused: %s", attempt.operation.id, error)
                if is_refusal or "release" in outcome:
                    return  # The lease expires.
                what = "output" if "output" in outcome else "error message"
                refused = _failed(f"the {what} was refused: {error}", retryable=False)
                return await self._settle(attempt, refused, is_refusal=True)
            if answer.error is not None:
                _log.warning("the outcome of %s was refused: %s", answer.id, answer.error)
            return

    # Heartbeats.

    async def _keep(self) -> None:
        """Sends heartbeats for all held operations, every third of the lease, and sooner if there is progress."""
        last = float("-inf")
        while True:
            now = time.monotonic()
            due = min((attempt._beat_at for attempt in self._held.values()), default=float("inf"))
            if any(now - attempt._beat_at >= attempt._lease_seconds / 3 for attempt in self._held.values()):
                _log.warning("heartbeats are %.1f s late: something blocks the event loop", now - due)
            if any(attempt._has_progress for attempt in self._held.values()):
                due = min(due, last + _PROGRESS_EVERY)
            if due > now:
                self._changed.clear()
                try:
                    async with asyncio.timeout(None if due == float("inf") else due - now):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            last = now
            held = list(self._held.values())
            for start in range(0, len(held), _MAX_ROWS):
                await self._beat(held[start : start + _MAX_ROWS])

    async def _beat(self, attempts: list[Attempt], *, has_progress: bool = True) -> None:
        rows = [attempt._heartbeat(has_progress=has_progress) for attempt in attempts]
        sent_at = time.monotonic()
        try:
            with anyio.fail_after(min(attempt._lease_seconds for attempt in attempts) / 3):
                states = list(zip(attempts, await self._client.heartbeat(rows), strict=True))
        except Exception as error:  # Whatever it is, the heartbeats go on.
            _log.warning("heartbeats of %d operations failed: %s", len(rows), str(error) or "no answer in time")
            may_succeed = _is_transient(error)
            if not may_succeed and any("progress" in row for row in rows):
                # The report of one operation must not cost the others their leases.
                return await self._beat(attempts, has_progress=False)
            now = time.monotonic()
            for attempt, row in zip(attempts, rows, strict=True):
                if may_succeed:
                    attempt._put_back(row)
                attempt._beat_at = now + attempt._lease_seconds / 9
                # Another worker may have it.
                if now - attempt._kept_at >= attempt._lease_seconds and attempt._lose():
                    _log.warning("the lease of %s has expired; its handler is stopped", attempt.operation.id)
            return
        for attempt, state in states:
            attempt._kept_at = sent_at
            attempt._beat_at = sent_at + attempt._lease_seconds / 3
            if state.error is not None:
                if attempt._lose():
                    _log.warning("the lease of %s was lost; its handler is stopped", attempt.operation.id)
            elif state.cancel_requested:
                attempt._end("cancelled")


class _Signals:
    """SIGTERM and SIGINT stop all workers of an event loop, which has one handler for each signal."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Signals]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._workers: list[AsyncWorker] = []
        self._before: dict[signal.Signals, Any] = {}

    @classmethod
    def of_loop(cls) -> _Signals | None:
        """Those of the running event loop; `None` outside of the main thread, which alone gets signals."""
        if threading.current_thread() is not threading.main_thread():
            return None
        return cls._of_loops.setdefault(asyncio.get_running_loop(), cls())

    def stop(self, worker: AsyncWorker) -> None:
        """From now on they stop this worker too."""
        self._workers.append(worker)
        if len(self._workers) > 1:
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            try:
                loop.add_signal_handler(number, self._stop_all)
            except NotImplementedError:  # Windows: Ctrl-C cancels `run`, which releases what it can.
                continue
            self._before[number] = before

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.stop()

    def leave(self, worker: AsyncWorker) -> None:
        """They no longer stop this worker. After the last one, everything is as it was."""
        self._workers.remove(worker)
        while not self._workers and self._before:
            number, before = self._before.popitem()
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, before)


def _named(organizations: Iterable[str] | None) -> list[str] | None:
    named = None if organizations is None else list(organizations)
    if named == []:
        # To the server, no organization is named, which means all.
        raise ValueError("organizations is empty; without it, operations of all organizations are run")
    return named


async def _within(scope: anyio.CancelScope, work: Coroutine[Any, Any, None]) -> None:
    with scope:
        await work


def _is_transient(error: Exception) -> bool:
    # `WaitTimeout` is both, but nobody waits here.
    return isinstance(error, TimeoutError) or (isinstance(error, LongrunError) and is_transient(error))


def _is_foreign(error: Exception) -> bool:
    """Whether something between answered, such as a proxy that does not find the server for a moment. One that refuses
    so large a body would do so again."""
    return isinstance(error, UnexpectedAnswer) and error.http_status >= 300 and error.http_status != 413


def _from_any_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        pass  # The worker has ended before the thread.


def _start_handler(handler: Handler, attempt: Attempt) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def end(set_result: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_result(value)

    def fail(error: BaseException) -> None:
        if isinstance(error, StopIteration):  # No future takes it.
            error = RuntimeError(f"the handler raised StopIteration {error}".rstrip())
        end(done.set_exception, error)

    def run() -> None:
        try:
            with _trace.below(attempt.traceparent):
                value = handler(attempt)
        except BaseException as error:
            failed = error  # The name of an except clause is deleted at the end of the clause.
            _from_any_thread(loop, lambda: fail(failed))
        else:
            _from_any_thread(loop, lambda: end(done.set_result, value))

    try:
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
            # The task inherits the current context.
            with _trace.below(attempt.traceparent):
                return asyncio.ensure_future(handler(attempt))
        # A thread that does not end must not keep the program from ending.
        threading.Thread(target=run, name=f"longrun-{attempt.operation.id}", daemon=True).start()
    except Exception as error:  # It cannot be called with an attempt, or there can be no more threads.
        fail(error)
    return done


def _outcome_of(attempt: Attempt, running: asyncio.Future[Any]) -> dict[str, Any]:
    if running.cancelled():
        return _failed("the handler was cancelled", retryable=True)
    error = running.exception()
    if isinstance(error, Failure):
        return _failed(str(error), retryable=error.retryable)
    if error is not None:
        _log.error("the handler of %s failed", attempt.operation.id, exc_info=error)
        return _failed(f"{type(error).__name__}: {error}", retryable=True)
    try:
        output = output_text(running.result())
    except (TypeError, ValueError) as wrong:
        return _failed(f"the handler's result is neither text nor JSON: {wrong}", retryable=False)
    length = len(output.encode())
    if length > _MAX_OUTPUT_BYTES:
        told = f"the output is {length} bytes long; at most {_MAX_OUTPUT_BYTES} are allowed"
        return _failed(told, retryable=False)
    return {"output": output}


def _failed(message: str, *, retryable: bool) -> dict[str, Any]:
    """A failure, with a message that a server accepts and stores whole."""
    message = well_formed(message)
    length = len(message.encode())
    if length > _MAX_ERROR_BYTES:
        tail = f"… ({length} bytes in all)"
        message = cut(message, _MAX_ERROR_BYTES - len(tail.encode())) + tail
    return {"error_message": message, "retryable": retryable}


class Worker:
    """Runs operations without asyncio: each handler on a separate thread.

    worker = Worker(client, concurrency=4)

    @worker.handler("thumbnail")
    def thumbnail(attempt: Attempt) -> str:
        ...

    worker.run()
    """

    def __init__(
        self,
        client: Client,
        *,
        concurrency: int = 1,
        poll_wait: float = 30.0,
        drain: float = 30.0,
        grace: float = 10.0,
        organizations: Iterable[str] | None = None,
    ) -> None:
        """The arguments are those of `AsyncWorker`. Only the settings of the client are used."""
        self._settings = client.settings
        self._arguments: dict[str, Any] = {
            "concurrency": concurrency,
            "poll_wait": poll_wait,
            "drain": drain,
            "grace": grace,
            "organizations": _named(organizations),
        }
        self._handlers: dict[str, Handler] = {}
        # A handler of signals may call `stop` while this very thread holds it.
        self._lock = threading.RLock()
        self._stops = 0
        self._stop: Callable[[], None] | None = None

    def handler(self, kind: str) -> Callable[[H], H]:
        """A decorator that makes a function the handler of a kind."""

        def register(handler: H) -> H:
            self._handlers[kind] = handler
            return handler

        return register

    def stop(self) -> None:
        """Stops claiming; running attempts may end within the drain time. A second call releases them at once.
        May be called from any thread."""
        with self._lock:
            self._stops += 1
            if self._stop is not None:
                self._stop()

    def run(self, *, handle_signals: bool = True) -> None:
        """See `AsyncWorker.run`."""
        asyncio.run(self._run(handle_signals))

    async def _run(self, handle_signals: bool) -> None:
        loop = asyncio.get_running_loop()
        async with AsyncClient(**asdict(self._settings)) as client:
            worker = AsyncWorker(client, **self._arguments)
            worker._handlers = self._handlers
            with self._lock:
                for _ in range(self._stops):
                    worker.stop()
                self._stop = lambda: _from_any_thread(loop, worker.stop)
            try:
                await worker.run(handle_signals=handle_signals)
            finally:
                with self._lock:
                    self._stop = None
