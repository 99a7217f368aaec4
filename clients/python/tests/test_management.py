"""What administrators do, by both clients, against the real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from server import Server

import longrun


def test_a_token_is_made_listed_replaced_and_revoked(server: Server, connect: Callable[..., Any], client: Any) -> None:
    name = uuid.uuid4().hex
    made = client.create_token(name, ["operations:read"], projects=["p"], expires_in=3600)
    assert (made.token.scopes, made.token.projects, made.token.state) == (["operations:read"], ["p"], "valid")
    assert list(connect(server.url, made.secret).list(kind="never")) == []
    assert made.token.id in [token.id for token in client.tokens() if token.name == name]
    replaced = client.rotate_token(made.token.id, overlap=0)
    assert replaced.token.id != made.token.id and client.token(made.token.id).state == "expired"
    assert client.revoke_token(replaced.token.id).state == "revoked"
    with pytest.raises(longrun.NotFound):
        client.token("nobodys")
    with pytest.raises(longrun.InvalidRequest) as refused:
        client.create_token("", ["everything"])
    assert {violation.field for violation in refused.value.violations} == {"name", "scopes"}


def test_an_organization_is_made_limited_and_deleted(server: Server, connect: Callable[..., Any]) -> None:
    manager, name = connect(server.url, server.manager), uuid.uuid4().hex
    made = manager.create_organization(name, {"max_pending": 5})
    assert (made.name, made.limits.max_pending) == (name, 5)
    assert manager.set_organization_limits(name, {"weight": 2}).limits.weight == 2
    manager.create_token("worker", ["operations:work"], organization=name)
    assert [token.name for token in manager.tokens(organization=name)] == ["worker"]
    assert name in [organization.name for organization in manager.organizations()]
    assert manager.delete_organization(name).done
    with pytest.raises(longrun.NotFound):
        manager.organization(name)


def test_the_audit_log_tells_who_did_it(client: Any) -> None:
    made = client.create_token("audited", ["operations:read"])
    client.revoke_token(made.token.id)
    entries = list(client.audit(action="tokens.", target=f"tokens/{made.token.id}"))
    assert [entry.action for entry in entries] == ["tokens.revoke", "tokens.create"]
    assert {entry.actor.name for entry in entries} == {"test"}
    assert list(client.audit(until="2000-01-01T00:00:00Z")) == []


def test_nobody_has_signed_in(client: Any) -> None:
    assert list(client.sessions()) == []
    with pytest.raises(longrun.NotFound):
        client.revoke_session("ses_0")
