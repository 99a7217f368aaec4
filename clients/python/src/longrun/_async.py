"""The client for asyncio. The client without asyncio, `_sync.py`, is made from this file by `make sdks`."""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

import httpx

from . import _calls, wire
from ._async_watch import AsyncWatch
from ._calls import Call, Settings
from ._wire import duration, segment, time_text, without_none
from .errors import ApiError, LongrunError, WaitTimeout, is_transient
from .wire import Operation


class AsyncClient:
    """A caller of one server with one token.

    Calls that the server could not take (429, 503) are sent again after the pause that it asks for; so are calls whose
    connection broke, where sending twice cannot do the work twice. Creations have an idempotency key for that, one of
    your own or a new one. Every method raises the errors of `longrun.errors`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 90.0,
        retries: int = 4,
        reconnect_for: float | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """
        Args:
            url: the server's address, e.g. `http://127.0.0.1:8080`; a path before `/v1` is kept.
            token: an API token.
            timeout: how many seconds the server may be silent during a call.
            retries: how often a call is sent again at most.
            reconnect_for: how many seconds `wait` and `watch` try to reach a server again that they lost; `None`: for
                ever.
            http: the client of httpx to send with, for certificates and proxies of your own. It keeps its own limits
                and is yours to close.
        """
        self.settings = Settings(url, token, timeout, retries, reconnect_for)
        arguments = self.settings.for_httpx()
        self._owns_http = http is None
        self._http = http or httpx.AsyncClient(**arguments)
        if http is not None:
            http.base_url = arguments["base_url"]
            http.headers.update(arguments["headers"])
        self._was_answered = False

    @classmethod
    def from_env(cls, **settings: Any) -> AsyncClient:
        """A client of the server that LONGRUN_URL names, with the token of LONGRUN_TOKEN or LONGRUN_TOKEN_FILE."""
        url, token = Settings.of_environment()
        return cls(url, token, **settings)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes its connections."""
        if self._owns_http:
            await self._http.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.url!r})"

    # Operations.

    async def create(
        self,
        kind: str,
        *,
        input: Any = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        project_id: str | None = None,
        project_version_id: str | None = None,
        priority: int | None = None,
        run_after: datetime | str | None = None,
        timeout: float | timedelta | str | None = None,
        max_attempts: int | None = None,
        retain_for: float | timedelta | str | None = None,
        concurrency_key: str | None = None,
        concurrency_limit: int | None = None,
        labels: dict[str, str] | None = None,
        unique_key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Asks for work and answers the operation at once; `wait` waits for its end.

        Args:
            kind: what kind of work; one that the server declares.
            input: what the work needs to know, any JSON.
            resource_type, resource_id: what it is about; both or neither.
            priority: -100 to 100; higher runs first within the organization.
            run_after: it does not run before.
            timeout: of one attempt; seconds, or text such as `"60s"`.
            max_attempts: 1 to 100.
            retain_for: how long to keep it after its end.
            concurrency_key: at most `concurrency_limit` operations with this key run at a time.
            concurrency_limit: how many; 1 unless it is given.
            labels: what it is found by; at most 16, with keys in lower case.
            unique_key: while an operation with this key has not ended, that one is answered and none is created.
            idempotency_key: with the same key and the same request, the first operation is answered for 24 hours.
        """
        operation = {
            "kind": kind,
            "resource_type": resource_type,
            "resource_id": resource_id,
            "project_id": project_id,
            "project_version_id": project_version_id,
            "input": input,
            "priority": priority,
            "run_after": time_text(run_after),
            "timeout": duration(timeout),
            "max_attempts": max_attempts,
            "retain_for": duration(retain_for),
            "concurrency_key": concurrency_key,
            "concurrency_limit": concurrency_limit,
            "labels": labels,
            "unique_key": unique_key,
        }
        call = Call("POST", "v1/operations", json=without_none(operation), headers=_calls.key(idempotency_key))
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    async def batch_create(
        self, operations: Iterable[wire.NewOperation], *, idempotency_key: str | None = None
    ) -> builtins.list[Operation]:
        """Creates 1 to 1,000 operations in one transaction, all or none; answers them in the same order. The
        violations of a refusal begin with the place, e.g. `operations[3].kind`."""
        body = {"operations": builtins.list(operations)}
        call = Call("POST", "v1/operations:batchCreate", json=body, headers=_calls.key(idempotency_key))
        return _calls.read(wire.CreatedOperations, await self._send(call)).operations

    async def bulk(
        self,
        action: Literal["cancel", "retry", "delete"],
        filter: str,
        *,
        dry_run: bool = False,
        expected_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> wire.BulkOperationsAnswer:
        """Cancels, retries or deletes all operations that match a filter, by an operation of the kind `bulk`, whose
        output tells what came of each; a dry run only tells how many match. It is refused when the number differs from
        `expected_count` by more than a tenth."""
        body = {"action": action, "filter": filter, "dry_run": dry_run, "expected_count": expected_count}
        call = Call("POST", "v1/operations:bulk", json=without_none(body), headers=_calls.key(idempotency_key))
        return _calls.read(wire.BulkOperationsAnswer, await self._send(call))

    async def get(self, id: str) -> Operation:
        """The operation as it is now."""
        call = Call("GET", f"v1/operations/{segment(id)}")
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    async def get_full(self, id: str) -> wire.OperationDetail:
        """Everything that is known of the operation: also its input, labels, attempts, worker and progress."""
        call = Call("GET", f"v1/operations/{segment(id)}", query={"view": "FULL"})
        return _calls.read(wire.OperationDetailAnswer, await self._send(call)).operation

    async def list_page(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
    ) -> wire.OperationsPage:
        """One page of the operations that match, newest first, with their exact number."""
        query = _calls.filters(status, kind, resource_type, resource_id)
        if page is not None:
            query["pagination.page"] = str(page)
        if page_size is not None:
            query["pagination.page_size"] = str(page_size)
        return _calls.read(wire.OperationsPage, await self._send(Call("GET", "v1/operations", query=query)))

    async def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Operation]:
        """All operations that match, newest first, page by page as they are asked for. Each comes once, also when
        others are created meanwhile, which moves entries to later pages.

        Args:
            status: e.g. `"FAILED"`, or its name on the wire.
        """
        seen: set[str] = set()
        page = None
        while True:
            answer = await self.list_page(
                page=page,
                page_size=page_size,
                status=status,
                kind=kind,
                resource_type=resource_type,
                resource_id=resource_id,
            )
            for operation in answer.operations:
                if operation.id not in seen:
                    seen.add(operation.id)
                    yield operation
            if len(answer.operations) < answer.pagination.page_size:
                return
            # What the server calls the page counts: some begin with 1.
            page = answer.pagination.page + 1

    async def search_page(
        self,
        filter: str = "",
        *,
        page_size: int | None = None,
        page_token: str = "",
        oldest_first: bool = False,
    ) -> wire.FoundOperations:
        """One page of the operations that a filter matches, with everything that is known of them.

        Args:
            filter: e.g. `status = FAILED AND created_at >= "-24h"`; empty: all but notices.
            page_token: the `next_page_token` of the page before.
        """
        query = {"filter": filter, "page_token": page_token, "order_by": "created_at" if oldest_first else ""}
        query = {name: value for name, value in query.items() if value}
        if page_size is not None:
            query["page_size"] = str(page_size)
        call = Call("GET", "v1/operations:search", query=query)
        return _calls.read(wire.FoundOperations, await self._send(call))

    async def search(
        self, filter: str = "", *, page_size: int | None = None, oldest_first: bool = False
    ) -> AsyncIterator[wire.OperationDetail]:
        """All operations that a filter matches, page by page as they are asked for: while others are created, none is
        skipped and none comes twice."""
        token = ""
        while True:
            answer = await self.search_page(filter, page_size=page_size, page_token=token, oldest_first=oldest_first)
            for operation in answer.operations:
                yield operation
            token = answer.next_page_token
            if not token:
                return

    async def count(self, filter: str = "", *, group_by: Sequence[str] = ()) -> wire.OperationCounts:
        """How many operations a filter matches, by `status`, `kind` and `project_id`, as far as they are named."""
        query = {"filter": filter, "group_by": ",".join(group_by)}
        query = {name: value for name, value in query.items() if value}
        return _calls.read(wire.OperationCounts, await self._send(Call("GET", "v1/operations:count", query=query)))

    async def cancel(self, id: str) -> Operation:
        """Ends a pending operation at once, asks a running one to stop; answers how it is then."""
        return await self._command(id, "cancel")

    async def retry(self, id: str) -> Operation:
        """Puts a failed operation back into the queue."""
        return await self._command(id, "retry")

    async def retry_with_input(self, id: str, input: Any, *, idempotency_key: str | None = None) -> Operation:
        """Creates an operation that does the same as one that has ended, with another input; the label `retry_of` is
        the id of that one, which stays as it is."""
        call = Call(
            "POST",
            f"v1/operations/{segment(id)}:retry",
            json={"input": input},
            headers=_calls.key(idempotency_key),
        )
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    async def delete(self, id: str) -> None:
        """Removes an operation that has ended, for good."""
        await self._send(Call("DELETE", f"v1/operations/{segment(id)}", is_repeatable=False))

    async def _command(self, id: str, verb: str) -> Operation:
        call = Call("POST", f"v1/operations/{segment(id)}:{verb}", is_repeatable=False)
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    async def events(self, id: str) -> builtins.list[wire.OperationEvent]:
        """What happened to the operation, oldest first; all of it."""
        events: builtins.list[wire.OperationEvent] = []
        query = {"page_size": "1000"}
        while True:
            call = Call("GET", f"v1/operations/{segment(id)}/events", query=query)
            history = _calls.read(wire.OperationEvents, await self._send(call))
            events += history.events
            if not history.next_page_token:
                return events
            query["page_token"] = history.next_page_token

    async def stats(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        step: str | None = None,
        by_kind: bool = False,
        kind: str | None = None,
    ) -> wire.Stats:
        """How much happened between two times (RFC 3339), by `minute`, `hour` or `day`, and how long it took."""
        group_by = "kind" if by_kind else None
        given = {"from": since, "to": until, "step": step, "group_by": group_by, "kind": kind}
        query = {name: value for name, value in given.items() if value is not None}
        return _calls.read(wire.Stats, await self._send(Call("GET", "v1/stats", query=query)))

    async def workers(self) -> wire.WorkerList:
        """Who runs operations now, those with most attempts first."""
        return _calls.read(wire.WorkerList, await self._send(Call("GET", "v1/workers")))

    async def views(self) -> builtins.list[wire.View]:
        """The saved views of this token and those that are shared, each with how many operations it shows."""
        return _calls.read(wire.ViewList, await self._send(Call("GET", "v1/views"))).views

    async def create_view(self, view: wire.CreateView) -> wire.View:
        """Saves a filter under a name. A shared view is seen by all in the organization."""
        call = Call("POST", "v1/views", json=view, is_repeatable=False)
        return _calls.read(wire.ViewAnswer, await self._send(call)).view

    async def view(self, id: str) -> wire.View:
        """The view, with how many operations it shows now."""
        return _calls.read(wire.ViewAnswer, await self._send(Call("GET", f"v1/views/{segment(id)}"))).view

    async def update_view(self, id: str, view: wire.UpdateView) -> wire.View:
        """Replaces the name, the filter and the columns of a view."""
        call = Call("POST", f"v1/views/{segment(id)}:update", json=view)
        return _calls.read(wire.ViewAnswer, await self._send(call)).view

    async def delete_view(self, id: str) -> None:
        """Removes a view; the operations that it shows stay."""
        await self._send(Call("DELETE", f"v1/views/{segment(id)}", is_repeatable=False))

    async def wait(self, id: str, timeout: float | None = None) -> Operation:
        """Waits until the operation has ended and answers it, also when it failed; `wait(id).result()` raises then.

        A server that goes away meanwhile is asked again until it is back. One that has never answered this client is
        not: the address is probably wrong.

        Args:
            timeout: how many seconds to wait at most; `None`: as long as it takes.

        Raises:
            WaitTimeout: it has not ended in time.
        """
        start = time.monotonic()
        lost_at, failures = None, 0

        def within(seconds: float) -> float:
            return seconds if timeout is None else max(0.0, min(seconds, timeout - (time.monotonic() - start)))

        while True:
            asked_at = time.monotonic()
            # How things are is asked first when the server is back.
            longest = 0.0 if lost_at is not None else within(min(_calls.LONGEST_WAIT, self.settings.timeout / 2))
            try:
                operation = await self._wait_once(id, longest)
            except LongrunError as error:
                lost_at = lost_at or asked_at
                has_given_up = self.settings.reconnect_for is not None and (
                    time.monotonic() - lost_at >= self.settings.reconnect_for
                )
                if not is_transient(error) or not self._was_answered or has_given_up or not within(1):
                    raise
                asked_for = error.retry_after if isinstance(error, ApiError) else None
                await asyncio.sleep(within(_calls.pause(asked_for, failures)))
                failures += 1
                continue
            if operation.has_ended:
                return operation
            lost_at, failures = None, 0
            if timeout is not None and not within(1):
                raise WaitTimeout(id, timeout)
            if time.monotonic() - asked_at < longest / 2:
                await asyncio.sleep(within(_calls.WAIT_PAUSE))

    async def _wait_once(self, id: str, seconds: float) -> Operation:
        path = f"v1/operations/{segment(id)}:wait"
        # A server that has fallen silent does not draw it out.
        call = Call("GET", path, query={"timeout": f"{seconds:.3f}s"}, timeout=seconds + 10, retries=0)
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    def watch(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        last_event_id: str | None = None,
    ) -> AsyncWatch:
        """Every transition of the operations that match, from when the watch is entered; goes on after connections
        that broke, with nothing missed and nothing twice.

            async with client.watch(kind="export") as watch:
                async for event in watch:
                    ...

        Args:
            status: only transitions to this status.
            last_event_id: go on after this event (`WatchEvent.id`) instead.
        """
        return AsyncWatch(self, _calls.filters(status, kind, resource_type, resource_id), last_event_id)

    # Evidence.

    async def put_evidence(self, content: bytes) -> wire.Evidence:
        """Stores content; the same content once, however often it is sent."""
        headers = {"Content-Type": "application/octet-stream"}
        call = Call("POST", "v1/evidence", content=content, headers=headers)
        return _calls.read(wire.Evidence, await self._send(call))

    async def get_evidence(self, digest: str) -> bytes:
        """The content of a digest, `sha256:...`; all of it in memory."""
        return (await self._send(Call("GET", f"v1/evidence/{segment(digest)}"))).content

    async def evidence(
        self, *, kind: str | None = None, name: str | None = None, digest: str | None = None
    ) -> AsyncIterator[wire.ListedEvidence]:
        """The evidence of the organization, newest first: of a material type, of a name, with digests that begin so.
        Not for tokens that are limited to projects."""
        given = {"kind": kind, "name": name, "digest": digest}
        async for page in self._pages(wire.EvidenceList, "v1/evidence", given):
            for piece in page.evidence:
                yield piece

    async def delete_evidence(self, digest: str) -> None:
        """Deletes a piece of evidence for good, unless an operation that has not ended or a waiver refers to it."""
        await self._send(Call("DELETE", f"v1/evidence/{segment(digest)}", is_repeatable=False))

    async def reevaluate_evidence(self, request: wire.ReevaluateEvidence) -> str:
        """Has the newest evaluations of the evidence repeated; answers the id of the operation that sees to it."""
        call = Call("POST", "v1/evidence:reevaluate", json=request, is_repeatable=False)
        return _calls.read(wire.ReevaluationStarted, await self._send(call)).operation_id

    async def waivers(self) -> builtins.list[wire.Waiver]:
        """The violations that the organization lives with, oldest first, those that have expired included."""
        return _calls.read(wire.WaiverList, await self._send(Call("GET", "v1/waivers"))).waivers

    async def create_waiver(self, waiver: wire.CreateWaiver) -> wire.Waiver:
        """Adds a waiver: what it covers makes no evaluation fail any more."""
        call = Call("POST", "v1/waivers", json=waiver, is_repeatable=False)
        return _calls.read(wire.WaiverAnswer, await self._send(call)).waiver

    async def delete_waiver(self, id: str) -> None:
        """Removes a waiver."""
        await self._send(Call("DELETE", f"v1/waivers/{segment(id)}", is_repeatable=False))

    async def evaluate_evidence(
        self,
        digest: str,
        *,
        policies: Iterable[wire.PolicyAttachment] = (),
        policy_groups: Iterable[wire.PolicyGroupAttachment] = (),
        kind: str | None = None,
        name: str | None = None,
        project_id: str | None = None,
        project_version_id: str | None = None,
        project_name: str | None = None,
        project_version_name: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Starts an evaluation of stored evidence and answers the operation's id; `wait` waits for the verdict, which
        is the operation's output. Without policies and groups, the server's default policies are used."""
        request = {
            "digest": digest,
            "policies": builtins.list(policies) or None,
            "policy_groups": builtins.list(policy_groups) or None,
            "kind": kind,
            "name": name,
            "project_id": project_id,
            "project_version_id": project_version_id,
            "project_name": project_name,
            "project_version_name": project_version_name,
        }
        headers = _calls.key(idempotency_key)
        call = Call("POST", "v1/agents/evaluate-evidence", json=without_none(request), headers=headers)
        return _calls.read(wire.EvaluationStarted, await self._send(call)).operation_id

    async def attestation(self, id: str) -> bytes:
        """The signed result of an evaluation, as the server wrote it: a DSSE envelope with an in-toto statement, JSON.
        `longrun verify` checks it, and so does every program that knows DSSE."""
        return (await self._send(Call("GET", f"v1/operations/{segment(id)}/attestation"))).content

    # Schedules.

    async def create_schedule(self, schedule: wire.CreateSchedule) -> wire.Schedule:
        """Makes a schedule, which creates its operation at each due time, once. Durations are text: `"3600s"`."""
        call = Call("POST", "v1/schedules", json=schedule, is_repeatable=False)
        return _calls.read(wire.ScheduleAnswer, await self._send(call)).schedule

    async def schedules(self) -> builtins.list[wire.Schedule]:
        """All schedules that the token may see, by name."""
        schedules: builtins.list[wire.Schedule] = []
        query: dict[str, str] = {}
        while True:
            page = _calls.read(wire.SchedulesPage, await self._send(Call("GET", "v1/schedules", query=query)))
            schedules += page.schedules
            if not page.next_page_token:
                return schedules
            query = {"page_token": page.next_page_token}

    async def schedule(self, name: str) -> wire.Schedule:
        """The schedule as it is now."""
        return await self._schedule("GET", segment(name))

    async def update_schedule(self, name: str, change: wire.UpdateSchedule) -> wire.Schedule:
        """Changes what is given; what is left out stays."""
        call = Call("PATCH", f"v1/schedules/{segment(name)}", json=change)
        return _calls.read(wire.ScheduleAnswer, await self._send(call)).schedule

    async def delete_schedule(self, name: str) -> None:
        """Removes a schedule; what it has created stays."""
        await self._send(Call("DELETE", f"v1/schedules/{segment(name)}", is_repeatable=False))

    async def pause_schedule(self, name: str) -> wire.Schedule:
        """It creates nothing until it is resumed."""
        return await self._schedule("POST", f"{segment(name)}:pause")

    async def resume_schedule(self, name: str) -> wire.Schedule:
        """It goes on from now."""
        return await self._schedule("POST", f"{segment(name)}:resume")

    async def trigger_schedule(self, name: str) -> Operation:
        """Creates its operation now, and answers it."""
        call = Call("POST", f"v1/schedules/{segment(name)}:trigger", is_repeatable=False)
        return _calls.read(wire.OperationAnswer, await self._send(call)).operation

    async def _schedule(self, method: str, rest: str) -> wire.Schedule:
        return _calls.read(wire.ScheduleAnswer, await self._send(Call(method, f"v1/schedules/{rest}"))).schedule

    # The token's own organization.

    async def organization(self, name: str) -> wire.Organization:
        """The limits of the token's organization, and what is paused in it."""
        return await self._organization("GET", segment(name))

    async def pause_organization(self, name: str) -> wire.Organization:
        """Nothing more of the organization is started; what runs goes on."""
        return await self._organization("POST", f"{segment(name)}:pause")

    async def resume_organization(self, name: str) -> wire.Organization:
        """Ends `pause_organization`."""
        return await self._organization("POST", f"{segment(name)}:resume")

    async def pause_kind(self, name: str) -> wire.Kind:
        """Nothing more of the kind is started in the token's organization."""
        return await self._kind(f"{segment(name)}:pause")

    async def resume_kind(self, name: str) -> wire.Kind:
        """Ends `pause_kind`. A kind that the service's operators paused for everybody stays paused."""
        return await self._kind(f"{segment(name)}:resume")

    async def _organization(self, method: str, rest: str) -> wire.Organization:
        answer = await self._send(Call(method, f"v1/organizations/{rest}"))
        return _calls.read(wire.OrganizationAnswer, answer).organization

    async def _kind(self, rest: str) -> wire.Kind:
        return _calls.read(wire.KindAnswer, await self._send(Call("POST", f"v1/kinds/{rest}"))).kind

    # What administrators do. It needs the scope admin; what is about organizations as such, a token of the instance.

    async def create_token(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        projects: Iterable[str] = (),
        expires_in: float | timedelta | str | None = None,
        organization: str | None = None,
        instance: bool = False,
        organizations: Iterable[str] = (),
    ) -> wire.IssuedToken:
        """Makes an API token; its secret is answered this once.

        Args:
            name: what it is for, for people.
            scopes: what it may do, e.g. `operations:read`; never more than the token that asks may.
            projects: only operations of these; none: all of the organization.
            expires_in: how long it is valid; for ever unless given.
            organization: the one that it belongs to; that of the token that asks unless given.
            instance: a token of the instance, which belongs to no organization.
            organizations: of a token of the instance, only these; none: all.
        """
        wish = {
            "name": name,
            "scopes": builtins.list(scopes),
            "projects": builtins.list(projects) or None,
            "expires_in": duration(expires_in),
            "organization": organization,
            "instance": instance or None,
            "organizations": builtins.list(organizations) or None,
        }
        call = Call("POST", "v1/tokens", json=without_none(wish), is_repeatable=False)
        return _calls.read(wire.IssuedToken, await self._send(call))

    async def tokens(self, *, organization: str | None = None) -> AsyncIterator[wire.Token]:
        """The tokens that the token of this client manages, oldest first, without their secrets."""
        async for page in self._pages(wire.TokensPage, "v1/tokens", {"organization": organization}):
            for token in page.tokens:
                yield token

    async def token(self, id: str) -> wire.Token:
        """A token, without its secret."""
        return _calls.read(wire.TokenAnswer, await self._send(Call("GET", f"v1/tokens/{segment(id)}"))).token

    async def revoke_token(self, id: str) -> wire.Token:
        """Revokes a token for good; servers refuse it a second later at most."""
        call = Call("POST", f"v1/tokens/{segment(id)}:revoke")
        return _calls.read(wire.TokenAnswer, await self._send(call)).token

    async def rotate_token(
        self,
        id: str,
        *,
        overlap: float | timedelta | str | None = None,
        expires_in: float | timedelta | str | None = None,
    ) -> wire.IssuedToken:
        """Replaces a token by another one of the same name and rights; the old one stays valid for the overlap, a day
        unless given."""
        body = without_none({"overlap": duration(overlap), "expires_in": duration(expires_in)})
        call = Call("POST", f"v1/tokens/{segment(id)}:rotate", json=body, is_repeatable=False)
        return _calls.read(wire.IssuedToken, await self._send(call))

    async def create_organization(
        self, name: str, limits: wire.SetOrganizationLimits | None = None
    ) -> wire.Organization:
        """Makes an organization."""
        body = without_none({"name": name, "limits": limits})
        call = Call("POST", "v1/organizations", json=body, is_repeatable=False)
        return _calls.read(wire.OrganizationAnswer, await self._send(call)).organization

    async def organizations(self) -> AsyncIterator[wire.ListedOrganization]:
        """The organizations within reach, by name."""
        async for page in self._pages(wire.OrganizationsPage, "v1/organizations", {}):
            for organization in page.organizations:
                yield organization

    async def set_organization_limits(self, name: str, limits: wire.SetOrganizationLimits) -> wire.Organization:
        """Sets the limits of an organization as a whole: what is left out is as the server is configured."""
        call = Call("POST", f"v1/organizations/{segment(name)}:setLimits", json=limits)
        return _calls.read(wire.OrganizationAnswer, await self._send(call)).organization

    async def delete_organization(self, name: str, *, force: bool = False) -> wire.OrganizationDeletion:
        """Deletes an organization, or goes on with it; with `force` with everything that it has. A large one takes
        several calls, until the answer's `done` is true."""
        query = {"force": "true"} if force else {}
        call = Call("DELETE", f"v1/organizations/{segment(name)}", query=query, is_repeatable=False)
        return _calls.read(wire.OrganizationDeletion, await self._send(call))

    async def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        organization: str | None = None,
    ) -> AsyncIterator[wire.AuditEntry]:
        """The entries of the audit log that match, newest first, page by page as they are asked for.

        Args:
            actor: only what this one did: the id of a token.
            action: only this action; with a dot at its end, all that begin so.
            target: only what was done to this, e.g. `operations/ID`.
            since, until: only entries of this time or later, and before this time.
            organization: for tokens of the instance: whose log.
        """
        query = {
            "actor": actor,
            "action": action,
            "target": target,
            "since": time_text(since),
            "until": time_text(until),
            "organization": organization,
            "page_size": "1000",
        }
        async for page in self._pages(wire.AuditPage, "v1/audit", query):
            for entry in page.entries:
                yield entry

    async def sessions(self, *, organization: str | None = None) -> AsyncIterator[wire.Session]:
        """The sessions of people who signed in, oldest first."""
        async for page in self._pages(wire.SessionsPage, "v1/sessions", {"organization": organization}):
            for session in page.sessions:
                yield session

    async def revoke_session(self, id: str, *, organization: str | None = None) -> wire.Session:
        """Ends a session for good, on all servers."""
        query = without_none({"organization": organization})
        call = Call("POST", f"v1/sessions/{segment(id)}:revoke", query=query)
        return _calls.read(wire.SessionAnswer, await self._send(call)).session

    async def _pages(self, kind: type[_calls.T], path: str, asked: dict[str, str | None]) -> AsyncIterator[_calls.T]:
        """The pages of a list, as they are asked for."""
        query: dict[str, str] = without_none(asked)
        while True:
            page: Any = _calls.read(kind, await self._send(Call("GET", path, query=query)))
            yield page
            if not page.next_page_token:
                return
            query = {**query, "page_token": page.next_page_token}

    # The calls of workers, which `Worker` makes for you.

    async def claim(self, kinds: Iterable[str], *, max_operations: int = 1, wait: float = 0) -> wire.ClaimedOperations:
        """Takes operations to run, or waits for some."""
        body = {"kinds": builtins.list(kinds), "max_operations": max_operations, "wait": duration(float(wait))}
        call = Call("POST", "v1/operations:claim", json=body, retries=0, timeout=self.settings.timeout + wait)
        return _calls.read(wire.ClaimedOperations, await self._send(call))

    async def heartbeat(self, operations: builtins.list[wire.HeartbeatRow]) -> builtins.list[wire.HeartbeatResult]:
        """Keeps up to 1,000 operations; a row each comes back, in the same order."""
        call = Call("POST", "v1/operations:heartbeat", json={"operations": operations}, retries=0)
        return _calls.read(wire.HeartbeatResults, await self._send(call)).operations

    async def settle(self, results: builtins.list[wire.SettleRow]) -> builtins.list[wire.SettleResult]:
        """Ends up to 1,000 attempts; a row each comes back, in the same order."""
        call = Call("POST", "v1/operations:settle", json={"results": results})
        return _calls.read(wire.SettleResults, await self._send(call)).results

    # Sending.

    async def _send(self, call: Call) -> httpx.Response:
        """Sends a call, as often as that is right, and answers a success whose body has been read."""
        return await self._open(call, is_read=True)

    async def _open(self, call: Call, is_read: bool = False) -> httpx.Response:
        """Sends a call, as often as that is right, and answers a success; its body is still to be read, unless told
        otherwise, and then it is to be closed."""
        retries = self.settings.retries if call.retries is None else call.retries
        repetition = 0
        while True:
            asked_for = None
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(self._http.build_request(**call.for_httpx()), stream=True)
                self._was_answered = True
                if not outcome.is_success or is_read:
                    try:
                        await outcome.aread()
                    finally:
                        await outcome.aclose()
                if outcome.is_success:
                    return outcome
                asked_for = _calls.retry_after(outcome)
            except httpx.TransportError as broken:
                outcome = broken
            if repetition >= retries or not _calls.is_worth_repeating(call, outcome):
                if isinstance(outcome, httpx.Response):
                    raise _calls.refusal(outcome)
                raise _calls.transport_error(self.settings.url, outcome) from outcome
            await asyncio.sleep(_calls.pause(asked_for, repetition))
            repetition += 1
