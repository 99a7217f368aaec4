# Written by `make sdks` from _async.py. Do not edit.
"""The client without asyncio."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

import httpx

from . import _calls, wire
from ._calls import Call, Settings
from ._sync_watch import Watch
from ._wire import duration, segment, time_text, without_none
from .errors import ApiError, LongrunError, UnexpectedAnswer, WaitTimeout, is_transient
from .wire import Operation


class Client:
    """A client of one server with one token.

    Calls that a busy server refused (503, or 429 with a time) are sent again after the pause that it requested; so are
    calls whose connection broke, if sending them twice is safe. Creations have an idempotency key for this purpose,
    either yours or a new one. Every method raises the errors of `longrun.errors`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 90.0,
        retries: int = 4,
        reconnect_for: float | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """
        Args:
            url: the server's address, e.g. `http://127.0.0.1:8080`; a path before `/v1` is kept.
            token: an API token.
            timeout: how many seconds the server may be silent during a call.
            retries: the maximum number of times that a call is sent again.
            reconnect_for: how many seconds `wait` and `watch` try to reconnect to a server that went away; `None`:
                forever.
            http: the httpx client to send calls with, for custom certificates and proxies. It keeps its own limits and
                its own timeout (5 s if you set none), may also be used for other servers, and you have to close it.
        """
        self.settings = Settings(url, token, timeout, retries, reconnect_for)
        self._owns_http = http is None
        self._http = http or httpx.Client(**self.settings.for_httpx())
        self._was_answered = False

    @classmethod
    def from_env(cls, **settings: Any) -> Client:
        """A client of the server in LONGRUN_URL, with the token from LONGRUN_TOKEN or LONGRUN_TOKEN_FILE."""
        url, token = Settings.of_environment()
        return cls(url, token, **settings)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        if self._owns_http:
            self._http.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.url!r})"

    # Operations.

    def create(
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
        """Creates an operation and returns it at once; `wait` waits for its end.

        Args:
            kind: the kind of the operation; one that the server declares.
            input: the input of the operation, any JSON.
            resource_type, resource_id: the resource that it is about; both or neither.
            priority: -100 to 100; higher runs first within the organization.
            run_after: the time before which it is not started.
            timeout: the time limit of each attempt; seconds, or text such as `"60s"`.
            max_attempts: the maximum number of attempts, 1 to 100.
            retain_for: how long to keep it after its end.
            concurrency_key: at most `concurrency_limit` operations with this key run at a time.
            concurrency_limit: how many may run at the same time; default: 1.
            labels: labels to find it by; at most 16, with keys in lower case.
            unique_key: while an operation with this key has not ended, that one is returned and none is created.
            idempotency_key: for 24 hours, the same key and the same request return the first operation.
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
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def batch_create(
        self, operations: Iterable[wire.NewOperation], *, idempotency_key: str | None = None
    ) -> builtins.list[Operation]:
        """Creates 1 to 1,000 operations in one transaction, all or none; returns them in the same order. The
        violations of a refusal begin with the index, e.g. `operations[3].kind`."""
        body = {"operations": builtins.list(operations)}
        call = Call("POST", "v1/operations:batchCreate", json=body, headers=_calls.key(idempotency_key))
        return _calls.read(wire.CreatedOperations, self._send(call)).operations

    def bulk(
        self,
        action: Literal["cancel", "retry", "delete"],
        filter: str,
        *,
        dry_run: bool = False,
        expected_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> wire.BulkOperationsAnswer:
        """Cancels, retries or deletes all operations that match a filter, with an operation of the kind `bulk`, whose
        output reports the results; a dry run only reports how many match. The call is refused if the number differs
        from `expected_count` by more than a tenth."""
        body = {"action": action, "filter": filter, "dry_run": dry_run, "expected_count": expected_count}
        call = Call("POST", "v1/operations:bulk", json=without_none(body), headers=_calls.key(idempotency_key))
        return _calls.read(wire.BulkOperationsAnswer, self._send(call))

    def get(self, id: str) -> Operation:
        """The operation as it is now."""
        call = Call("GET", f"v1/operations/{segment(id)}")
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def get_full(self, id: str) -> wire.OperationDetail:
        """All details of the operation: also its input, labels, attempts, worker and progress."""
        call = Call("GET", f"v1/operations/{segment(id)}", query={"view": "FULL"})
        return _calls.read(wire.OperationDetailAnswer, self._send(call)).operation

    def list_page(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
    ) -> wire.OperationsPage:
        """One page of the matching operations, newest first, with their exact number."""
        query = _calls.filters(status, kind, resource_type, resource_id)
        if page is not None:
            query["pagination.page"] = str(page)
        if page_size is not None:
            query["pagination.page_size"] = str(page_size)
        return _calls.read(wire.OperationsPage, self._send(Call("GET", "v1/operations", query=query)))

    def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Operation]:
        """All matching operations, newest first, fetched page by page as needed. Each is returned once, even if
        others are created meanwhile, which moves entries to later pages.

        Args:
            status: e.g. `"FAILED"`, or its wire name.
        """
        seen: set[str] = set()
        page = None
        while True:
            answer = self.list_page(
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
            # The server's own page number is used: some servers start with 1.
            page = answer.pagination.page + 1

    def search_page(
        self,
        filter: str = "",
        *,
        page_size: int | None = None,
        page_token: str = "",
        oldest_first: bool = False,
    ) -> wire.FoundOperations:
        """One page of the operations that match a filter, with all details.

        Args:
            filter: e.g. `status = FAILED AND created_at >= "-24h"`; empty: all except notices.
            page_token: the `next_page_token` of the previous page.
        """
        query = {"filter": filter, "page_token": page_token, "order_by": "created_at" if oldest_first else ""}
        query = {name: value for name, value in query.items() if value}
        if page_size is not None:
            query["page_size"] = str(page_size)
        call = Call("GET", "v1/operations:search", query=query)
        return _calls.read(wire.FoundOperations, self._send(call))

    def search(
        self, filter: str = "", *, page_size: int | None = None, oldest_first: bool = False
    ) -> Iterator[wire.OperationDetail]:
        """All operations that match a filter, fetched page by page as needed: even while others are created, none is
        skipped or returned twice."""
        token = ""
        while True:
            answer = self.search_page(filter, page_size=page_size, page_token=token, oldest_first=oldest_first)
            for operation in answer.operations:
                yield operation
            token = answer.next_page_token
            if not token:
                return

    def count(self, filter: str = "", *, group_by: Sequence[str] = ()) -> wire.OperationCounts:
        """How many operations match a filter, grouped by the given ones of `status`, `kind` and `project_id`."""
        query = {"filter": filter, "group_by": ",".join(group_by)}
        query = {name: value for name, value in query.items() if value}
        return _calls.read(wire.OperationCounts, self._send(Call("GET", "v1/operations:count", query=query)))

    def cancel(self, id: str) -> Operation:
        """Ends a pending operation at once, asks a running one to stop; returns the operation after that."""
        return self._command(id, "cancel")

    def retry(self, id: str) -> Operation:
        """Puts a failed operation back into the queue."""
        return self._command(id, "retry")

    def retry_with_input(self, id: str, input: Any, *, idempotency_key: str | None = None) -> Operation:
        """Creates an operation that does the same as one that has ended, with a different input; its label `retry_of`
        is the id of the ended one, which remains as it is."""
        call = Call(
            "POST",
            f"v1/operations/{segment(id)}:retry",
            json={"input": input},
            headers=_calls.key(idempotency_key),
        )
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def delete(self, id: str) -> None:
        """Permanently deletes an operation that has ended."""
        self._send(Call("DELETE", f"v1/operations/{segment(id)}", is_repeatable=False))

    def _command(self, id: str, verb: str) -> Operation:
        call = Call("POST", f"v1/operations/{segment(id)}:{verb}", is_repeatable=False)
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def events(self, id: str) -> builtins.list[wire.OperationEvent]:
        """The whole history of the operation, oldest first."""
        events: builtins.list[wire.OperationEvent] = []
        query = {"page_size": "1000"}
        while True:
            call = Call("GET", f"v1/operations/{segment(id)}/events", query=query)
            history = _calls.read(wire.OperationEvents, self._send(call))
            events += history.events
            if not history.next_page_token:
                return events
            query["page_token"] = history.next_page_token

    def stats(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        step: str | None = None,
        by_kind: bool = False,
        kind: str | None = None,
    ) -> wire.Stats:
        """How many operations ran in a period (RFC 3339), by `minute`, `hour` or `day`, and how long they took."""
        group_by = "kind" if by_kind else None
        given = {"from": since, "to": until, "step": step, "group_by": group_by, "kind": kind}
        query = {name: value for name, value in given.items() if value is not None}
        return _calls.read(wire.Stats, self._send(Call("GET", "v1/stats", query=query)))

    def workers(self) -> wire.WorkerList:
        """The workers and what they are running, those with most attempts first."""
        return _calls.read(wire.WorkerList, self._send(Call("GET", "v1/workers")))

    def views(self) -> builtins.list[wire.View]:
        """The saved views of this token and the shared ones, each with the number of matching operations."""
        return _calls.read(wire.ViewList, self._send(Call("GET", "v1/views"))).views

    def create_view(self, view: wire.CreateView) -> wire.View:
        """Saves a filter under a name. A shared view is visible to everybody in the organization."""
        call = Call("POST", "v1/views", json=view, is_repeatable=False)
        return _calls.read(wire.ViewAnswer, self._send(call)).view

    def view(self, id: str) -> wire.View:
        """The view, with the current number of matching operations."""
        return _calls.read(wire.ViewAnswer, self._send(Call("GET", f"v1/views/{segment(id)}"))).view

    def update_view(self, id: str, view: wire.UpdateView) -> wire.View:
        """Replaces the name, the filter and the columns of a view."""
        call = Call("POST", f"v1/views/{segment(id)}:update", json=view)
        return _calls.read(wire.ViewAnswer, self._send(call)).view

    def delete_view(self, id: str) -> None:
        """Deletes a view; its operations remain."""
        self._send(Call("DELETE", f"v1/views/{segment(id)}", is_repeatable=False))

    def wait(self, id: str, timeout: float | None = None) -> Operation:
        """Waits until the operation has ended and returns it, even if it failed; `wait(id).result()` raises then.

        A server that goes away meanwhile is asked again until it is back. A server that has never answered this client
        is asked again only as often as in every other call (`retries`): the address is probably wrong.

        Args:
            timeout: how many seconds to wait at most; `None`: as long as it takes.

        Raises:
            WaitTimeout: it has not ended in time.
            TransportError: the server was away, or silent, at the end of that time.
        """
        start = time.monotonic()
        lost_at, failures = None, 0

        def within(seconds: float) -> float:
            return seconds if timeout is None else max(0.0, min(seconds, timeout - (time.monotonic() - start)))

        while True:
            asked_at = time.monotonic()
            # The current state is requested first when the server is back.
            longest = 0.0 if lost_at is not None else within(min(_calls.LONGEST_WAIT, self.settings.timeout / 2))
            late = within(longest + _calls.LATE - _calls.LATE_AT_THE_END) + _calls.LATE_AT_THE_END
            try:
                operation = self._wait_once(id, longest, late)
            except LongrunError as error:
                lost_at = lost_at or asked_at
                has_given_up = self.settings.reconnect_for is not None and (
                    time.monotonic() - lost_at >= self.settings.reconnect_for
                )
                if not self._was_answered:
                    has_given_up = has_given_up or failures >= self.settings.retries
                if not is_transient(error) or has_given_up or not within(1):
                    raise
                asked_for = error.retry_after if isinstance(error, ApiError) else None
                time.sleep(within(_calls.pause(asked_for, failures)))
                failures += 1
                continue
            if operation.has_ended:
                return operation
            lost_at, failures = None, 0
            if timeout is not None and not within(1):
                raise WaitTimeout(id, timeout)
            if time.monotonic() - asked_at < longest / 2:
                time.sleep(within(_calls.WAIT_PAUSE))

    def _wait_once(self, id: str, seconds: float, late: float) -> Operation:
        path = f"v1/operations/{segment(id)}:wait"
        # Has a time limit in case the server falls silent.
        call = Call("GET", path, query={"timeout": f"{seconds:.3f}s"}, timeout=late, retries=0)
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def watch(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        last_event_id: str | None = None,
    ) -> Watch:
        """Every transition of the matching operations, from when the watch is entered; reconnects when the connection
        breaks, without missing or repeating any.

            with client.watch(kind="export") as watch:
                for event in watch:
                    ...

        Args:
            status: only transitions to this status.
            last_event_id: continue after this event (`WatchEvent.id`) instead.
        """
        return Watch(self, _calls.filters(status, kind, resource_type, resource_id), last_event_id)

    # Evidence.

    def put_evidence(self, content: bytes) -> wire.Evidence:
        """Stores content. The same content is stored only once, however often it is sent."""
        headers = {"Content-Type": "application/octet-stream"}
        call = Call("POST", "v1/evidence", content=content, headers=headers)
        return _calls.read(wire.Evidence, self._send(call))

    def get_evidence(self, digest: str) -> bytes:
        """The content with the digest, `sha256:...`, as a whole in memory."""
        return (self._send(Call("GET", f"v1/evidence/{segment(digest)}"))).content

    def evidence(
        self, *, kind: str | None = None, name: str | None = None, digest: str | None = None
    ) -> Iterator[wire.ListedEvidence]:
        """The evidence of the organization, newest first: of a material type, with a name, with a prefix of digests.
        Not for tokens that are limited to projects."""
        given = {"kind": kind, "name": name, "digest": digest}
        for page in self._pages(wire.EvidenceList, "v1/evidence", given):
            for piece in page.evidence:
                yield piece

    def delete_evidence(self, digest: str) -> None:
        """Permanently deletes a piece of evidence, unless an unfinished operation or a waiver refers to it."""
        self._send(Call("DELETE", f"v1/evidence/{segment(digest)}", is_repeatable=False))

    def reevaluate_evidence(self, request: wire.ReevaluateEvidence) -> str:
        """Repeats the newest evaluations of the selected evidence; returns the id of the operation that does it."""
        call = Call("POST", "v1/evidence:reevaluate", json=request, is_repeatable=False)
        return _calls.read(wire.ReevaluationStarted, self._send(call)).operation_id

    def waivers(self) -> builtins.list[wire.Waiver]:
        """All waivers of the organization, oldest first, including expired ones."""
        return _calls.read(wire.WaiverList, self._send(Call("GET", "v1/waivers"))).waivers

    def create_waiver(self, waiver: wire.CreateWaiver) -> wire.Waiver:
        """Adds a waiver: violations that it covers no longer make an evaluation fail."""
        call = Call("POST", "v1/waivers", json=waiver, is_repeatable=False)
        return _calls.read(wire.WaiverAnswer, self._send(call)).waiver

    def delete_waiver(self, id: str) -> None:
        """Removes a waiver."""
        self._send(Call("DELETE", f"v1/waivers/{segment(id)}", is_repeatable=False))

    def evaluate_evidence(
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
        """Starts an evaluation of stored evidence and returns the operation's id; `wait` waits for the verdict, which
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
        return _calls.read(wire.EvaluationStarted, self._send(call)).operation_id

    def attestation(self, id: str) -> bytes:
        """The signed result of an evaluation, as the server wrote it: a DSSE envelope with an in-toto statement, JSON.
        `longrun verify` verifies it, and so does every program that supports DSSE."""
        return (self._send(Call("GET", f"v1/operations/{segment(id)}/attestation"))).content

    # Schedules.

    def create_schedule(self, schedule: wire.CreateSchedule) -> wire.Schedule:
        """Creates a schedule, which creates its operation once at each due time. Durations are text: `"3600s"`."""
        call = Call("POST", "v1/schedules", json=schedule, is_repeatable=False)
        return _calls.read(wire.ScheduleAnswer, self._send(call)).schedule

    def schedules(self) -> builtins.list[wire.Schedule]:
        """All schedules that the token can see, by name."""
        schedules: builtins.list[wire.Schedule] = []
        query: dict[str, str] = {}
        while True:
            page = _calls.read(wire.SchedulesPage, self._send(Call("GET", "v1/schedules", query=query)))
            schedules += page.schedules
            if not page.next_page_token:
                return schedules
            query = {"page_token": page.next_page_token}

    def schedule(self, name: str) -> wire.Schedule:
        """The schedule as it is now."""
        return self._schedule("GET", segment(name))

    def update_schedule(self, name: str, change: wire.UpdateSchedule) -> wire.Schedule:
        """Changes the given fields; the others keep their values."""
        call = Call("PATCH", f"v1/schedules/{segment(name)}", json=change)
        return _calls.read(wire.ScheduleAnswer, self._send(call)).schedule

    def delete_schedule(self, name: str) -> None:
        """Deletes a schedule; the operations that it created remain."""
        self._send(Call("DELETE", f"v1/schedules/{segment(name)}", is_repeatable=False))

    def pause_schedule(self, name: str) -> wire.Schedule:
        """Pauses a schedule: it creates nothing until it is resumed."""
        return self._schedule("POST", f"{segment(name)}:pause")

    def resume_schedule(self, name: str) -> wire.Schedule:
        """Resumes a schedule from now on."""
        return self._schedule("POST", f"{segment(name)}:resume")

    def trigger_schedule(self, name: str) -> Operation:
        """Creates the schedule's operation immediately, and returns it."""
        call = Call("POST", f"v1/schedules/{segment(name)}:trigger", is_repeatable=False)
        return _calls.read(wire.OperationAnswer, self._send(call)).operation

    def _schedule(self, method: str, rest: str) -> wire.Schedule:
        return _calls.read(wire.ScheduleAnswer, self._send(Call(method, f"v1/schedules/{rest}"))).schedule

    # The token's own organization.

    def organization(self, name: str) -> wire.Organization:
        """The limits of the token's organization, and which of its kinds are paused."""
        return self._organization("GET", segment(name))

    def pause_organization(self, name: str) -> wire.Organization:
        """No more operations of the organization are started; running ones continue."""
        return self._organization("POST", f"{segment(name)}:pause")

    def resume_organization(self, name: str) -> wire.Organization:
        """Ends `pause_organization`."""
        return self._organization("POST", f"{segment(name)}:resume")

    def pause_kind(self, name: str) -> wire.Kind:
        """No more operations of the kind are started in the token's organization."""
        return self._kind(f"{segment(name)}:pause")

    def resume_kind(self, name: str) -> wire.Kind:
        """Ends `pause_kind`. A kind that the service's operators paused for everybody stays paused."""
        return self._kind(f"{segment(name)}:resume")

    def _organization(self, method: str, rest: str) -> wire.Organization:
        answer = self._send(Call(method, f"v1/organizations/{rest}"))
        return _calls.read(wire.OrganizationAnswer, answer).organization

    def _kind(self, rest: str) -> wire.Kind:
        return _calls.read(wire.KindAnswer, self._send(Call("POST", f"v1/kinds/{rest}"))).kind

    # Management. It needs the scope admin, and for organizations a token of the instance.

    def create_token(
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
        """Creates an API token; its secret is returned only this once.

        Args:
            name: tells people what it is for.
            scopes: its scopes, e.g. `operations:read`; not more than the calling token has.
            projects: the projects to which it is limited; default: all of the organization.
            expires_in: how long it is valid; default: forever.
            organization: the organization that it belongs to; default: that of the calling token.
            instance: whether it is a token of the instance, which belongs to no organization.
            organizations: for a token of the instance, those to which it is limited; default: all.
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
        return _calls.read(wire.IssuedToken, self._send(call))

    def tokens(self, *, organization: str | None = None) -> Iterator[wire.Token]:
        """The tokens that this client's token manages, oldest first, without their secrets."""
        for page in self._pages(wire.TokensPage, "v1/tokens", {"organization": organization}):
            for token in page.tokens:
                yield token

    def token(self, id: str) -> wire.Token:
        """A token, without its secret."""
        return _calls.read(wire.TokenAnswer, self._send(Call("GET", f"v1/tokens/{segment(id)}"))).token

    def revoke_token(self, id: str) -> wire.Token:
        """Revokes a token permanently; servers refuse it within a second."""
        call = Call("POST", f"v1/tokens/{segment(id)}:revoke")
        return _calls.read(wire.TokenAnswer, self._send(call)).token

    def rotate_token(
        self,
        id: str,
        *,
        overlap: float | timedelta | str | None = None,
        expires_in: float | timedelta | str | None = None,
    ) -> wire.IssuedToken:
        """Replaces a token with a new one of the same name and rights; the old one stays valid for the overlap, by
        default a day."""
        body = without_none({"overlap": duration(overlap), "expires_in": duration(expires_in)})
        call = Call("POST", f"v1/tokens/{segment(id)}:rotate", json=body, is_repeatable=False)
        return _calls.read(wire.IssuedToken, self._send(call))

    def create_organization(self, name: str, limits: wire.SetOrganizationLimits | None = None) -> wire.Organization:
        """Creates an organization."""
        body = without_none({"name": name, "limits": limits})
        call = Call("POST", "v1/organizations", json=body, is_repeatable=False)
        return _calls.read(wire.OrganizationAnswer, self._send(call)).organization

    def organizations(self) -> Iterator[wire.ListedOrganization]:
        """The organizations that the token can reach, by name."""
        for page in self._pages(wire.OrganizationsPage, "v1/organizations", {}):
            for organization in page.organizations:
                yield organization

    def set_organization_limits(self, name: str, limits: wire.SetOrganizationLimits) -> wire.Organization:
        """Replaces all limits of an organization: for those left out, the server's configuration applies."""
        call = Call("POST", f"v1/organizations/{segment(name)}:setLimits", json=limits)
        return _calls.read(wire.OrganizationAnswer, self._send(call)).organization

    def delete_organization(self, name: str, *, force: bool = False) -> wire.OrganizationDeletion:
        """Deletes an organization, or resumes its deletion; with `force`, with everything in it. A large one takes
        several calls, until the answer's `done` is true."""
        query = {"force": "true"} if force else {}
        call = Call("DELETE", f"v1/organizations/{segment(name)}", query=query, is_repeatable=False)
        return _calls.read(wire.OrganizationDeletion, self._send(call))

    def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        organization: str | None = None,
    ) -> Iterator[wire.AuditEntry]:
        """The matching entries of the audit log, newest first, fetched page by page as needed.

        Args:
            actor: only calls by this actor: the id of a token.
            action: only this action; with a dot at its end, all actions that begin with it.
            target: only calls on this target, e.g. `operations/ID`.
            since, until: only entries from this time on, and before this time.
            organization: for tokens of the instance, the organization of the log.
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
        for page in self._pages(wire.AuditPage, "v1/audit", query):
            for entry in page.entries:
                yield entry

    def sessions(self, *, organization: str | None = None) -> Iterator[wire.Session]:
        """The sessions of signed-in users, oldest first."""
        for page in self._pages(wire.SessionsPage, "v1/sessions", {"organization": organization}):
            for session in page.sessions:
                yield session

    def revoke_session(self, id: str, *, organization: str | None = None) -> wire.Session:
        """Ends a session permanently, on all servers."""
        query = without_none({"organization": organization})
        call = Call("POST", f"v1/sessions/{segment(id)}:revoke", query=query)
        return _calls.read(wire.SessionAnswer, self._send(call)).session

    def _pages(self, kind: type[_calls.T], path: str, asked: dict[str, str | None]) -> Iterator[_calls.T]:
        """The pages of a list, fetched as they are needed."""
        query: dict[str, str] = without_none(asked)
        while True:
            page: Any = _calls.read(kind, self._send(Call("GET", path, query=query)))
            yield page
            if not page.next_page_token:
                return
            query = {**query, "page_token": page.next_page_token}

    # The calls of workers, which `Worker` makes for you.

    def claim(
        self,
        kinds: Iterable[str],
        *,
        max_operations: int = 1,
        wait: float = 0,
        organizations: Iterable[str] | None = None,
    ) -> wire.ClaimedOperations:
        """Claims operations, or waits for some; with a token of the instance, only those of these organizations, by
        default of all that the token can reach."""
        call = _calls.claim(self.settings, kinds, max_operations, wait, organizations)
        return _calls.read(wire.ClaimedOperations, self._send(call))

    def heartbeat(self, operations: builtins.list[wire.HeartbeatRow]) -> builtins.list[wire.HeartbeatResult]:
        """Prolongs the leases of up to 1,000 operations; returns one row for each, in the same order."""
        call = Call("POST", "v1/operations:heartbeat", json={"operations": operations}, retries=0)
        return _calls.read(wire.HeartbeatResults, self._send(call)).operations

    def settle(self, results: builtins.list[wire.SettleRow]) -> builtins.list[wire.SettleResult]:
        """Ends up to 1,000 attempts; returns one row for each, in the same order."""
        call = Call("POST", "v1/operations:settle", json={"results": results})
        return _calls.read(wire.SettleResults, self._send(call)).results

    # Sending.

    def _send(self, call: Call) -> httpx.Response:
        """Sends a call, repeatedly if necessary, and returns a success whose body has been read."""
        return self._open(call, is_read=True)

    def _open(self, call: Call, is_read: bool = False) -> httpx.Response:
        """Sends a call, repeatedly if necessary, and returns a success. Unless `is_read` is set, the caller must read
        its body and close it."""
        retries = self.settings.retries if call.retries is None else call.retries
        repetition = 0
        while True:
            asked_for = None
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(self._http.build_request(**call.for_httpx(self.settings)), stream=True)
                self._was_answered = True
                if not outcome.is_success or is_read:
                    self._read_body(outcome)
                if outcome.is_success:
                    return outcome
                asked_for = _calls.retry_after(outcome)
            except httpx.TransportError as broken:
                outcome = broken
            if repetition >= retries or not _calls.is_worth_repeating(call, outcome):
                if isinstance(outcome, httpx.Response):
                    raise _calls.refusal(outcome)
                raise _calls.transport_error(self.settings.url, outcome) from outcome
            time.sleep(_calls.pause(asked_for, repetition))
            repetition += 1

    @staticmethod
    def _read_body(response: httpx.Response) -> None:
        try:
            response.read()
        except httpx.DecodingError as wrong:
            raise UnexpectedAnswer(response.status_code, str(wrong)) from wrong
        finally:
            response.close()
