"""The calls, by both clients, against the real server."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from server import ROOT, Proxy, Server, until

import longrun

SARIF = (ROOT / "examples" / "evidence" / "longrun.sarif.json").read_bytes()


def settle(client: Any, operation: longrun.Operation, **outcome: Any) -> None:
    """Runs an operation as a worker would: claims until it is there, and ends it."""
    for claimed in client.claim([operation.kind], max_operations=1000, wait=10).operations:
        row = {"id": claimed.operation.id, "lease_token": claimed.lease_token}
        client.settle([{**row, **(outcome if claimed.operation.id == operation.id else {"release": True})}])


def test_an_operation_is_created_with_all_that_was_said_and_read_again(client: Any) -> None:
    created = client.create(
        "never",
        input={"format": "csv"},
        resource_type="dataset",
        resource_id="42",
        project_id="p1",
        priority=10,
        run_after=datetime.now(UTC) + timedelta(days=1),
        timeout=1.5,
        max_attempts=3,
        retain_for=timedelta(days=1),
    )
    assert (created.state, created.resource_id, created.project_id) == ("PENDING", "42", "p1")
    assert created.created_at is not None and created.created_at.tzinfo is not None and created.finished_at is None
    assert client.get(created.id) == created


def test_labels_unique_keys_and_other_inputs(client: Any, resource: dict[str, str]) -> None:
    key = resource["resource_id"]
    created = client.create("never", **resource, input={"n": 1}, labels={"team": "search"}, unique_key=key)
    assert client.create("never", unique_key=key).id == created.id
    full = client.get_full(created.id)
    assert (full.input, full.labels, full.unique_key, full.attempts) == ({"n": 1}, {"team": "search"}, key, 0)
    client.cancel(created.id)
    again = client.retry_with_input(created.id, {"n": 2})
    full = client.get_full(again.id)
    assert (full.input, full.labels) == ({"n": 2}, {"team": "search", "retry_of": created.id})
    client.cancel(again.id)


def test_the_same_idempotency_key_creates_once(client: Any, resource: dict[str, str]) -> None:
    key = resource["resource_id"]
    first = client.create("never", **resource, idempotency_key=key)
    assert client.create("never", **resource, idempotency_key=key).id == first.id
    with pytest.raises(longrun.Conflict) as refused:
        client.create("other", **resource, idempotency_key=key)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


def test_a_creation_whose_answer_was_lost_is_repeated_and_creates_once(
    server: Server, connect: Callable[..., Any], resource: dict[str, str]
) -> None:
    proxy = Proxy(server)
    client = connect(proxy.url, server.token)
    proxy.lose = 2
    created = client.create("never", **resource)
    assert proxy.lost == 2
    assert [operation.id for operation in client.list(**resource)] == [created.id]
    # What may not be done twice is not repeated: whether it took effect is told by the operation.
    proxy.lose = 1
    with pytest.raises(longrun.TransportError):
        client.cancel(created.id)
    assert client.get(created.id).error_message == "cancelled"
    proxy.close()


def test_a_batch_is_created_whole_or_not_at_all(client: Any, resource: dict[str, str]) -> None:
    created = client.batch_create([{"kind": "never", **resource}, {"kind": "other", **resource}])
    assert [operation.kind for operation in created] == ["never", "other"]
    with pytest.raises(longrun.InvalidRequest) as refused:
        client.batch_create([{"kind": "never", **resource}, {"kind": "never", **resource, "priority": 1000}])
    assert [violation.field for violation in refused.value.violations] == ["operations[1].priority"]
    assert client.list_page(**resource).pagination.total_count == 2


def test_a_list_walks_all_pages_and_shows_each_operation_once(client: Any, resource: dict[str, str]) -> None:
    created = client.batch_create([{"kind": "never", **resource} for _ in range(10)])
    walked = []
    for operation in client.list(**resource, page_size=3):
        walked.append(operation.id)
        if len(walked) == 2:
            # Moves entries to later pages.
            client.create("never", **resource)
    assert walked == [operation.id for operation in reversed(created)]
    page = client.list_page(**resource, page=1, page_size=4)
    assert (page.pagination.total_count, len(page.operations)) == (11, 4)


def test_lists_are_filtered_by_status_in_short_or_in_full(client: Any, resource: dict[str, str]) -> None:
    kept, cancelled = client.batch_create([{"kind": "never", **resource}] * 2)
    client.cancel(cancelled.id)
    assert [operation.id for operation in client.list(**resource, status="FAILED")] == [cancelled.id]
    full = "ASYNC_OPERATION_STATUS_PENDING"
    assert [operation.id for operation in client.list(**resource, status=full)] == [kept.id]


def test_refusals_say_what_is_wrong_and_which_request_it_was(client: Any) -> None:
    with pytest.raises(longrun.NotFound) as unknown:
        client.get("no-such/id")
    assert (unknown.value.http_status, unknown.value.code, unknown.value.reason) == (404, 5, "NOT_FOUND")
    assert unknown.value.request_id
    with pytest.raises(longrun.InvalidRequest) as invalid:
        client.create("no such kind", max_attempts=0)
    assert {violation.field for violation in invalid.value.violations} == {"kind", "max_attempts"}
    with pytest.raises(ValueError, match="is not an id"):
        client.get("")


def test_a_wrong_token_is_refused_and_no_token_is_ever_shown(server: Server, connect: Callable[..., Any]) -> None:
    client = connect(server.url, "lrn_wrong")
    with pytest.raises(longrun.Unauthenticated):
        client.list_page()
    assert "lrn_wrong" not in repr(client) + repr(client.settings)
    for token in ("", "a b", "a\nb"):
        with pytest.raises(ValueError, match="token"):
            connect(server.url, token)
    for url in ("", "127.0.0.1:8080", "ftp://host", "http://u:p@host", "http://host/?a=b"):
        with pytest.raises(ValueError, match="address"):
            connect(url, "lrn_x")


def test_a_server_that_is_not_there_is_told(connect: Callable[..., Any]) -> None:
    # Nobody listens on port 1.
    client = connect("http://127.0.0.1:1", "lrn_x", retries=0)
    for call in (client.get, client.wait, client.cancel):
        with pytest.raises(longrun.TransportError, match="cannot connect"):
            call("x")


def test_an_answer_that_cannot_be_decoded_is_told(connect: Callable[..., Any]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(b"this is plain text")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        client = connect(f"http://127.0.0.1:{foreign.server_port}", "lrn_x")
        with pytest.raises(longrun.UnexpectedAnswer, match="HTTP 200, but the answer is not from a longrun server"):
            client.get("x")
        with pytest.raises(longrun.UnexpectedAnswer, match="HTTP 200, but the answer is not from a longrun server"):
            next(client.watch())
        foreign.shutdown()


def test_an_operation_is_cancelled_retried_and_deleted(client: Any, resource: dict[str, str]) -> None:
    operation = client.create("never", **resource)
    with pytest.raises(longrun.WrongStatus) as pending:
        client.delete(operation.id)
    assert pending.value.metadata == {"status": "PENDING"}
    cancelled = client.cancel(operation.id)
    assert (cancelled.state, cancelled.error_message) == ("FAILED", "cancelled")
    with pytest.raises(longrun.OperationFailed, match="cancelled"):
        cancelled.result()
    assert client.retry(operation.id).state == "PENDING"
    client.cancel(operation.id)
    client.delete(operation.id)
    with pytest.raises(longrun.NotFound):
        client.get(operation.id)


def test_a_wait_ends_with_the_operation_or_with_its_time(client: Any, resource: dict[str, str]) -> None:
    operation = client.create("walk", **resource)
    with pytest.raises(longrun.WaitTimeout):
        client.wait(operation.id, timeout=0)
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.2 s"):
        client.wait(operation.id, timeout=0.2)
    settle(client, operation, output="done")
    assert client.wait(operation.id).result() == "done"


def test_a_wait_outlives_a_server_that_is_killed(own_server: Server, connect: Callable[..., Any]) -> None:
    client = connect(own_server.url, own_server.token)
    operation = client.create("task")

    def meanwhile() -> None:
        own_server.kill()
        own_server.start()
        with longrun.Client(own_server.url, own_server.token) as other:
            settle(other, operation, output="after all")

    thread = threading.Thread(target=meanwhile)
    with pytest.raises(longrun.WaitTimeout):
        client.wait(operation.id, timeout=0.1)
    thread.start()
    assert client.wait(operation.id).result() == "after all"
    thread.join()


def test_the_history_is_read_whole(client: Any, resource: dict[str, str]) -> None:
    operation = client.create("walk", **resource)
    settle(client, operation, error_message="no", retryable=False)
    events = client.events(operation.id)
    assert [event.type for event in events] == ["CREATED", "ATTEMPT_STARTED", "FAILED"]
    assert events[2].message == "no"


def test_a_watch_tells_every_transition_and_removal_from_when_it_begins(client: Any, resource: dict[str, str]) -> None:
    client.create("never", **resource)
    with client.watch(**resource) as watch:
        operation = client.create("never", **resource)
        client.cancel(operation.id)
        first, second = next(watch), next(watch)
        assert (first.operation_id, first.operation.state) == (operation.id, "PENDING")
        assert (second.operation_id, second.operation.state) == (operation.id, "FAILED")
        with client.watch(**resource, last_event_id=first.id) as later:
            assert next(later) == second
        client.delete(operation.id)
        # The removals of others are told too.
        while (gone := next(watch)).operation_id != operation.id:
            assert gone.is_deletion
        assert gone.is_deletion and watch.last_event_id == gone.id
    with pytest.raises(longrun.EventIdUnknown), client.watch(last_event_id="made up"):
        pass


def test_a_watch_outlives_a_server_that_is_killed_without_gap_or_repeat(
    own_server: Server, connect: Callable[..., Any]
) -> None:
    client = connect(own_server.url, own_server.token)
    created, told = [], []
    with client.watch() as watch:
        for round in range(3):
            created += [client.create("never", resource_type="round", resource_id=str(round)).id for _ in range(2)]
            # One of the two is told before the server goes, the other comes after it.
            told.append(next(watch).operation_id)
            own_server.kill()
            own_server.start()
            created.append(client.create("never").id)
        while len(told) < len(created):
            told.append(next(watch).operation_id)
    assert told == created


def test_evidence_is_stored_fetched_and_judged(client: Any) -> None:
    stored = client.put_evidence(SARIF)
    assert (stored.size, stored.kind) == (len(SARIF), "SARIF")
    assert client.get_evidence(stored.digest) == SARIF
    policies = [{"ref": "sarif-severity-ceiling", "with": {"ceiling": "note"}}]
    evaluation = client.evaluate_evidence(stored.digest, name="clippy", policies=policies)
    verdict = json.loads(client.wait(evaluation).result())
    assert (verdict["status"], verdict["evidence"]["name"]) == ("passed", "clippy")
    envelope = json.loads(client.attestation(evaluation))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["predicate"]["verificationResult"] == "PASSED"
    assert statement["subject"][0]["digest"]["sha256"] == stored.digest.removeprefix("sha256:")
    with pytest.raises(longrun.InvalidRequest):
        client.evaluate_evidence(stored.digest, policies=[{"ref": "no-such-policy"}])


def test_what_is_paused_is_not_started_until_it_is_resumed(own_server: Server, connect: Callable[..., Any]) -> None:
    client = connect(own_server.url, own_server.token)
    client.create("task")
    assert client.pause_kind("task").paused
    assert client.organization("acme").paused_kinds == ["task"]
    assert client.claim(["task"]).operations == []
    assert not client.resume_kind("task").paused
    assert client.pause_organization("acme").paused
    assert client.claim(["task"]).operations == []
    assert not client.resume_organization("acme").paused
    assert until("it is claimed", lambda: client.claim(["task"]).operations)
