"""Saved views, by both clients, against the real server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

import longrun


def test_a_view_is_made_changed_and_deleted(client: Any) -> None:
    mark, name = uuid4().hex, f"mine-{uuid4().hex}"
    client.create("never", labels={"test": mark})
    made = client.create_view({"name": name, "filter": f"labels.test = {mark}"})
    assert (made.name, made.filter, made.visibility) == (name, f"labels.test = {mark}", "private")
    seen = client.view(made.id)
    assert (seen.count, seen.count_is_exact) == (1, True)
    assert made.id in [view.id for view in client.views()]
    changed = client.update_view(made.id, {"name": name, "filter": f"labels.test = {mark} AND status = FAILED"})
    assert changed.id == made.id
    assert client.view(made.id).count == 0
    client.delete_view(made.id)
    with pytest.raises(longrun.NotFound):
        client.view(made.id)
