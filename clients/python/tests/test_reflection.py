"""Health and reflection, as `grpcurl` and probes ask: without a token and without our files."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from server import Server

# `list_services: ""` of a ServerReflectionRequest.
LIST_SERVICES = b"\x3a\x00"
# `status: SERVING` of a HealthCheckResponse.
SERVING = b"\x08\x01"


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.url.removeprefix("http://")) as channel:
        yield channel


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_services_are_listed_in_both_versions_of_reflection(channel: grpc.Channel, version: str) -> None:
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    answers: list[bytes] = list(channel.stream_stream(method)(iter([LIST_SERVICES]), timeout=30))
    for name in [b"longrun.v1.AsyncOperationsService", b"google.longrunning.Operations", b"grpc.health.v1.Health"]:
        assert name in answers[0]


def test_the_server_says_that_it_serves(channel: grpc.Channel) -> None:
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30) == SERVING
