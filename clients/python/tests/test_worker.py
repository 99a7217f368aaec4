"""Workers of both sorts against the real server."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest
from server import PATIENCE, Server, until

import longrun
from longrun import Attempt


class Running:
    """A worker that runs on a thread beside the test."""

    def __init__(self, sort: str, server: Server, handlers: dict[str, Any], **settings: Any) -> None:
        self._sort = sort
        self._server = server
        self._handlers = handlers
        self._token = settings.pop("token", server.token)
        self._settings = settings
        self.stop: Callable[[], Any] = lambda: None
        self.error: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _run(self) -> None:
        try:
            if self._sort == "sync":
                with longrun.Client(self._server.url, self._token) as client:
                    self._work(longrun.Worker(client, **self._settings))
            else:
                asyncio.run(self._work_async())
        except BaseException as error:
            self.error = error

    def _work(self, worker: longrun.Worker) -> None:
        for kind, handler in self._handlers.items():
            worker.handler(kind)(handler)
        self.stop = worker.stop
        self._ready.set()
        worker.run()

    async def _work_async(self) -> None:
        async with longrun.AsyncClient(self._server.url, self._token) as client:
            worker = longrun.AsyncWorker(client, **self._settings)
            for kind, handler in self._handlers.items():
                worker.handler(kind)(handler)
            loop = asyncio.get_running_loop()
            self.stop = lambda: loop.call_soon_threadsafe(worker.stop)
            self._ready.set()
            try:
                await worker.run()
            finally:
                self.stop = lambda: None

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the worker does not end"


@pytest.fixture(params=["sync", "asyncio"])
def work(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Starts workers of one sort and then of the other; they are stopped at the end."""
    started: list[Running] = []

    def start(server: Server, handlers: dict[str, Any], **settings: Any) -> Running:
        started.append(Running(request.param, server, handlers, **settings))
        return started[-1]

    yield start
    for running in started:
        running.stop()
        running.join()
        if running.error and not isinstance(running.error, longrun.ApiError):
            raise running.error


@pytest.fixture
def caller(server: Server) -> Iterator[longrun.Client]:
    with longrun.Client(server.url, server.token) as client:
        yield client


def test_a_handler_gets_the_input_and_its_answer_is_the_output(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    async def in_the_loop(attempt: Attempt) -> Any:
        return {"input": attempt.input, "number": attempt.number}

    work(server, {"task": lambda attempt: attempt.operation.resource_id, "walk": in_the_loop})
    task = caller.create("task", resource_type="t", resource_id="42")
    walk = caller.create("walk", input={"x": [1, None, "é"]})
    assert caller.wait(task.id).result() == "42"
    assert json.loads(caller.wait(walk.id).result()) == {"input": {"x": [1, None, "é"]}, "number": 1}


def test_so_many_handlers_run_at_a_time_as_was_said(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    together = threading.Barrier(3)
    # Ends only when three are at work.
    work(server, {"task": lambda attempt: str(together.wait(PATIENCE))}, concurrency=3)
    created = caller.batch_create([{"kind": "task"}] * 6)
    outputs = [caller.wait(operation.id).result() for operation in created]
    assert sorted(outputs) == ["0", "0", "1", "1", "2", "2"]


def test_failures_are_repeated_unless_they_are_final(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    def task(attempt: Attempt) -> str:
        if attempt.input == "bad":
            raise longrun.Failure("bad input")
        if attempt.number == 1:
            raise OSError("the disk is full")
        return f"attempt {attempt.number}"

    others = {"never": lambda attempt: float("nan"), "other": lambda attempt: "x" * (1024 * 1024 + 1)}
    work(server, {"task": task, "walk": lambda attempt: object(), **others})
    bad, good = caller.create("task", input="bad"), caller.create("task")
    assert caller.wait(bad.id).error_message == "bad input"
    assert caller.wait(good.id).result() == "attempt 2"
    [failed] = [event for event in caller.events(good.id) if event.type == "ATTEMPT_FAILED"]
    assert failed.message == "OSError: the disk is full"
    for kind in ("walk", "never"):
        assert "neither text nor JSON" in caller.wait(caller.create(kind).id).error_message
    assert "at most 1048576 are allowed" in caller.wait(caller.create("other").id).error_message


def test_a_handler_that_cannot_begin_fails_its_operation_and_keeps_no_slot(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    async def takes_nothing() -> None:
        pass

    class Called:
        async def __call__(self, attempt: Attempt) -> str:
            return f"attempt {attempt.number}"

    work(server, {"task": takes_nothing, "walk": lambda attempt: next(iter(())), "other": Called()})
    task, walk, other = (caller.create(kind, max_attempts=1) for kind in ("task", "walk", "other"))
    assert "takes 0 positional arguments" in caller.wait(task.id, timeout=PATIENCE).error_message
    told = "RuntimeError: the handler raised StopIteration"
    assert caller.wait(walk.id, timeout=PATIENCE).error_message == told
    assert caller.wait(other.id, timeout=PATIENCE).result() == "attempt 1"


def test_texts_that_cannot_be_sent_as_they_are_become_texts_that_can(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def task(attempt: Attempt) -> Any:
        match attempt.input:
            case "text":
                return "half \ud83d, whole \ud83d\ude00"
            case "json":
                return {"key \ud800": ["\udfff", "\\ud800", "é"]}
            case "failure":
                raise longrun.Failure("half \ud83d")
            case "long":
                raise longrun.Failure("é" * 1_500_000)
            case "mute":
                raise Mute

    work(server, {"task": task}, concurrency=5)
    ended = {text: caller.create("task", input=text) for text in ("text", "json", "failure", "long", "mute")}
    found = {text: caller.wait(operation.id) for text, operation in ended.items()}
    assert found["text"].result() == "half \ufffd, whole 😀"
    assert json.loads(found["json"].result()) == {"key \ufffd": ["\ufffd", "\\ud800", "é"]}
    assert found["failure"].error_message == "half \ufffd"
    message = found["long"].error_message
    assert message.startswith("ééé") and message.endswith("é… (3000000 bytes in all)")
    assert 8 * 1024 - 2 <= len(message.encode()) <= 8 * 1024
    assert found["mute"].error_message == "the outcome cannot be read: ZeroDivisionError"


def test_a_worker_for_several_organizations_runs_those_of_the_named_ones(
    own_server: Server, work: Callable[..., Running]
) -> None:
    end = threading.Event()

    def task(attempt: Attempt) -> str:
        attempt.report("begun")
        assert end.wait(PATIENCE)
        return attempt.organization

    with longrun.Client(own_server.url, own_server.manager) as manager:
        manager.create_organization("globex")
        token = manager.create_token("caller", ["admin"], organization="globex").secret
    with (
        longrun.Client(own_server.url, own_server.token) as acme,
        longrun.Client(own_server.url, token) as globex,
    ):
        first, second = acme.create("task"), globex.create("task")
        limited = work(own_server, {"task": task}, token=own_server.manager, organizations=["globex"], concurrency=2)
        until("progress", lambda: any(event.message == "begun" for event in globex.events(second.id)))
        end.set()
        assert globex.wait(second.id).result() == "globex"
        limited.stop()
        limited.join()
        assert acme.get(first.id).state == "PENDING"
        work(own_server, {"task": task}, token=own_server.manager)
        assert acme.wait(first.id).result() == "acme"


def test_a_cancellation_reaches_a_handler_of_either_sort(tmp_path: Any, work: Callable[..., Running]) -> None:
    started, told = threading.Semaphore(0), []

    def on_a_thread(attempt: Attempt) -> None:
        started.release()
        try:
            attempt.sleep(PATIENCE)
        except longrun.Cancelled:
            told.append("thread")
            raise

    async def in_the_loop(attempt: Attempt) -> None:
        started.release()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            told.append("loop")

    # Heartbeats, which tell of it, come every two seconds.
    with Server(tmp_path, LONGRUN_ENGINE_LEASE="6s") as server, longrun.Client(server.url, server.token) as caller:
        work(server, {"task": on_a_thread, "walk": in_the_loop}, concurrency=2)
        created = caller.batch_create([{"kind": "task"}, {"kind": "walk"}])
        for _ in created:
            assert started.acquire(timeout=PATIENCE)
        for operation in created:
            assert caller.cancel(operation.id).state == "RUNNING"
        assert [caller.wait(operation.id).error_message for operation in created] == ["cancelled"] * 2
    assert sorted(told) == ["loop", "thread"]


def test_progress_comes_into_the_history_within_seconds(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    end = threading.Event()
    reports = {"long": "é" * 1000, "half": "half \ud83d"}

    def task(attempt: Attempt) -> None:
        attempt.report(reports[attempt.input])
        assert end.wait(PATIENCE)

    work(server, {"task": task}, concurrency=2)
    long, half = caller.create("task", input="long"), caller.create("task", input="half")
    # A lease is 30 s: a heartbeat of its own would come after ten.
    until("progress", lambda: any(event.message == "é" * 512 for event in caller.events(long.id)))
    until("progress", lambda: any(event.message == "half \ufffd" for event in caller.events(half.id)))
    end.set()
    assert caller.wait(long.id).result() == ""


def test_what_was_done_before_a_cancellation_was_noticed_counts(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    started = threading.Event()

    def task(attempt: Attempt) -> str:
        started.set()
        while not attempt.cancelled:
            # Brings the next heartbeat, whose answer tells of it.
            attempt.report("on")
            threading.Event().wait(0.01)
        return "done all the same"

    work(server, {"task": task})
    operation = caller.create("task")
    assert started.wait(PATIENCE)
    caller.cancel(operation.id)
    assert caller.wait(operation.id).result() == "done all the same"


def test_an_attempt_ends_with_its_time(server: Server, caller: longrun.Client, work: Callable[..., Running]) -> None:
    work(server, {"task": lambda attempt: attempt.sleep(PATIENCE)})
    operation = caller.create("task", timeout=0.2, max_attempts=1)
    assert caller.wait(operation.id).error_message == "timed out after 0.2 s"


@pytest.mark.parametrize("work", ["sync"], indirect=True)
def test_heartbeats_keep_an_attempt_for_longer_than_a_lease(tmp_path: Any, work: Callable[..., Running]) -> None:
    with Server(tmp_path, LONGRUN_ENGINE_LEASE="3s") as server, longrun.Client(server.url, server.token) as caller:
        # What is tested is that time passes: two leases and a bit.
        work(server, {"task": lambda attempt: attempt.sleep(6.5) or f"attempt {attempt.number}"}, concurrency=2)
        created = caller.batch_create([{"kind": "task"}] * 2)
        assert [caller.wait(operation.id).result() for operation in created] == ["attempt 1"] * 2


def test_a_worker_outlives_a_server_that_is_killed(own_server: Server, work: Callable[..., Running]) -> None:
    started, end = threading.Event(), threading.Event()

    def task(attempt: Attempt) -> str:
        started.set()
        assert end.wait(PATIENCE)
        return f"attempt {attempt.number}"

    caller = longrun.Client(own_server.url, own_server.token)
    work(own_server, {"task": task})
    first = caller.create("task")
    assert started.wait(PATIENCE)
    own_server.kill()
    # It ends while nobody is there to be told.
    end.set()
    own_server.start()
    second = caller.create("task")
    assert caller.wait(first.id).result() == "attempt 1"
    assert caller.wait(second.id).result() == "attempt 1"
    caller.close()


def test_a_worker_that_is_stopped_finishes_or_releases_what_it_holds(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    started, end = threading.Semaphore(0), threading.Event()

    def task(attempt: Attempt) -> str:
        started.release()
        if attempt.input == "slow":
            attempt.sleep(PATIENCE)
        assert end.wait(PATIENCE)
        return "finished"

    worker = work(server, {"task": task}, concurrency=2, drain=1.0)
    quick, slow = caller.create("task"), caller.create("task", input="slow")
    for _ in range(2):
        assert started.acquire(timeout=PATIENCE)
    later = caller.create("task")
    worker.stop()
    end.set()
    worker.join()
    assert caller.get(quick.id).result() == "finished"
    assert (caller.get(slow.id).state, caller.get(later.id).state) == ("PENDING", "PENDING")
    assert [event.type for event in caller.events(slow.id)][-1] == "ATTEMPT_RELEASED"
    for operation in (slow, later):
        caller.cancel(operation.id)


def test_a_worker_that_is_stopped_twice_does_not_wait_out_the_drain_time(
    server: Server, caller: longrun.Client, work: Callable[..., Running]
) -> None:
    started = threading.Event()

    def task(attempt: Attempt) -> None:
        started.set()
        attempt.sleep(PATIENCE)

    worker = work(server, {"task": task}, drain=10 * PATIENCE)
    operation = caller.create("task")
    assert started.wait(PATIENCE)
    worker.stop()
    worker.stop()
    worker.join()
    assert caller.get(operation.id).state == "PENDING"
    caller.cancel(operation.id)


def test_a_worker_that_is_stopped_while_work_arrives_runs_it(server: Server, caller: longrun.Client) -> None:
    operation = caller.create("task", max_attempts=1)

    async def work() -> None:
        begun, stopped = asyncio.Event(), asyncio.Event()

        class Slow(httpx.AsyncByteStream):
            def __init__(self, content: bytes) -> None:
                self._content = content

            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield self._content[:1]
                begun.set()
                await stopped.wait()
                yield self._content[1:]

        class Slowly(Interfering):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                response = await super().handle_async_request(request)
                if not request.url.path.endswith(":claim"):
                    return response
                return httpx.Response(response.status_code, stream=Slow(await response.aread()))

        async with httpx.AsyncClient(transport=Slowly(lambda request: None)) as http:
            worker = longrun.AsyncWorker(longrun.AsyncClient(server.url, server.token, http=http))
            worker.handler("task")(lambda attempt: f"attempt {attempt.number}")
            running = asyncio.create_task(worker.run(handle_signals=False))
            await begun.wait()
            worker.stop()
            await asyncio.sleep(0.1)
            stopped.set()
            await running

    asyncio.run(work())
    assert caller.get(operation.id).result() == "attempt 1"


@pytest.mark.parametrize("scope", ["task", "anyio"])
@pytest.mark.parametrize("sort", ["thread", "coroutine"])
def test_a_worker_that_is_cancelled_releases_what_it_holds_before_it_ends(
    server: Server, caller: longrun.Client, sort: str, scope: str
) -> None:
    operation = caller.create("task", max_attempts=1)

    async def work() -> None:
        loop, started = asyncio.get_running_loop(), asyncio.Event()
        ended: list[int] = []

        def on_a_thread(attempt: Attempt) -> None:
            loop.call_soon_threadsafe(started.set)
            attempt.sleep(PATIENCE)

        async def in_the_loop(attempt: Attempt) -> None:
            started.set()
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                # What it cleans up may take a moment.
                await caller_in_the_loop.get(operation.id)
                ended.append(attempt.number)

        async with longrun.AsyncClient(server.url, server.token) as caller_in_the_loop:
            worker = longrun.AsyncWorker(caller_in_the_loop, drain=10 * PATIENCE)
            worker.handler("task")(on_a_thread if sort == "thread" else in_the_loop)
            if scope == "task":
                running = asyncio.create_task(worker.run(handle_signals=False))
                await started.wait()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: worker.run(handle_signals=False))
                    await started.wait()
                    group.cancel_scope.cancel()
            assert worker._tasks == set()
            assert ended == ([] if sort == "thread" else [1])

    asyncio.run(work())
    assert caller.get(operation.id).state == "PENDING"
    assert [event.type for event in caller.events(operation.id)][-1] == "ATTEMPT_RELEASED"
    caller.cancel(operation.id)


class Interfering(httpx.AsyncHTTPTransport):
    """The way to the real server, with a function that may answer calls itself, or raise errors."""

    def __init__(self, interfere: Callable[[httpx.Request], httpx.Response | None], lease: str = "30s") -> None:
        super().__init__()
        self._interfere = interfere
        self._lease = lease

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = self._interfere(request) or await super().handle_async_request(request)
        if not request.url.path.endswith(":claim") or not response.is_success:
            return response
        claimed = await response.aread()
        await response.aclose()
        return httpx.Response(200, content=claimed.replace(b'"30s"', f'"{self._lease}"'.encode()))


async def work_until_it_ends(
    server: Server,
    operation: longrun.Operation,
    handler: Callable[[Attempt], Any],
    interfere: Callable[[httpx.Request], httpx.Response | None] = lambda request: None,
    lease: str = "30s",
) -> longrun.Operation:
    """With `lease`, the worker believes that a lease lasts as long as that; to the server, it lasts 30 s."""
    async with httpx.AsyncClient(transport=Interfering(interfere, lease)) as http:
        worker = longrun.AsyncWorker(longrun.AsyncClient(server.url, server.token, http=http, retries=0))
        worker.handler("task")(handler)
        running = asyncio.create_task(worker.run(handle_signals=False))
        async with longrun.AsyncClient(server.url, server.token) as caller:
            ended = await caller.wait(operation.id, timeout=PATIENCE)
        worker.stop()
        await running
        return ended


def test_an_outcome_that_cannot_be_sent_becomes_a_failure_that_says_so(server: Server, caller: longrun.Client) -> None:
    def interfere(request: httpx.Request) -> None:
        if b"unsendable" in request.content:
            raise ZeroDivisionError("nobody expects this")

    def fail(attempt: Attempt) -> None:
        raise OSError("unsendable")

    for what, handler in (("output", lambda attempt: "unsendable"), ("error message", fail)):
        operation = caller.create("task", max_attempts=2)
        ended = asyncio.run(work_until_it_ends(server, operation, handler, interfere))
        assert ended.error_message == f"the {what} was refused: nobody expects this"


@pytest.mark.parametrize("answer", [None, httpx.Response(404, text="404 page not found")])
def test_an_outcome_is_sent_until_the_server_answers_even_if_the_lease_may_be_lost(
    server: Server, caller: longrun.Client, answer: httpx.Response | None, caplog: pytest.LogCaptureFixture
) -> None:
    away_until = time.monotonic() + 1.0

    def interfere(request: httpx.Request) -> httpx.Response | None:
        if time.monotonic() >= away_until or not request.url.path.endswith((":heartbeat", ":settle")):
            return None
        if answer is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(answer.status_code, text=answer.text)

    operation = caller.create("task", max_attempts=1)
    handler = lambda attempt: f"attempt {attempt.number}"  # noqa: E731
    ended = asyncio.run(work_until_it_ends(server, operation, handler, interfere, lease="0.3s"))
    assert ended.result() == "attempt 1"
    assert any(f"could not record the outcome of {operation.id}" in message for message in caplog.messages)


def test_a_worker_that_has_had_work_outlives_a_proxy_that_does_not_find_the_server(
    server: Server, caller: longrun.Client
) -> None:
    claims: list[str] = []
    missing = 2

    def interfere(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith(":claim"):
            claims.append(request.url.path)
            if len(claims) == missing:
                return httpx.Response(404, text="404 page not found")
        return None

    def task(attempt: Attempt) -> str:
        return f"claim {len(claims)}"

    # The next claim follows when the slot is free again, and so before the second operation is claimed.
    operations = caller.batch_create([{"kind": "task"}] * 2)
    asyncio.run(work_until_it_ends(server, operations[1], task, interfere))
    assert sorted(caller.get(operation.id).result() for operation in operations) == ["claim 1", "claim 3"]
    # At first, the address is probably wrong.
    missing = len(claims) + 1

    async def work() -> None:
        async with httpx.AsyncClient(transport=Interfering(interfere)) as http:
            worker = longrun.AsyncWorker(longrun.AsyncClient(server.url, server.token, http=http))
            worker.handler("task")(task)
            await worker.run(handle_signals=False)

    with pytest.raises(longrun.UnexpectedAnswer, match="404 page not found"):
        asyncio.run(work())


def test_a_lost_lease_and_an_outcome_that_was_not_recorded_are_told(
    server: Server, caller: longrun.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.worker._LAST_WORDS", 0.1)
    lost, kept = caller.create("task", input="lost"), caller.create("task")
    noticed, ended = threading.Event(), threading.Event()

    def interfere(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith(":settle"):
            ended.set()
            raise httpx.ConnectError("refused")
        if not request.url.path.endswith(":heartbeat"):
            return None
        error = {"code": 10, "message": "the lease is lost", "details": []}
        rows = [{"id": row["id"], "error": error} for row in json.loads(request.content)["operations"]]
        return httpx.Response(200, json={"operations": rows})

    def task(attempt: Attempt) -> None:
        while attempt.input == "lost" and not attempt.cancelled:
            attempt.report("on")
            time.sleep(0.01)
        noticed.set()

    async def work() -> None:
        async with httpx.AsyncClient(transport=Interfering(interfere)) as http:
            client = longrun.AsyncClient(server.url, server.token, http=http)
            worker = longrun.AsyncWorker(client, concurrency=2, drain=0.1, grace=0.1)
            worker.handler("task")(task)
            running = asyncio.create_task(worker.run(handle_signals=False))
            for happened in (noticed, ended):
                assert await asyncio.to_thread(happened.wait, PATIENCE)
            worker.stop()
            await running

    asyncio.run(work())
    assert f"the lease of {lost.id} was lost; its handler is stopped" in caplog.messages
    assert f"the outcome of {kept.id} was not recorded; its lease expires" in caplog.messages
    for operation in (lost, kept):
        caller.cancel(operation.id)


def test_a_handler_that_blocks_the_event_loop_is_told(
    server: Server, caller: longrun.Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def task(attempt: Attempt) -> None:
        time.sleep(0.5)  # noqa: ASYNC251

    asyncio.run(work_until_it_ends(server, caller.create("task"), task, lease="0.3s"))
    assert any("something blocks the event loop" in message for message in caplog.messages)


def test_a_signal_stops_all_workers_of_an_event_loop(server: Server) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> None:
        async with longrun.AsyncClient(server.url, server.token) as client:
            running = []
            for _ in range(2):
                worker = longrun.AsyncWorker(client)
                worker.handler("never")(lambda attempt: None)
                running.append(asyncio.create_task(worker.run()))
                await asyncio.sleep(0)
            # One that ends by itself leaves the signals to the others.
            worker = longrun.AsyncWorker(client)
            worker.handler("never")(lambda attempt: None)
            worker.stop()
            await worker.run()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(PATIENCE / 4):
                await asyncio.gather(*running)

    asyncio.run(work())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("fault", ["refused", "raised", "short"])
def test_a_report_that_cannot_be_sent_stops_no_heartbeats(server: Server, caller: longrun.Client, fault: str) -> None:
    beats, kept = [], threading.Event()

    def interfere(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith(":heartbeat"):
            return None
        beats.append(b"progress" in request.content)
        if beats[-1] and fault == "raised":
            raise ZeroDivisionError
        if beats[-1] and fault == "short":
            return httpx.Response(200, json={"operations": []})
        if beats[-1]:
            return httpx.Response(400, json={"code": 3, "message": "no such progress"})
        kept.set()
        return None

    def task(attempt: Attempt) -> str:
        attempt.report("x")
        assert kept.wait(PATIENCE)
        return f"attempt {attempt.number}"

    operation = caller.create("task")
    ended = asyncio.run(work_until_it_ends(server, operation, task, interfere))
    assert (ended.result(), beats) == ("attempt 1", [True, False])


def test_a_worker_that_gets_no_work_says_why(server: Server, work: Callable[..., Running]) -> None:
    worker = work(server, {"evidence_evaluation": lambda attempt: ""})
    worker.join()
    assert isinstance(worker.error, longrun.InvalidRequest) and "evidence_evaluation" in str(worker.error)


def test_a_worker_that_is_stopped_while_it_closes_connections_closes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes away closes what was kept alive, and the next claim finds several to clear away at once."""
    kept_alive = 16
    open_ones: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: open_ones.append(str(unraisable.exc_value)))
    answer = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"views":[]}'

    async def stop_after(steps: int) -> None:
        writers: list[asyncio.StreamWriter] = []
        together = asyncio.Barrier(kept_alive)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await reader.readuntil(b"\r\n\r\n")
            if len(writers) <= kept_alive:
                await together.wait()
                writer.write(answer)
            else:
                await reader.read()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with longrun.AsyncClient(f"http://127.0.0.1:{port}", "token") as client:
            await asyncio.gather(*(client.views() for _ in range(kept_alive)))
            for writer in writers:
                writer.close()
                await writer.wait_closed()
            worker = longrun.AsyncWorker(client)
            worker.handler("task")(lambda attempt: None)
            running = asyncio.ensure_future(worker.run())
            for _ in range(steps):
                await asyncio.sleep(0)
            worker.stop()
            await running
        for writer in writers[kept_alive:]:
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    for steps in range(12):
        asyncio.run(stop_after(steps))
        gc.collect()
    assert open_ones == []
