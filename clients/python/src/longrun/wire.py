# Written by `make sdks` from the OpenAPI document of the server. Do not edit.
"""What goes over the wire: answers are dataclasses, bodies of requests are dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from ._operation import OperationMethods


@dataclass(frozen=True, kw_only=True)
class AsyncOperation(OperationMethods):
    """An operation: long work that a client requested. Texts that are not set are empty; times that are not set
    are left out."""

    #: The output; empty until the operation is completed. Structured output is JSON in this text.
    output: str
    #: Why it failed; empty unless it did.
    error_message: str
    #: When it ended.
    finished_at: datetime | None = None
    #: The project that it belongs to.
    project_id: str
    #: The kind of work.
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
    #: Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message.
    status: AsyncOperationStatus


#: The status of an operation.
AsyncOperationStatus = Literal[
    "ASYNC_OPERATION_STATUS_PENDING",
    "ASYNC_OPERATION_STATUS_RUNNING",
    "ASYNC_OPERATION_STATUS_COMPLETED",
    "ASYNC_OPERATION_STATUS_FAILED",
]


@dataclass(frozen=True, kw_only=True)
class AttestationEnvelope:
    """A DSSE envelope with an in-toto statement."""

    #: The media type of the payload.
    payloadType: str
    #: The statement, in base64.
    payload: str
    #: Exactly one signature.
    signatures: list[AttestationSignature]


@dataclass(frozen=True, kw_only=True)
class AttestationSignature:
    """A signature over the payload and its type."""

    #: The id of the key: the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits.
    keyid: str
    #: The signature, in base64.
    sig: str


@dataclass(frozen=True, kw_only=True)
class AuditActor:
    """Who called."""

    #: The kind of caller: token, instance_token, identity or command_line.
    kind: str
    #: The id of the token; on the command line, the name of the user.
    id: str
    #: The name of the token.
    name: str


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A call that was recorded."""

    #: The number of the entry in its log: 1, 2, 3 …
    number: int
    #: When it was written.
    time: datetime
    #: The organization whose log has the entry; empty for the log of the instance.
    organization: str
    #: Who called.
    actor: AuditActor
    #: What the call did, e.g. operations.create.
    action: str
    #: The objects of the call: operations/ID, tokens/ID, organizations/NAME, kinds/NAME, evidence/DIGEST.
    targets: list[str]
    #: The address that the call came from; empty on the command line.
    address: str
    #: The X-Request-Id of its answer; empty on the command line.
    request_id: str
    #: The outcome of the call, a google.rpc.Code: 0 when it succeeded.
    code: int


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Entries of an audit log."""

    #: Newest first. A page may have fewer entries than requested although there are more.
    entries: list[AuditEntry]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class BadRequest:
    """Everything that is wrong with the fields of the request."""

    #: One violation for each field that is not valid.
    fieldViolations: list[FieldViolation]


class BatchCreateOperations(TypedDict):
    """Operations to create together."""

    #: All of them are created, or none.
    operations: list[CreateOperation]


#: The actions by name.
BulkAction = Literal["cancel", "retry", "delete"]


class BulkOperations(TypedDict):
    """A bulk action to carry out."""

    #: The action for each of the operations.
    action: BulkAction
    #: Which operations, as for a search. Relative times count back from now.
    filter: str
    #: Whether to only count the operations that match.
    dry_run: NotRequired[bool]
    #: How many operations are expected to match. If the number now differs by more than a tenth, the call is refused
    #: with 409.
    expected_count: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class BulkOperationsAnswer:
    """The answer to a bulk action."""

    #: How many operations match.
    matching_count: int
    #: Whether matching_count is exact; otherwise it is a lower bound.
    count_is_exact: bool
    #: The operation that carries out the action; left out of the answer to a dry run.
    operation: AsyncOperation | None = None


class ClaimOperations(TypedDict):
    """The claim of a worker."""

    #: The kinds of operations that the worker runs.
    kinds: list[str]
    #: How many operations to claim at most.
    max_operations: NotRequired[int | None]
    #: How long to wait for the first operation, in seconds with the suffix s; longer times count as 60s.
    wait: NotRequired[str | None]
    #: For tokens of the instance: only operations of these organizations; by default of all that the token may act
    #: in.
    organizations: NotRequired[list[str] | None]


@dataclass(frozen=True, kw_only=True)
class ClaimedOperation:
    """A claimed operation."""

    #: The operation.
    operation: AsyncOperation
    #: The organization of the operation; a worker for several organizations names it in heartbeats and settlements.
    organization: str
    #: The input of the operation, as it was written; `null` when there is none.
    input: Any
    #: The number of this attempt, from 1.
    attempt: int
    #: The token that identifies this attempt in heartbeats and settlements.
    lease_token: str
    #: When the lease ends unless a heartbeat extends it.
    lease_expires_at: datetime
    #: How long the attempt may take.
    timeout: str
    #: Whether its cancellation was requested already, so that the worker must stop.
    cancel_requested: bool
    #: The attempt as a span of the trace that the operation belongs to: the header of W3C Trace Context for calls
    #: that the worker makes. Left out when the operation belongs to no trace.
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimedOperations:
    """The operations that a worker claimed."""

    #: At most as many as the worker requested.
    operations: list[ClaimedOperation]
    #: How long a lease lasts without a heartbeat.
    lease_duration: str


class CreateOperation(TypedDict):
    """An operation to create."""

    #: The kind of work: 1 to 128 letters, digits, '_', '-', '.' or '/'.
    kind: str
    #: The type of the resource that it is about; must come together with resource_id.
    resource_type: NotRequired[str | None]
    #: The id of the resource that it is about; must come together with resource_type.
    resource_id: NotRequired[str | None]
    #: The project that it belongs to. A token that is limited to projects must name one of them.
    project_id: NotRequired[str | None]
    #: The version of the project.
    project_version_id: NotRequired[str | None]
    #: The input for the handler or worker: any JSON, stored exactly as it is written.
    input: NotRequired[Any]
    #: Among pending operations, those with a higher priority start first.
    priority: NotRequired[int | None]
    #: The earliest time at which it may start.
    run_after: NotRequired[str | None]
    #: How long one attempt may take, in seconds with the suffix s.
    timeout: NotRequired[str | None]
    #: The largest number of attempts; by default the setting of the kind or the server.
    max_attempts: NotRequired[int | None]
    #: How long it is kept after its end, in seconds with the suffix s; by default as the server is configured.
    retain_for: NotRequired[str | None]
    #: At most concurrency_limit operations of the organization with this key run at a time, whatever their kinds.
    concurrency_key: NotRequired[str | None]
    #: How many operations with the concurrency_key may run at a time, with a key only; 1 if it is left out. If
    #: operations with the same key give different limits, that of the newest one applies.
    concurrency_limit: NotRequired[int | None]
    #: Labels, by which it can be found: at most 16 values of at most 255 bytes. A key has 1 to 63 lower-case letters,
    #: digits, '.', '_', '-' or '/', and begins and ends with a letter or a digit.
    labels: NotRequired[dict[str, str] | None]
    #: While an operation of the organization with this key has not ended, no other one is created: the answer is that
    #: operation, with the header X-Longrun-Existing: true. At most 255 bytes.
    unique_key: NotRequired[str | None]


class CreateOrganization(TypedDict):
    """An organization to create."""

    #: The name of the organization: 1 to 128 bytes of printable text.
    name: str
    #: The limits of the organization.
    limits: NotRequired[SetOrganizationLimits | None]


class CreateSchedule(TypedDict):
    """A schedule to create."""

    #: The name of the schedule, unique in the organization: 1 to 128 letters, digits, '_', '-' or '.'.
    name: str
    #: A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or
    #: six with the seconds first. Give either this or every.
    cron: NotRequired[str | None]
    #: The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron.
    every: NotRequired[str | None]
    #: The time zone of cron, by its name in the IANA database; by default UTC.
    time_zone: NotRequired[str | None]
    #: The operation that it creates each time; without run_after and unique_key.
    operation: CreateOperation
    #: What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip,
    #: or cancel_previous.
    overlap: NotRequired[str | None]
    #: Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
    #: 100).
    catch_up: NotRequired[str | None]
    #: The longest delay that is added to each due time, in seconds with the suffix s.
    jitter: NotRequired[str | None]
    #: Whether it is paused: it creates nothing until it is resumed.
    paused: NotRequired[bool | None]


class CreateToken(TypedDict):
    """A token to create."""

    #: A name for people that says what the token is for: 1 to 128 bytes.
    name: str
    #: The scopes of the new token; only scopes that the calling token has. A token of the instance may have admin and
    #: operations:work.
    scopes: list[str]
    #: The projects that the token is limited to; by default it is not limited.
    projects: NotRequired[list[str] | None]
    #: How long it is valid, in seconds with the suffix s; by default without an end. It cannot outlive the calling
    #: token.
    expires_in: NotRequired[str | None]
    #: The organization that it belongs to; by default that of the calling token.
    organization: NotRequired[str | None]
    #: Whether to create a token of the instance, which belongs to no organization; only such a token can do so.
    instance: NotRequired[bool | None]
    #: For a token of the instance: the organizations that it may act in; by default all.
    organizations: NotRequired[list[str] | None]


class CreateView(TypedDict):
    """A view to create."""

    #: The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
    #: the token.
    name: str
    #: The filter of the operations that it shows, as for a search; empty for all operations.
    filter: NotRequired[str | None]
    #: The names of the columns, in order; left out for the default columns.
    columns: NotRequired[list[str] | None]
    #: private: only the calling token sees it. shared: the whole organization sees it.
    visibility: NotRequired[str | None]


class CreateWaiver(TypedDict):
    """A waiver to create."""

    #: The name of the policy whose violations it covers.
    policy: str
    #: Which violations of the policy it covers: a whole message; an identifier in a finding, such as that of a rule
    #: or a vulnerability; or vex: and the digest of a VEX document that is stored as evidence, for the
    #: vulnerabilities that the document says do not affect the product or are fixed. By default all.
    finding: NotRequired[str | None]
    #: Which evidence it covers: a digest or the id of a project; for evaluations in no project, also the name of the
    #: evidence or of its project. By default any evidence. Required with a VEX document.
    subject: NotRequired[str | None]
    #: Why the violation is accepted.
    reason: str
    #: How long it has an effect, in seconds with the suffix s; by default until it is removed.
    expires_in: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class CreatedOperations:
    """Operations that were created together."""

    #: In the order of the request.
    operations: list[AsyncOperation]
    #: The zero-based positions of the operations that existed before, with the same unique_key; left out when there
    #: are none.
    existing: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class DeletedEvidence:
    """`{}`."""


@dataclass(frozen=True, kw_only=True)
class DeletedView:
    """`{}`."""


@dataclass(frozen=True, kw_only=True)
class DeletedWaiver:
    """`{}`."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """The details of `google/rpc/error_details.proto`, spelt as proto3 JSON spells them. Each is a struct that
    names its type and not a variant of a tagged enum, because client generators need a name for each."""


@dataclass(frozen=True, kw_only=True)
class Empty:
    """`{}`."""


@dataclass(frozen=True, kw_only=True)
class ErrorInfo:
    """Identifies the error."""

    #: A stable name, such as INVALID_FIELDS.
    reason: str
    #: Always longrun.
    domain: str
    #: Values for programs, such as a limit.
    metadata: dict[str, str]


class EvaluateEvidence(TypedDict):
    """An evaluation to start. Exactly one of digest and content must be given."""

    #: The digest of evidence that is stored.
    digest: NotRequired[str | None]
    #: The evidence itself, in base64; may be empty, for example for a report without findings.
    content: NotRequired[str | None]
    #: The material type, such as SBOM_CYCLONEDX_JSON; by default it is detected from the content.
    kind: NotRequired[str | None]
    #: The material's name, for policies that select by name.
    name: NotRequired[str | None]
    #: The policies to evaluate, each embedded or by reference. If neither policies nor groups are given, the server's
    #: default policies are evaluated.
    policies: NotRequired[list[PolicyAttachment] | None]
    #: The groups of policies to evaluate.
    policy_groups: NotRequired[list[PolicyGroupAttachment] | None]
    #: The project's name, as policies see it.
    project_name: NotRequired[str | None]
    #: The name of the project's version, as policies see it.
    project_version_name: NotRequired[str | None]
    #: The project that the operation belongs to.
    project_id: NotRequired[str | None]
    #: The version of the project.
    project_version_id: NotRequired[str | None]
    #: A question about the evidence for an AI provider; refused unless the server has one configured.
    prompt: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class EvaluationStarted:
    """The operation that was started."""

    #: Its id.
    operation_id: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A piece of evidence that is stored."""

    #: The digest of its content, which identifies it.
    digest: str
    #: Its length in bytes.
    size: int
    #: The detected material type; empty when none was detected.
    kind: str
    #: The first name that it was stored or evaluated with; left out when it has no name.
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvidenceLastOperation:
    """The newest operation about a piece of evidence."""

    #: Its id.
    id: str
    #: Its status.
    status: str
    #: When it ended; left out until then.
    finished_at: datetime | None = None
    #: passed, failed or skipped; left out when the operation is not an ended evaluation, or its output is long.
    verdict: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvidenceList:
    """A page of evidence."""

    #: Newest first.
    evidence: list[ListedEvidence]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str
    #: How many pieces of evidence the organization has in total, whatever the page shows.
    total_count: int
    #: The size of all its evidence in bytes.
    total_bytes: int
    #: The limit on that size in bytes; 0 for no limit.
    max_bytes: int


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """A field that is not valid."""

    #: Its path in the request.
    field: str
    #: What is wrong with the field, or what it must be.
    description: str


@dataclass(frozen=True, kw_only=True)
class FoundOperations:
    """Operations that were found."""

    #: In the requested order.
    operations: list[OperationDetail]
    #: How many operations match; a lower bound if total_is_exact is false.
    total_count: int
    #: Whether total_count is exact. It is, except for filters for which the server must check operations one by one,
    #: when there are more than 100,000 of them.
    total_is_exact: bool
    #: The token that requests the next page; empty on the last page. A page may be empty and still have a next one.
    next_page_token: str


class HeartbeatOperations(TypedDict):
    """The operations that a worker still holds."""

    #: One row for each operation.
    operations: list[HeartbeatRow]


@dataclass(frozen=True, kw_only=True)
class HeartbeatResult:
    """The result of one row: the worker still holds the operation, or `error` says why not."""

    #: The id of the operation.
    id: str
    #: When the lease ends unless another heartbeat extends it.
    lease_expires_at: datetime | None = None
    #: Whether its cancellation was requested, so that the worker must stop.
    cancel_requested: bool | None = None
    #: Why not.
    error: Status | None = None


@dataclass(frozen=True, kw_only=True)
class HeartbeatResults:
    """Which operations the worker still holds."""

    #: In the order of the request.
    operations: list[HeartbeatResult]


class HeartbeatRow(TypedDict):
    """An operation that a worker holds."""

    #: The id of the operation.
    id: str
    #: The lease_token of the claim.
    lease_token: str
    #: The organization of the operation, from the claim; workers for several organizations must give it.
    organization: NotRequired[str | None]
    #: The progress of the attempt: a line of text for people, of at most 1024 bytes.
    progress: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """A token with its secret."""

    #: The token.
    token: Token
    #: The secret, which callers send in the header Authorization after Bearer. It is shown only this once and not
    #: stored.
    secret: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of operations in the caller's organization."""

    #: Its name.
    name: str
    #: Whether it is paused: no operation of the kind is started.
    paused: bool


@dataclass(frozen=True, kw_only=True)
class KindAnswer:
    """`{"kind":{…}}`."""

    #: The kind.
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class ListedEvidence:
    """A piece of evidence in a list."""

    #: The digest of its content, which identifies it.
    digest: str
    #: Its length in bytes.
    size: int
    #: The detected material type; empty when none was detected.
    kind: str
    #: The first name that it was stored or evaluated with; may be empty.
    name: str
    #: When it was first stored.
    created_at: datetime
    #: When it was last stored or evaluated, accurate to about an hour.
    last_used_at: datetime
    #: The newest operation about it; left out when there is none.
    last_operation: EvidenceLastOperation | None = None


@dataclass(frozen=True, kw_only=True)
class ListedOrganization:
    """An organization in a list."""

    #: Its name.
    name: str
    #: When it was created.
    created_at: datetime
    #: The number of its pending operations.
    pending: int
    #: The number of its running operations.
    running: int
    #: The time since which it is paused; left out when it is not paused.
    paused_since: datetime | None = None
    #: Whether its deletion has begun and is not done.
    being_deleted: bool


@dataclass(frozen=True, kw_only=True)
class OperationAnswer:
    """`{"operation":{…}}`."""

    #: The operation.
    operation: AsyncOperation


@dataclass(frozen=True, kw_only=True)
class OperationCount:
    """How many operations a group has. The fields that group_by does not name are left out."""

    #: The status of its operations.
    status: AsyncOperationStatus | None = None
    #: The kind of its operations.
    kind: str | None = None
    #: The project of its operations; empty for operations without a project.
    project_id: str | None = None
    #: The number of operations in the group; at least one.
    count: int


@dataclass(frozen=True, kw_only=True)
class OperationCounts:
    """The result of a count."""

    #: The groups that have operations, those with the most operations first; at most 1000.
    groups: list[OperationCount]
    #: How many groups are not shown.
    groups_left_out: int
    #: How many operations match in all groups together; a lower bound if total_is_exact is false.
    total_count: int
    #: Whether total_count is exact.
    total_is_exact: bool


@dataclass(frozen=True, kw_only=True)
class OperationDetail:
    """An operation with all its fields. Texts that are not set are empty; times and durations that are not set are
    left out."""

    #: The output; empty until the operation is completed. Structured output is JSON in this text.
    output: str
    #: Why it failed; empty unless it did.
    error_message: str
    #: When it ended.
    finished_at: datetime | None = None
    #: The project that it belongs to.
    project_id: str
    #: The kind of work.
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
    #: Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message.
    status: AsyncOperationStatus
    #: The input that it was created with, as it was written; `null` when there is none.
    input: Any
    #: Its labels.
    labels: dict[str, str]
    #: While it has not ended, a creation with the same key returns this operation.
    unique_key: str
    #: At most `concurrency_limit` operations with this key run at a time.
    concurrency_key: str
    #: How many operations with the `concurrency_key` may run at a time; left out without a key.
    concurrency_limit: int | None = None
    #: Its priority: among pending operations, those with a higher one start first.
    priority: int
    #: How many attempts were charged, including the running one.
    attempts: int
    #: The largest number of attempts.
    max_attempts: int
    #: The earliest time at which a PENDING operation may start: as requested, or as set after a failed attempt.
    run_after: datetime | None = None
    #: How long one attempt may take, in seconds with the suffix s; left out if the operation has no timeout of its
    #: own.
    timeout: str | None = None
    #: The worker or server that runs it, or ran its last attempt.
    worker: str
    #: Whether the running attempt was asked to stop.
    cancel_requested: bool
    #: The progress that the worker of the latest attempt reported last.
    progress: str
    #: The name of the schedule that created it.
    schedule: str


@dataclass(frozen=True, kw_only=True)
class OperationDetailAnswer:
    """`{"operation":{…}}` with all fields."""

    #: The operation.
    operation: OperationDetail


@dataclass(frozen=True, kw_only=True)
class OperationEvent:
    """Something that happened to an operation."""

    #: When it happened.
    time: datetime
    #: What happened: CREATED, ATTEMPT_STARTED, PROGRESS, CANCEL_REQUESTED, ATTEMPT_FAILED, ATTEMPT_LOST,
    #: ATTEMPT_RELEASED, COMPLETED, FAILED or RETRIED.
    type: str
    #: The number of the attempt; 0 before the first.
    attempt: int
    #: The worker or server that ran the attempt; empty when none did.
    worker: str
    #: A line of text for people.
    message: str


@dataclass(frozen=True, kw_only=True)
class OperationEvents:
    """A page of the history of an operation."""

    #: Oldest first.
    events: list[OperationEvent]
    #: The page_token of the next page; left out on the last page.
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperationsPage:
    """One page of operations."""

    #: Newest first.
    operations: list[AsyncOperation]
    #: The number of the page, and how many there are.
    pagination: Pagination


@dataclass(frozen=True, kw_only=True)
class Organization:
    """An organization, as its callers see it."""

    #: Its name.
    name: str
    #: Whether it is paused: none of its operations is started.
    paused: bool
    #: The kinds that are paused in it.
    paused_kinds: list[str]
    #: Its limits; those that are not set are left out.
    limits: OrganizationLimits


@dataclass(frozen=True, kw_only=True)
class OrganizationAnswer:
    """`{"organization":{…}}`."""

    #: The organization.
    organization: Organization


@dataclass(frozen=True, kw_only=True)
class OrganizationDeletion:
    """The progress of the deletion of an organization."""

    #: Whether the organization no longer exists; otherwise repeat the call to continue.
    done: bool
    #: How many rows of the database this call removed.
    removed_rows: int


@dataclass(frozen=True, kw_only=True)
class OrganizationLimits:
    """The limits of an organization. Those that are not set are left out."""

    #: How many operations may be unfinished at a time, pending or running.
    max_pending: int | None = None
    #: How many operations may be created per second, on each server.
    rate: float | None = None
    #: How many operations may be created at once after a pause.
    burst: int | None = None
    #: The longest input, in bytes.
    max_input: int
    #: The longest output, in bytes.
    max_output: int
    #: How many of its operations start for each one of an organization with the weight 1, while both have pending
    #: ones.
    weight: int
    #: By kind, how many of its operations may run at a time; kinds without a limit are left out.
    max_running: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class OrganizationsPage:
    """Organizations, by name."""

    #: The organizations.
    organizations: list[ListedOrganization]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class Pagination:
    """The number of the page, and how many there are."""

    #: How many operations match, at most 2147483647.
    total_count: int
    #: The number of this page.
    page: int
    #: How many pages there are; 0 when nothing matches.
    total_pages: int
    #: Entries per page.
    page_size: int


# A policy to evaluate. Exactly one of ref and embedded must be given.
PolicyAttachment = TypedDict(
    "PolicyAttachment",
    {
        "ref": "NotRequired[str | None]",
        "embedded": "NotRequired[Any]",
        "with": "NotRequired[dict[str, str] | None]",
        "selector": "NotRequired[dict[str, Any] | None]",
        "disabled": "NotRequired[bool | None]",
    },
)


# A group of policies to evaluate.
PolicyGroupAttachment = TypedDict(
    "PolicyGroupAttachment",
    {
        "ref": "str",
        "with": "NotRequired[dict[str, str] | None]",
        "skip": "NotRequired[list[str] | None]",
    },
)


class ReevaluateEvidence(TypedDict):
    """Which evidence to evaluate again. At least one of the three fields must be given; evidence must match all
    that are."""

    #: Only evidence that this policy was evaluated on.
    policy: NotRequired[str | None]
    #: Only the piece of evidence with this digest.
    digest: NotRequired[str | None]
    #: Only evidence that was stored or evaluated within this number of days, accurate to about an hour.
    newest_days: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class ReevaluationStarted:
    """The reevaluation that was started."""

    #: The id of the operation that creates the evaluations; its output says how many.
    operation_id: str


@dataclass(frozen=True, kw_only=True)
class RetryInfo:
    """When to try again."""

    #: The delay in seconds with the suffix s.
    retryDelay: str


class RotateToken(TypedDict):
    """How a token is replaced."""

    #: How long the old secret stays valid, in seconds with the suffix s; 30 days (2592000s) at most.
    overlap: NotRequired[str | None]
    #: How long the new token is valid, in seconds with the suffix s; by default as long as the old one from its
    #: creation, or without an end if the old one has none.
    expires_in: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class RunningAttempt:
    """A running attempt."""

    #: The operation's id.
    operation_id: str
    #: The kind of the operation.
    kind: str
    #: The project of the operation; left out when it has none.
    project_id: str | None = None
    #: The number of the attempt, from 1.
    attempt: int
    #: When the attempt began.
    started_at: datetime
    #: When its lease ends unless a heartbeat extends it.
    lease_expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class RunningWorker:
    """A worker or server that runs operations."""

    #: The id of the token of a worker, or the name of a server.
    name: str
    #: The number of its running attempts.
    running: int
    #: The kinds of these attempts, sorted.
    kinds: list[str]
    #: When the oldest of its attempts began.
    oldest_started_at: datetime
    #: When it last claimed an operation or extended a lease.
    last_heartbeat_at: datetime
    #: Its 20 oldest running attempts.
    attempts: list[RunningAttempt]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule. Texts that are not set are empty; times that are not set are left out."""

    #: The name of the schedule.
    name: str
    #: The cron expression of its due times; empty when every is given.
    cron: str
    #: The time between its due times, in seconds with the suffix s; empty when cron is given.
    every: str
    #: The time zone of cron; empty for UTC.
    time_zone: str
    #: The operation that it creates each time.
    operation: ScheduledOperation
    #: What happens when the previous operation has not ended: allow, skip or cancel_previous.
    overlap: str
    #: Which missed due times are made up for: none, latest or all.
    catch_up: str
    #: The longest delay that is added to each due time, in seconds with the suffix s.
    jitter: str
    #: Whether it is paused: it creates nothing until it is resumed.
    paused: bool
    #: When it was created.
    created_at: datetime
    #: When it was last changed.
    updated_at: datetime
    #: The next five due times, without the delay of jitter.
    next_times: list[str]
    #: The last due time at which it created an operation.
    last_time: datetime | None = None
    #: The id of the last operation that it created, at a due time or when it was triggered; empty before the first.
    last_operation: str
    #: The last due time at which it created none, because the time was missed or the operations would have
    #: overlapped.
    last_skipped_time: datetime | None = None
    #: Why it could not create an operation the last time; empty if it could.
    last_error: str
    #: When that error occurred.
    last_error_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleAnswer:
    """`{"schedule":{…}}`."""

    #: The schedule.
    schedule: Schedule


@dataclass(frozen=True, kw_only=True)
class ScheduledOperation:
    """The operation that a schedule creates."""

    #: The kind of work.
    kind: str
    #: The type of the resource that it is about.
    resource_type: str
    #: The id of the resource that it is about.
    resource_id: str
    #: The project that it belongs to.
    project_id: str
    #: The version of the project.
    project_version_id: str
    #: Labels, by which the operation can be found.
    labels: dict[str, str]
    #: The input for the handler or worker; left out when there is none.
    input: Any = None
    #: Its priority: among pending operations, those with a higher one start first.
    priority: int
    #: How long one attempt may take, in seconds with the suffix s; left out for the setting of the kind or the
    #: server.
    timeout: str | None = None
    #: The largest number of attempts.
    max_attempts: int
    #: How long it is kept after its end, in seconds with the suffix s; left out for the setting of the server.
    retain_for: str | None = None
    #: At most `concurrency_limit` operations with this key run at a time.
    concurrency_key: str
    #: How many operations with the `concurrency_key` may run at a time; left out without a key.
    concurrency_limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulesPage:
    """Schedules, sorted by name."""

    #: The schedules.
    schedules: list[Schedule]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of somebody who signed in."""

    #: Its id, which is public.
    id: str
    #: The organization that the person signed in to.
    organization: str
    #: The identity provider's id for the person.
    subject: str
    #: The person's name.
    name: str
    #: valid, expired or revoked.
    state: str
    #: When the person signed in.
    begun_at: datetime
    #: When it expires.
    expires_at: datetime
    #: When it was revoked; left out if it was not.
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SessionAnswer:
    """`{"session":{…}}`."""

    #: The session.
    session: Session


@dataclass(frozen=True, kw_only=True)
class SessionsPage:
    """Sessions, oldest first."""

    #: The sessions.
    sessions: list[Session]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str


class SetOrganizationLimits(TypedDict):
    """The limits of an organization. Those that are left out follow the configuration of the server."""

    #: How many operations may be unfinished at a time, pending or running, on all servers together; 0 for no limit.
    max_pending: NotRequired[int | None]
    #: How many operations may be created per second, on each server; 0 for no limit.
    rate: NotRequired[float | None]
    #: How many operations may be created at once after a pause; only together with rate.
    burst: NotRequired[int | None]
    #: The longest input, in bytes.
    max_input: NotRequired[int | None]
    #: The longest output, in bytes.
    max_output: NotRequired[int | None]
    #: How many of its operations start for each one of an organization with the weight 1, while both have pending
    #: ones.
    weight: NotRequired[int | None]
    #: By kind, how many of its operations may run at a time, on all servers and workers together; 0 for no limit.
    max_running: NotRequired[dict[str, int] | None]


class SettleOperations(TypedDict):
    """The outcomes of attempts."""

    #: One row for each operation.
    results: list[SettleRow]


@dataclass(frozen=True, kw_only=True)
class SettleResult:
    """The result of one row: `error` when it was refused, otherwise `status`; a row that released its operation
    has neither."""

    #: The id of the operation.
    id: str
    #: The status of the operation now.
    status: str | None = None
    #: Why the row was refused.
    error: Status | None = None


@dataclass(frozen=True, kw_only=True)
class SettleResults:
    """The results of a settlement."""

    #: In the order of the request.
    results: list[SettleResult]


class SettleRow(TypedDict):
    """How an attempt ended: with exactly one of output, error_message and release."""

    #: The id of the operation.
    id: str
    #: The lease_token of the claim.
    lease_token: str
    #: The organization of the operation, from the claim; workers for several organizations must give it.
    organization: NotRequired[str | None]
    #: The result; structured output is JSON in this string.
    output: NotRequired[str | None]
    #: Why the attempt failed.
    error_message: NotRequired[str | None]
    #: Whether another attempt may succeed; only together with error_message.
    retryable: NotRequired[bool | None]
    #: Whether to release the operation, without charging an attempt.
    release: NotRequired[bool | None]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Statistics."""

    #: The length of a step: minute, hour or day.
    step: str
    #: When the first requested step begins.
    start: datetime
    #: The end of the requested time, exclusive.
    end: datetime
    #: The time since which everything is counted; left out until a server has begun to count.
    available_since: datetime | None = None
    #: The time up to which everything is counted; left out until a server has begun to count.
    complete_until: datetime | None = None
    #: How long ago complete_until is, in milliseconds.
    lag_ms: int | None = None
    #: One point for each step, and for each kind with group_by, ordered by start and kind. Steps in which nothing
    #: happened are left out.
    points: list[StatsPoint]


@dataclass(frozen=True, kw_only=True)
class StatsDurations:
    """The distribution of durations."""

    #: The number of durations.
    count: int
    #: Their sum in milliseconds.
    sum_ms: int
    #: The median in milliseconds, accurate to 1 %; left out when there are no durations.
    p50_ms: int | None = None
    #: The 90th percentile in milliseconds.
    p90_ms: int | None = None
    #: The 99th percentile in milliseconds.
    p99_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class StatsPoint:
    """What happened in one step."""

    #: When the step began.
    start: datetime
    #: The kind, with group_by=kind; empty for operations that were removed before they were counted.
    kind: str | None = None
    #: Operations that were created.
    created: int
    #: Attempts that began.
    started: int
    #: Operations that were completed.
    completed: int
    #: Operations that failed, cancelled ones included.
    failed: int
    #: How long the operations that were started for the first time had waited since their creation.
    waiting: StatsDurations
    #: How long the last attempts of the operations that ended took.
    running: StatsDurations


@dataclass(frozen=True, kw_only=True)
class Status:
    """Why a request was refused: `google.rpc.Status`."""

    #: The error code, a number of `google.rpc.Code`.
    code: int
    #: A message for people; it may change.
    message: str
    #: Details for programs: always an ErrorInfo with a stable reason; where they apply, also a BadRequest with the
    #: fields that are not valid, and a RetryInfo.
    details: list[Detail]


@dataclass(frozen=True, kw_only=True)
class Token:
    """An API token, without its secret."""

    #: Its id, which is public.
    id: str
    #: A name for people that says what the token is for.
    name: str
    #: The organization that it belongs to; empty for a token of the instance.
    organization: str
    #: Whether it belongs to the instance and to no organization.
    instance: bool
    #: The organizations that a token of the instance may act in; left out when it may act in all.
    organizations: list[str] | None = None
    #: The scopes of the token: what it may do.
    scopes: list[str]
    #: The projects that it is limited to; left out when it is not limited.
    projects: list[str] | None = None
    #: valid, expired or revoked.
    state: str
    #: When it was created.
    created_at: datetime
    #: When it expires; left out if it never does.
    expires_at: datetime | None = None
    #: When it was last used, accurate to about a minute; left out if it never was.
    last_used_at: datetime | None = None
    #: When it was revoked; left out if it was not.
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class TokenAnswer:
    """`{"token":{…}}`."""

    #: The token.
    token: Token


@dataclass(frozen=True, kw_only=True)
class TokensPage:
    """Tokens, oldest first."""

    #: The tokens.
    tokens: list[Token]
    #: The token that requests the next page; empty on the last page.
    next_page_token: str


class UpdateSchedule(TypedDict):
    """The changes to a schedule. Fields that are left out do not change."""

    #: A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or
    #: six with the seconds first. Give either this or every.
    cron: NotRequired[str | None]
    #: The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron.
    every: NotRequired[str | None]
    #: The time zone of cron, by its name in the IANA database; by default UTC.
    time_zone: NotRequired[str | None]
    #: The operation that it creates each time; without run_after and unique_key.
    operation: NotRequired[CreateOperation | None]
    #: What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip,
    #: or cancel_previous.
    overlap: NotRequired[str | None]
    #: Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
    #: 100).
    catch_up: NotRequired[str | None]
    #: The longest delay that is added to each due time, in seconds with the suffix s.
    jitter: NotRequired[str | None]
    #: Whether it is paused: it creates nothing until it is resumed.
    paused: NotRequired[bool | None]


class UpdateView(TypedDict):
    """The new name, filter and columns of a view, all of which are replaced."""

    #: The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
    #: the token.
    name: str
    #: The filter of the operations that it shows, as for a search; empty for all operations.
    filter: NotRequired[str | None]
    #: The names of the columns, in order; left out for the default columns.
    columns: NotRequired[list[str] | None]


@dataclass(frozen=True, kw_only=True)
class View:
    """A saved view."""

    #: Its id, a UUID.
    id: str
    #: The name of the view, for people.
    name: str
    #: The filter of the operations that it shows, as it was written.
    filter: str
    #: The names of the columns, in order; empty for the default columns.
    columns: list[str]
    #: private or shared.
    visibility: str
    #: When it was created.
    created_at: datetime
    #: When it was last changed.
    updated_at: datetime
    #: How many operations it shows to the caller now; left out in the answer to a change, and in a list when counting
    #: takes too long.
    count: int | None = None
    #: Whether the count is exact; otherwise it is a lower bound. Left out without a count.
    count_is_exact: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ViewAnswer:
    """`{"view":{…}}`."""

    #: The view.
    view: View


@dataclass(frozen=True, kw_only=True)
class ViewList:
    """Views."""

    #: Sorted by name, shared ones first.
    views: list[View]


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A policy violation that the organization accepts."""

    #: Its id, a UUID.
    id: str
    #: The name of the policy whose violations it covers.
    policy: str
    #: Which violations of the policy it covers; empty for all.
    finding: str
    #: Which evidence it covers; empty for any.
    subject: str
    #: Why the violation is accepted.
    reason: str
    #: The name of the token that created it.
    created_by: str
    #: When it was created.
    created_at: datetime
    #: When it ceases to have an effect; left out if it never does.
    expires_at: datetime | None = None
    #: Whether it has an effect now.
    active: bool


@dataclass(frozen=True, kw_only=True)
class WaiverAnswer:
    """`{"waiver":{…}}`."""

    #: The waiver.
    waiver: Waiver


@dataclass(frozen=True, kw_only=True)
class WaiverList:
    """Waivers."""

    #: Oldest first.
    waivers: list[Waiver]


@dataclass(frozen=True, kw_only=True)
class WorkerList:
    """The workers and servers that run operations."""

    #: Those with the most attempts first.
    workers: list[RunningWorker]
    #: Whether these are all of them. When more than 5,000 attempts are running, only those of the oldest operations
    #: are examined.
    is_complete: bool


Operation = AsyncOperation
NewOperation = CreateOperation
