"""Google's own client of long-running operations, against the same operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions, operation
from google.api_core.operations_v1 import OperationsClient
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from server import Server

from longrun import Client, wire


def message(name: str, fields: list[str]) -> Any:
    """The class of a message of texts; its names and numbers are those of proto/longrun/v1/operations.proto."""
    file = descriptor_pb2.FileDescriptorProto(name=f"longrun/v1/{name}.proto", package="longrun.v1", syntax="proto3")
    described = file.message_type.add(name=name)
    for field in fields:
        number, text = field.split(" ")
        described.field.add(
            name=text,
            number=int(number),
            type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"longrun.v1.{name}"))


OUTPUT = message("OperationOutput", ["1 output"])
METADATA = message("OperationMetadata", ["1 kind", "3 resource_type", "4 resource_id", "8 progress"])


KIND = "task"


@pytest.fixture
def client(own_server: Server) -> Iterator[Client]:
    with Client(own_server.url, own_server.token) as client:
        yield client


@pytest.fixture
def channel(own_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(own_server.url.removeprefix("http://")) as channel:
        yield channel


@pytest.fixture
def bearer(own_server: Server) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {own_server.token}")]


def claim(client: Client) -> Any:
    return client.claim([KIND], wait=10).operations[0]


def test_operations_are_listed_got_cancelled_and_deleted(
    client: Client, channel: grpc.Channel, bearer: list[tuple[str, str]]
) -> None:
    google = OperationsClient(channel)
    names = [f"operations/{client.create(KIND).id}" for _ in range(3)]
    found = google.get_operation(names[0], metadata=bearer)
    assert (found.name, found.done) == (names[0], False)
    metadata = METADATA()
    assert found.metadata.Unpack(metadata)
    assert metadata.kind == KIND
    listed = [entry.name for entry in google.list_operations("operations", "", metadata=bearer)]
    assert [name for name in listed if name in names] == names[::-1], "newest first, over all pages"

    google.cancel_operation(names[0], metadata=bearer)
    cancelled = google.get_operation(names[0], metadata=bearer)
    assert (cancelled.done, cancelled.error.code) == (True, grpc.StatusCode.CANCELLED.value[0])
    google.delete_operation(names[0], metadata=bearer)
    with pytest.raises(exceptions.NotFound):
        google.get_operation(names[0], metadata=bearer)
    with pytest.raises(exceptions.FailedPrecondition):
        google.delete_operation(names[1], metadata=bearer)
    with pytest.raises(exceptions.Unauthenticated):
        google.get_operation(names[1])


def test_a_future_of_google_ends_with_the_output_of_the_operation(
    client: Client, channel: grpc.Channel, bearer: list[tuple[str, str]]
) -> None:
    google = OperationsClient(channel)
    created = client.create(KIND)
    future = operation.from_gapic(
        google.get_operation(f"operations/{created.id}", metadata=bearer),
        google,
        result_type=OUTPUT,
        metadata_type=METADATA,
        grpc_metadata=bearer,
    )
    assert not future.done()
    claimed = claim(client)
    row = wire.SettleRow(id=created.id, lease_token=claimed.lease_token, output="made")
    client.settle([row])
    assert future.result(timeout=30).output == "made"


def test_a_wait_of_google_ends_with_the_operation(
    client: Client, channel: grpc.Channel, bearer: list[tuple[str, str]]
) -> None:
    stub = operations_pb2_grpc.OperationsStub(channel)
    created = client.create(KIND)
    request = operations_pb2.WaitOperationRequest(
        name=f"operations/{created.id}", timeout=duration_pb2.Duration(seconds=30)
    )
    waiting = stub.WaitOperation.future(request, metadata=bearer)
    claimed = claim(client)
    row = wire.SettleRow(id=created.id, lease_token=claimed.lease_token, error_message="broken")
    client.settle([row])
    ended = waiting.result(timeout=30)
    assert (ended.done, ended.error.message) == (True, "broken")
