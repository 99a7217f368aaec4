"""Who runs what, by both clients, against the real server."""

from __future__ import annotations

from typing import Any


def test_who_runs_what_is_told(client: Any) -> None:
    client.create("other")
    (claimed,) = client.claim(["other"], wait=10).operations
    told = client.workers()
    attempts = {attempt.operation_id: attempt for worker in told.workers for attempt in worker.attempts}
    assert told.is_complete
    attempt = attempts[claimed.operation.id]
    assert (attempt.kind, attempt.attempt) == ("other", claimed.attempt)
    client.settle([{"id": claimed.operation.id, "lease_token": claimed.lease_token, "output": ""}])
