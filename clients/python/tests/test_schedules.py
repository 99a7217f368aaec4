"""Schedules, by both clients, against the real server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

import longrun


def test_a_schedule_is_made_changed_triggered_and_deleted(client: Any) -> None:
    name = f"nightly-{uuid4().hex}"
    operation: Any = {"kind": "never", "input": {"depth": 2}}
    made = client.create_schedule(
        {"name": name, "cron": "0 3 * * *", "time_zone": "Europe/Berlin", "operation": operation}
    )
    assert (made.name, made.overlap, made.operation.input, len(made.next_times)) == (name, "allow", {"depth": 2}, 5)
    assert client.schedule(name) == made and made in client.schedules()
    changed = client.update_schedule(name, {"every": "3600s", "overlap": "skip"})
    assert (changed.cron, changed.every, changed.overlap) == ("", "3600s", "skip")
    assert client.pause_schedule(name).next_times == []
    triggered = client.trigger_schedule(name)
    assert triggered.state == "PENDING"
    with pytest.raises(longrun.ApiError) as refused:
        client.trigger_schedule(name)
    assert refused.value.reason == "SCHEDULE_STILL_RUNNING"
    assert client.resume_schedule(name).last_operation == triggered.id
    client.delete_schedule(name)
    with pytest.raises(longrun.NotFound):
        client.schedule(name)
