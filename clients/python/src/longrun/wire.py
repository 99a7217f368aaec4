# Written by `make sdks` from the OpenAPI document of the server. Do not edit.
"""What goes over the wire: answers are dataclasses, bodies of requests are dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from ._operation import OperationMethods

OperationStatus = Literal[
    "ASYNC_OPERATION_STATUS_PENDING",
    "ASYNC_OPERATION_STATUS_RUNNING",
    "ASYNC_OPERATION_STATUS_COMPLETED",
    "ASYNC_OPERATION_STATUS_FAILED",
]


@dataclass(frozen=True, kw_only=True)
class Operation(OperationMethods):
    output: str
    error_message: str
    project_id: str
    kind: str
    resource_type: str
    resource_id: str
    id: str
    project_version_id: str
    status: OperationStatus
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Pagination:
    total_count: int
    page: int
    total_pages: int
    page_size: int


@dataclass(frozen=True, kw_only=True)
class OperationAnswer:
    operation: Operation


@dataclass(frozen=True, kw_only=True)
class OperationPage:
    operations: list[Operation]
    pagination: Pagination


@dataclass(frozen=True, kw_only=True)
class CreatedOperations:
    operations: list[Operation]


@dataclass(frozen=True, kw_only=True)
class HistoryEvent:
    time: datetime
    type: str
    attempt: int
    worker: str
    message: str


@dataclass(frozen=True, kw_only=True)
class History:
    events: list[HistoryEvent]
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class OrganizationLimits:
    max_input: int
    max_output: int
    max_pending: int | None = None
    rate: float | None = None
    burst: float | None = None


@dataclass(frozen=True, kw_only=True)
class Organization:
    name: str
    paused: bool
    limits: OrganizationLimits
    paused_kinds: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrganizationAnswer:
    organization: Organization


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    paused: bool


@dataclass(frozen=True, kw_only=True)
class KindAnswer:
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class StartedEvaluation:
    operation_id: str


@dataclass(frozen=True, kw_only=True)
class StoredEvidence:
    digest: str
    size: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class ClaimedOperation:
    operation: Operation
    attempt: int
    lease_token: str
    lease_expires_at: datetime
    timeout: str
    cancel_requested: bool
    input: Any = None


@dataclass(frozen=True, kw_only=True)
class Claims:
    operations: list[ClaimedOperation]
    lease_duration: str


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    id: str
    lease_expires_at: datetime | None = None
    cancel_requested: bool | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Heartbeats:
    operations: list[LeaseState]


@dataclass(frozen=True, kw_only=True)
class SettledOperation:
    id: str
    status: OperationStatus | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    results: list[SettledOperation]


class NewOperation(TypedDict):
    kind: str
    resource_type: NotRequired[str]
    resource_id: NotRequired[str]
    project_id: NotRequired[str]
    project_version_id: NotRequired[str]
    input: NotRequired[Any]
    priority: NotRequired[int]
    run_after: NotRequired[str]
    timeout: NotRequired[str]
    max_attempts: NotRequired[int]
    retain_for: NotRequired[str]


PolicyAttachment = TypedDict(
    "PolicyAttachment",
    {
        "ref": NotRequired[str],
        "embedded": NotRequired[Any],
        "with": NotRequired[dict[str, str]],
    },
)

PolicyGroupAttachment = TypedDict(
    "PolicyGroupAttachment",
    {
        "ref": str,
        "with": NotRequired[dict[str, str]],
        "skip": NotRequired[list[str]],
    },
)


class Heartbeat(TypedDict):
    id: str
    lease_token: str
    progress: NotRequired[str]


class Settlement(TypedDict):
    id: str
    lease_token: str
    output: NotRequired[str]
    error_message: NotRequired[str]
    retryable: NotRequired[bool]
    release: NotRequired[bool]
