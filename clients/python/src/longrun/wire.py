# Written by `make sdks` from the OpenAPI document of the server. Do not edit.
"""What goes over the wire: answers are dataclasses, bodies of requests are dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from ._operation import OperationMethods


@dataclass(frozen=True, kw_only=True)
class AsyncOperation(OperationMethods):
    """Long work that was asked for. Texts that are not set are empty; times that are not set are left out."""

    #: What came out, empty before; structured output is JSON in this text.
    output: str
    #: Why it failed; empty unless it did.
    error_message: str
    #: When it ended.
    finished_at: datetime | None = None
    #: The project that it belongs to.
    project_id: str
    #: What kind of work it is.
    kind: str
    #: The type of the resource that it is about.
    resource_type: str
    #: When it was created.
    created_at: datetime
    #: When its last attempt began.
    started_at: datetime | None = None
    #: The id of the resource that it is about.
    resource_id: str
    #: Its id, a UUID of version 7.
    id: str
    #: The version of the project.
    project_version_id: str
    #: Where it stands. One that was cancelled or ran out of time is FAILED and says so in error_message.
    status: AsyncOperationStatus


#: Where an operation stands.
AsyncOperationStatus = Literal[
    "ASYNC_OPERATION_STATUS_PENDING",
    "ASYNC_OPERATION_STATUS_RUNNING",
    "ASYNC_OPERATION_STATUS_COMPLETED",
    "ASYNC_OPERATION_STATUS_FAILED",
]


@dataclass(frozen=True, kw_only=True)
class BadRequest:
    """What is wrong with the request, all at once."""

    #: One for each field at fault.
    fieldViolations: list[FieldViolation]


class BatchCreateOperations(TypedDict):
    """Operations that are to be created together."""

    #: All of them are created, or none.
    operations: list[CreateOperation]


class ClaimOperations(TypedDict):
    """What a worker asks for."""

    #: The kinds that it runs.
    kinds: list[str]
    #: How many operations at most.
    max_operations: NotRequired[int | None]
    #: How long to wait for the first one, in seconds with an s; above 60s, 60s are waited.
    wait: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class ClaimedOperation:
    """A claimed operation."""

    #: The operation.
    operation: AsyncOperation
    #: As it was written; `null` when there is none.
    input: Any
    #: The number of this attempt, from 1.
    attempt: int
    #: What heartbeats and settlements of this attempt show.
    lease_token: str
    #: Until when it is held without a heartbeat.
    lease_expires_at: datetime
    #: How long the attempt may take.
    timeout: str
    #: Whether it is to stop already.
    cancel_requested: bool


@dataclass(frozen=True, kw_only=True)
class ClaimedOperations:
    """What a worker was given."""

    #: At most as many as it asked for.
    operations: list[ClaimedOperation]
    #: How long a lease lives without a heartbeat.
    lease_duration: str


class CreateOperation(TypedDict):
    """An operation that is to be created."""

    #: What kind of work it is: 1 to 128 letters, digits, '_', '-', '.' or '/'.
    kind: str
    #: The type of the resource that it is about; goes together with resource_id.
    resource_type: NotRequired[str | None]
    #: The id of the resource that it is about; goes together with resource_type.
    resource_id: NotRequired[str | None]
    #: The project that it belongs to. A token with a list of projects must name one of them.
    project_id: NotRequired[str | None]
    #: The version of the project.
    project_version_id: NotRequired[str | None]
    #: What the handler or worker is given: any JSON, kept digit for digit.
    input: NotRequired[Any]
    #: Higher comes first among those that wait; 0 unless it is given.
    priority: NotRequired[int | None]
    #: Not to be started before this time.
    run_after: NotRequired[str | None]
    #: How long one attempt may take, in seconds with an s.
    timeout: NotRequired[str | None]
    #: How many attempts there may be; the server's or the kind's setting unless it is given.
    max_attempts: NotRequired[int | None]
    #: How long it is kept after its end, in seconds with an s; as the server is configured unless it is given.
    retain_for: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class CreatedOperations:
    """Operations that were created together."""

    #: In the order of the request.
    operations: list[AsyncOperation]


@dataclass(frozen=True, kw_only=True)
class Detail:
    """The details of `google/rpc/error_details.proto`, spelt as proto3 JSON spells them. Each is a struct that
    names its type, and no variant of a tagged enum: generators of clients want a name for each."""


@dataclass(frozen=True, kw_only=True)
class Empty:
    """`{}`."""


@dataclass(frozen=True, kw_only=True)
class ErrorInfo:
    """Which error it is."""

    #: A stable name, such as INVALID_FIELDS.
    reason: str
    #: Always longrun.
    domain: str
    #: What a program may want to know, such as a limit.
    metadata: dict[str, str]


class EvaluateEvidence(TypedDict):
    """An evaluation that is to be started. Exactly one of digest and content is given."""

    #: The digest of evidence that is stored.
    digest: NotRequired[str | None]
    #: The evidence itself, in base64.
    content: NotRequired[str | None]
    #: The material type, such as SBOM_CYCLONEDX_JSON; detected from the content unless it is given.
    kind: NotRequired[str | None]
    #: The material's name, for policies that select by name.
    name: NotRequired[str | None]
    #: The policies to evaluate, each embedded or by reference; the server's default policies when there are neither
    #: policies nor groups.
    policies: NotRequired[list[PolicyAttachment] | None]
    #: Groups of policies.
    policy_groups: NotRequired[list[PolicyGroupAttachment] | None]
    #: The project's name, as policies see it.
    project_name: NotRequired[str | None]
    #: The name of the project's version, as policies see it.
    project_version_name: NotRequired[str | None]
    #: The project that the operation belongs to.
    project_id: NotRequired[str | None]
    #: The version of the project.
    project_version_id: NotRequired[str | None]
    #: What an AI provider is asked about the evidence; refused unless one is configured.
    prompt: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class EvaluationStarted:
    """The operation that was started."""

    #: Its id.
    operation_id: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A piece of evidence that is stored."""

    #: By what it is found.
    digest: str
    #: Its length in bytes.
    size: int
    #: The material type that was detected; empty when none was.
    kind: str


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """What is wrong with a field."""

    #: Its path in the request.
    field: str
    #: What would be right.
    description: str


class HeartbeatOperations(TypedDict):
    """What a worker holds still."""

    #: One row for each operation.
    operations: list[HeartbeatRow]


@dataclass(frozen=True, kw_only=True)
class HeartbeatResult:
    """What became of one row: it is held, or it is not and `error` says so."""

    #: The operation.
    id: str
    #: Until when without another heartbeat.
    lease_expires_at: datetime | None = None
    #: Whether it is to stop.
    cancel_requested: bool | None = None
    #: Why.
    error: Status | None = None


@dataclass(frozen=True, kw_only=True)
class HeartbeatResults:
    """What is still held."""

    #: In the order of the request.
    operations: list[HeartbeatResult]


class HeartbeatRow(TypedDict):
    """An operation that a worker holds."""

    #: Its id.
    id: str
    #: What the claim gave.
    lease_token: str
    #: A line for people: how far it is. At most 1024 bytes.
    progress: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of operations in the caller's organization."""

    #: Its name.
    name: str
    #: Nothing of it is started.
    paused: bool


@dataclass(frozen=True, kw_only=True)
class KindAnswer:
    """`{"kind":{…}}`."""

    #: The kind.
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class OperationAnswer:
    """`{"operation":{…}}`."""

    #: The operation.
    operation: AsyncOperation


@dataclass(frozen=True, kw_only=True)
class OperationEvent:
    """Something that happened to an operation."""

    #: When.
    time: datetime
    #: What: CREATED, ATTEMPT_STARTED, PROGRESS, CANCEL_REQUESTED, ATTEMPT_FAILED, ATTEMPT_LOST, ATTEMPT_RELEASED,
    #: COMPLETED, FAILED or RETRIED.
    type: str
    #: The number of the attempt; 0 before the first.
    attempt: int
    #: Who ran the attempt; empty when nobody did.
    worker: str
    #: A line for people.
    message: str


@dataclass(frozen=True, kw_only=True)
class OperationEvents:
    """A page of a history."""

    #: Oldest first.
    events: list[OperationEvent]
    #: Only when there are more: the page_token of the next page.
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperationsPage:
    """One page of operations, as the document shows it: it is written piece by piece ([`page`])."""

    #: Newest first.
    operations: list[AsyncOperation]
    #: Which page, and of how many.
    pagination: Pagination


@dataclass(frozen=True, kw_only=True)
class Organization:
    """An organization, as its callers see it."""

    #: Its name.
    name: str
    #: Nothing of it is started.
    paused: bool
    #: Kinds of which nothing is started in it.
    paused_kinds: list[str]
    #: What it may have; limits that are not set are left out.
    limits: OrganizationLimits


@dataclass(frozen=True, kw_only=True)
class OrganizationAnswer:
    """`{"organization":{…}}`."""

    #: The organization.
    organization: Organization


@dataclass(frozen=True, kw_only=True)
class OrganizationLimits:
    """Limits that are not set are left out."""

    #: How many operations may be pending.
    max_pending: int | None = None
    #: Creations per second.
    rate: float | None = None
    #: Creations at once.
    burst: float | None = None
    #: The longest input, in bytes.
    max_input: int
    #: The longest output, in bytes.
    max_output: int


@dataclass(frozen=True, kw_only=True)
class Pagination:
    """Which page it is, and of how many."""

    #: How many operations match, at most 2147483647.
    total_count: int
    #: The number of this page.
    page: int
    #: How many pages there are; 0 when nothing matches.
    total_pages: int
    #: Entries per page.
    page_size: int


# A use of a policy, as the document shows it: the evaluation reads it. Exactly one of ref and embedded is given.
PolicyAttachment = TypedDict(
    "PolicyAttachment",
    {
        "ref": "NotRequired[str | None]",
        "embedded": "NotRequired[Any]",
        "with": "NotRequired[dict[str, str] | None]",
    },
)


# A use of a group of policies, as the document shows it.
PolicyGroupAttachment = TypedDict(
    "PolicyGroupAttachment",
    {
        "ref": "str",
        "with": "NotRequired[dict[str, str] | None]",
        "skip": "NotRequired[list[str] | None]",
    },
)


@dataclass(frozen=True, kw_only=True)
class RetryInfo:
    """When to try again."""

    #: Seconds with an s.
    retryDelay: str


class SettleOperations(TypedDict):
    """What a worker has done."""

    #: One row for each operation.
    results: list[SettleRow]


@dataclass(frozen=True, kw_only=True)
class SettleResult:
    """What became of one row: `error` when it was refused, else `status`, the operation's; of a row that was
    released neither."""

    #: The operation.
    id: str
    #: The operation's status now.
    status: str | None = None
    #: Why the row was refused.
    error: Status | None = None


@dataclass(frozen=True, kw_only=True)
class SettleResults:
    """What became of what was settled."""

    #: In the order of the request.
    results: list[SettleResult]


class SettleRow(TypedDict):
    """How an attempt ended: with exactly one of output, error_message and release."""

    #: The operation's id.
    id: str
    #: What the claim gave.
    lease_token: str
    #: The result; structured output is JSON in this string.
    output: NotRequired[str | None]
    #: Why the attempt failed.
    error_message: NotRequired[str | None]
    #: Whether another attempt may help; goes with error_message only.
    retryable: NotRequired[bool | None]
    #: Give the operation back without charging an attempt.
    release: NotRequired[bool | None]


@dataclass(frozen=True, kw_only=True)
class Status:
    """Why a request was refused: `google.rpc.Status`."""

    #: A number of `google.rpc.Code`.
    code: int
    #: For people; may change.
    message: str
    #: For programs: always an ErrorInfo with a stable reason; a BadRequest with the fields at fault, a RetryInfo
    #: where they apply.
    details: list[Detail]


Operation = AsyncOperation
NewOperation = CreateOperation
