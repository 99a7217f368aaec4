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
class AttestationEnvelope:
    """A DSSE envelope with an in-toto statement."""

    #: What the payload is.
    payloadType: str
    #: The statement, in base64.
    payload: str
    #: One.
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

    #: token, instance_token, identity or command_line.
    kind: str
    #: The id of the token; on the command line the user.
    id: str
    #: The name of the token.
    name: str


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A call that was recorded."""

    #: Its number in its log: 1, 2, 3 …
    number: int
    #: When it was written.
    time: datetime
    #: Whose log it is in; empty: that of the instance.
    organization: str
    #: Who called.
    actor: AuditActor
    #: What, e.g. operations.create.
    action: str
    #: On what: operations/ID, tokens/ID, organizations/NAME, kinds/NAME, evidence/DIGEST.
    targets: list[str]
    #: The address that the call came from; empty on the command line.
    address: str
    #: The X-Request-Id of its answer; empty on the command line.
    request_id: str
    #: What was answered, a google.rpc.Code: 0 when it was done.
    code: int


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Entries of an audit log."""

    #: Newest first. There may be fewer than were asked for, also when there are more.
    entries: list[AuditEntry]
    #: What the next page is asked for with; empty at the end.
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class BadRequest:
    """What is wrong with the request, all at once."""

    #: One for each field at fault.
    fieldViolations: list[FieldViolation]


class BatchCreateOperations(TypedDict):
    """Operations that are to be created together."""

    #: All of them are created, or none.
    operations: list[CreateOperation]


#: The actions by name.
BulkAction = Literal["cancel", "retry", "delete"]


class BulkOperations(TypedDict):
    """What is to be done, and to which operations."""

    #: What is done to each of them.
    action: BulkAction
    #: Which operations, as for a search. Durations are before now.
    filter: str
    #: Only tell how many match.
    dry_run: NotRequired[bool]
    #: How many are expected to match: when the number now differs by more than a tenth, the call is refused with 409.
    expected_count: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class BulkOperationsAnswer:
    """What a bulk action is about."""

    #: How many operations match.
    matching_count: int
    #: Whether that is all of them; else at least so many match.
    count_is_exact: bool
    #: The operation that does it; left out of the answer to a dry run.
    operation: AsyncOperation | None = None


class ClaimOperations(TypedDict):
    """What a worker asks for."""

    #: The kinds that it runs.
    kinds: list[str]
    #: How many operations at most.
    max_operations: NotRequired[int | None]
    #: How long to wait for the first one, in seconds with an s; above 60s, 60s are waited.
    wait: NotRequired[str | None]
    #: For tokens of the instance: only operations of these organizations; left out, of all that the token reaches.
    organizations: NotRequired[list[str]]


@dataclass(frozen=True, kw_only=True)
class ClaimedOperation:
    """A claimed operation."""

    #: The operation.
    operation: AsyncOperation
    #: Its organization; heartbeats and settlements of workers for several name it.
    organization: str
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
    #: The attempt as a span of the trace that the operation belongs to, for what the worker calls: a header of W3C
    #: Trace Context. Left out when it belongs to none.
    traceparent: str | None = None


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
    #: At most concurrency_limit operations of the organization with this key run at a time, whatever their kinds.
    concurrency_key: NotRequired[str | None]
    #: How many of the key may run at a time; 1 unless it is given. Where operations of a key name different ones,
    #: that of the newest creation holds.
    concurrency_limit: NotRequired[int | None]
    #: What it is found by: at most 16 texts of at most 255 bytes, by keys of 1 to 63 lower-case letters, digits, '.',
    #: '_', '-' or '/' that begin and end with a letter or a digit.
    labels: NotRequired[dict[str, str] | None]
    #: While an operation of the organization with this key has not ended, that one is answered, with the header
    #: X-Longrun-Existing: true, and none is created. At most 255 bytes.
    unique_key: NotRequired[str | None]


class CreateOrganization(TypedDict):
    """An organization to be made."""

    #: Its name: 1 to 128 bytes of printable text.
    name: str
    #: What it may have.
    limits: NotRequired[SetOrganizationLimits]


class CreateSchedule(TypedDict):
    """A schedule that is to be made."""

    #: What it is called by, unique in the organization: 1 to 128 letters, digits, '_', '-' or '.'.
    name: str
    #: When it is due: five fields (minute, hour, day of the month, month, day of the week), or six with seconds
    #: before them. Either this or every.
    cron: NotRequired[str | None]
    #: Every how long it is due, in seconds with an s; a second at least.
    every: NotRequired[str | None]
    #: The time zone of cron, by its name in the IANA database; UTC unless it is given.
    time_zone: NotRequired[str | None]
    #: What is created each time; without run_after and unique_key.
    operation: CreateOperation
    #: When the operation before has not ended: allow (they run beside each other), skip or cancel_previous.
    overlap: NotRequired[str | None]
    #: What of due times that were missed by more than a minute is made up: none, latest, or all (at most 100).
    catch_up: NotRequired[str | None]
    #: Each due time is put off by up to so long, in seconds with an s.
    jitter: NotRequired[str | None]
    #: Nothing is created until it is resumed.
    paused: NotRequired[bool | None]


class CreateToken(TypedDict):
    """What a new token is to be."""

    #: What it is for, for people: 1 to 128 bytes.
    name: str
    #: What it may do; never more than the token that asks may. A token of the instance may have admin and
    #: operations:work.
    scopes: list[str]
    #: Only operations of these projects; left out, all of the organization.
    projects: NotRequired[list[str]]
    #: How long it is valid, in seconds with an s; left out, for ever. Not longer than the token that asks.
    expires_in: NotRequired[str | None]
    #: The organization that it belongs to; a token of an organization need not name its own.
    organization: NotRequired[str]
    #: Make a token of the instance, which belongs to no organization; only by such a token.
    instance: NotRequired[bool | None]
    #: Of a token of the instance, only these organizations; left out, all.
    organizations: NotRequired[list[str]]


class CreateView(TypedDict):
    """What a view is to be."""

    #: For people: 1 to 128 bytes, unique among those that are shared, or among those of the token.
    name: str
    #: What it shows, as searches take it; empty: everything.
    filter: NotRequired[str]
    #: The names of the columns, in their order; left out, those that are shown as a rule.
    columns: NotRequired[list[str]]
    #: private: only this token has it. shared: the organization has it.
    visibility: NotRequired[str]


class CreateWaiver(TypedDict):
    """What is lived with."""

    #: The name of the policy whose violations it covers.
    policy: str
    #: Which of them: a whole message, or an identifier in a finding, such as that of a rule or a vulnerability, or
    #: vex: and the digest of a VEX document that is stored as evidence, for the vulnerabilities that it says do not
    #: affect the product or are fixed; left out, all.
    finding: NotRequired[str]
    #: Of which evidence: its digest, or the id of its project; of an evaluation in no project, also the name of the
    #: evidence or of its project; left out, any. Required with a VEX document.
    subject: NotRequired[str]
    #: Why.
    reason: str
    #: How long it has an effect, in seconds with an s; left out, until it is removed.
    expires_in: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class CreatedOperations:
    """Operations that were created together."""

    #: In the order of the request.
    operations: list[AsyncOperation]
    #: The zero-based places of those that were there before, with their unique_key; left out when there are none.
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
    #: The evidence itself, in base64; empty for evidence of nothing, such as a report without findings.
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
    #: What it was called by who stored or evaluated it first; left out when it has no name.
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvidenceLastOperation:
    """The newest operation about a piece of evidence."""

    #: Its id.
    id: str
    #: Its status.
    status: str
    #: When it ended; left out while it has not.
    finished_at: datetime | None = None
    #: passed, failed or skipped; left out when it is no evaluation that has ended, or its output is long.
    verdict: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvidenceList:
    """A page of evidence."""

    #: Newest first.
    evidence: list[ListedEvidence]
    #: What the next page is asked for with; empty at the end.
    next_page_token: str
    #: How many pieces the organization has, whatever is listed.
    total_count: int
    #: How many bytes they come to.
    total_bytes: int
    #: How many bytes they may come to; 0: any number.
    max_bytes: int


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """What is wrong with a field."""

    #: Its path in the request.
    field: str
    #: What would be right.
    description: str


@dataclass(frozen=True, kw_only=True)
class FoundOperations:
    """Operations that were found."""

    #: In the order that was asked for.
    operations: list[OperationDetail]
    #: How many operations match; at least so many, if that is not exact.
    total_count: int
    #: Whether there are no more of them. Always, but for filters for which operations are looked at one by one, when
    #: there are more than 100,000.
    total_is_exact: bool
    #: What the next page is asked for with; empty at the end. A page may be empty and have a next one.
    next_page_token: str


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
    #: The organization that the claim gave; needed by workers for several.
    organization: NotRequired[str]
    #: A line for people: how far it is. At most 1024 bytes.
    progress: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """A token with its secret."""

    #: The token.
    token: Token
    #: What callers send in the header Authorization, after Bearer. It is shown this once and kept by nobody.
    secret: str


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
class ListedEvidence:
    """A piece of evidence in a list."""

    #: By what it is found.
    digest: str
    #: Its length in bytes.
    size: int
    #: The material type that was detected; empty when none was.
    kind: str
    #: What it was called by who stored or evaluated it first; may be empty.
    name: str
    #: When it was stored first.
    created_at: datetime
    #: When it was stored or evaluated last, give or take an hour.
    last_used_at: datetime
    #: The newest operation about it; left out when there is none any more.
    last_operation: EvidenceLastOperation | None = None


@dataclass(frozen=True, kw_only=True)
class ListedOrganization:
    """An organization in a list."""

    #: Its name.
    name: str
    #: When it was made.
    created_at: datetime
    #: Operations that wait.
    pending: int
    #: Operations that run.
    running: int
    #: Since when nothing of it is started; left out when it is not paused.
    paused_since: datetime | None = None
    #: Its deletion has begun, and has not ended.
    being_deleted: bool


@dataclass(frozen=True, kw_only=True)
class OperationAnswer:
    """`{"operation":{…}}`."""

    #: The operation.
    operation: AsyncOperation


@dataclass(frozen=True, kw_only=True)
class OperationCount:
    """How many operations of a group there are. What was not asked to be told apart is left out."""

    #: Their status.
    status: AsyncOperationStatus | None = None
    #: Their kind.
    kind: str | None = None
    #: Their project; empty: none.
    project_id: str | None = None
    #: How many; at least one.
    count: int


@dataclass(frozen=True, kw_only=True)
class OperationCounts:
    """How many operations there are."""

    #: The groups that have any, those with most operations first; at most 1000.
    groups: list[OperationCount]
    #: How many groups are not shown.
    groups_left_out: int
    #: How many operations match, in all groups; at least so many, if that is not exact.
    total_count: int
    #: Whether there are no more of them.
    total_is_exact: bool


@dataclass(frozen=True, kw_only=True)
class OperationDetail:
    """An operation with everything that is known of it. Texts that are not set are empty; times and durations that
    are not set are left out."""

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
    #: As it was written; `null` when there is none.
    input: Any
    #: What it was labelled with.
    labels: dict[str, str]
    #: While it has not ended, creations with this key are answered with it.
    unique_key: str
    #: Of the operations with this key so many run at a time as `concurrency_limit` says.
    concurrency_key: str
    #: How many; left out without a key.
    concurrency_limit: int | None = None
    #: Higher comes first among those that wait.
    priority: int
    #: Attempts that count, the one under way included.
    attempts: int
    #: How many attempts there may be.
    max_attempts: int
    #: Not to be started before this time: as it was asked for, or after an attempt that failed. Of PENDING ones.
    run_after: datetime | None = None
    #: How long one attempt may take, in seconds with an s, if the operation says so itself.
    timeout: str | None = None
    #: Who runs it, or ran its last attempt.
    worker: str
    #: Whether the attempt under way was asked to stop.
    cancel_requested: bool
    #: What the worker of the latest attempt said last of how far it is.
    progress: str
    #: The name of the schedule that made it.
    schedule: str


@dataclass(frozen=True, kw_only=True)
class OperationDetailAnswer:
    """`{"operation":{…}}` with everything."""

    #: The operation.
    operation: OperationDetail


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
class OrganizationDeletion:
    """How far the deletion of an organization is."""

    #: The organization is there no more; otherwise the same call goes on.
    done: bool
    #: How many rows this call has removed.
    removed_rows: int


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
    #: Its operations that start for each one of an organization of weight 1.
    weight: int
    #: By kind, how many of its operations may run at a time; kinds without a limit are left out.
    max_running: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class OrganizationsPage:
    """Organizations, by name."""

    #: The organizations.
    organizations: list[ListedOrganization]
    #: What the next page is asked for with; empty at the end.
    next_page_token: str


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
        "selector": "NotRequired[dict[str, Any] | None]",
        "disabled": "NotRequired[bool | None]",
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


class ReevaluateEvidence(TypedDict):
    """Which evidence is evaluated again; at least one of the three is given, and all that are given must fit."""

    #: What this policy was evaluated on.
    policy: NotRequired[str]
    #: This piece of evidence.
    digest: NotRequired[str]
    #: What was stored or evaluated within so many days, give or take an hour.
    newest_days: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class ReevaluationStarted:
    """A reevaluation was begun."""

    #: The operation that creates the evaluations; its output tells how many.
    operation_id: str


@dataclass(frozen=True, kw_only=True)
class RetryInfo:
    """When to try again."""

    #: Seconds with an s.
    retryDelay: str


class RotateToken(TypedDict):
    """How a token is replaced."""

    #: How long the old secret stays valid, in seconds with an s; 30 days (2592000s) at most.
    overlap: NotRequired[str | None]
    #: How long the new one is valid; left out, for as long as the old one was from its start, if that ends.
    expires_in: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class RunningAttempt:
    """An attempt under way."""

    #: The operation's id.
    operation_id: str
    #: Its kind.
    kind: str
    #: Its project; left out when it has none.
    project_id: str | None = None
    #: Which attempt, from 1.
    attempt: int
    #: When it began.
    started_at: datetime
    #: When its lease runs out unless there is a heartbeat.
    lease_expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class RunningWorker:
    """Who runs something."""

    #: The id of its token, or the name of a server.
    name: str
    #: Attempts under way.
    running: int
    #: Of which kinds, in order.
    kinds: list[str]
    #: When the oldest of its attempts began.
    oldest_started_at: datetime
    #: When it claimed, or kept a lease, last.
    last_heartbeat_at: datetime
    #: What it runs: the 20 oldest attempts.
    attempts: list[RunningAttempt]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule. Texts that are not set are empty; times that are not set are left out."""

    #: What it is called by.
    name: str
    #: When it is due; empty when every is given.
    cron: str
    #: Every how long it is due, in seconds with an s; empty when cron is given.
    every: str
    #: The time zone of cron; empty for UTC.
    time_zone: str
    #: What is created each time.
    operation: ScheduledOperation
    #: allow, skip or cancel_previous.
    overlap: str
    #: none, latest or all.
    catch_up: str
    #: By how much each due time is put off at most, in seconds with an s.
    jitter: str
    #: It creates nothing until it is resumed.
    paused: bool
    #: When it was made.
    created_at: datetime
    #: When it was changed last.
    updated_at: datetime
    #: The next five due times, without what they are put off by.
    next_times: list[str]
    #: The last due time that has created an operation.
    last_time: datetime | None = None
    #: The id of the last operation that it has created, at a due time or when it was triggered; empty before.
    last_operation: str
    #: The last due time that has created none: it was missed, or would have overlapped.
    last_skipped_time: datetime | None = None
    #: Why nothing could be created the last time; empty since something could.
    last_error: str
    #: When that was.
    last_error_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleAnswer:
    """`{"schedule":{…}}`."""

    #: The schedule.
    schedule: Schedule


@dataclass(frozen=True, kw_only=True)
class ScheduledOperation:
    """What a schedule creates."""

    #: What kind of work it is.
    kind: str
    #: The type of the resource that it is about.
    resource_type: str
    #: The id of the resource that it is about.
    resource_id: str
    #: The project that it belongs to.
    project_id: str
    #: The version of the project.
    project_version_id: str
    #: What it is found by.
    labels: dict[str, str]
    #: What the handler or worker is given; left out when there is nothing.
    input: Any = None
    #: Higher comes first among those that wait.
    priority: int
    #: How long one attempt may take, in seconds with an s; left out for the kind's or the server's setting.
    timeout: str | None = None
    #: How many attempts there may be.
    max_attempts: int
    #: How long it is kept after its end, in seconds with an s; left out for the server's setting.
    retain_for: str | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulesPage:
    """Schedules, by name."""

    #: The schedules.
    schedules: list[Schedule]
    #: What the next page is asked for with; empty at the end.
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of somebody who signed in."""

    #: Its id, which is public.
    id: str
    #: The organization.
    organization: str
    #: The provider's name for the person.
    subject: str
    #: The person's name.
    name: str
    #: valid, expired or revoked.
    state: str
    #: When the person signed in.
    begun_at: datetime
    #: When it ends by itself.
    expires_at: datetime
    #: When it was ended before that; left out when it was not.
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
    #: What the next page is asked for with; empty at the end.
    next_page_token: str


class SetOrganizationLimits(TypedDict):
    """Limits of an organization. What is left out is as the server is configured."""

    #: Operations that have not ended, over all servers; 0: any number.
    max_pending: NotRequired[int | None]
    #: Operations that may be created in a second, on each server; 0: as fast as they come.
    rate: NotRequired[int | None]
    #: Operations that may be created at once after a pause; goes with rate.
    burst: NotRequired[int | None]
    #: The most bytes of an input.
    max_input: NotRequired[int | None]
    #: The most bytes of an output.
    max_output: NotRequired[int | None]
    #: Its operations that start for each one of an organization of weight 1, while both have some waiting.
    weight: NotRequired[int | None]
    #: By kind, how many of its operations may run at a time, over all servers and workers; 0: any number.
    max_running: NotRequired[dict[str, int] | None]


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
    #: The organization that the claim gave; needed by workers for several.
    organization: NotRequired[str]
    #: The result; structured output is JSON in this string.
    output: NotRequired[str | None]
    #: Why the attempt failed.
    error_message: NotRequired[str | None]
    #: Whether another attempt may help; goes with error_message only.
    retryable: NotRequired[bool | None]
    #: Give the operation back without charging an attempt.
    release: NotRequired[bool | None]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Statistics."""

    #: How finely: minute, hour or day.
    step: str
    #: When the first step begins that was asked for.
    start: datetime
    #: Before when.
    end: datetime
    #: Since when everything is counted; left out before a server has begun to.
    available_since: datetime | None = None
    #: Up to when everything is counted; left out before a server has begun to.
    complete_until: datetime | None = None
    #: How long ago that is, in milliseconds.
    lag_ms: int | None = None
    #: In the order of their starts and kinds. Steps in which nothing happened are left out.
    points: list[StatsPoint]


@dataclass(frozen=True, kw_only=True)
class StatsDurations:
    """How long many things took."""

    #: How many.
    count: int
    #: Their sum in milliseconds.
    sum_ms: int
    #: What half of them did not exceed, in milliseconds, within 1 %; left out when there are none.
    p50_ms: int | None = None
    #: What 90 % of them did not exceed.
    p90_ms: int | None = None
    #: What 99 % of them did not exceed.
    p99_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class StatsPoint:
    """What happened in one step."""

    #: When the step began.
    start: datetime
    #: The kind, if each was asked for by itself; empty: operations that were removed before they were counted.
    kind: str | None = None
    #: Operations that were created.
    created: int
    #: Attempts that began.
    started: int
    #: Operations that were completed.
    completed: int
    #: Operations that failed, cancelled ones included.
    failed: int
    #: How long operations had waited that were started for the first time, since their creation.
    waiting: StatsDurations
    #: How long the attempts took that ended their operations.
    running: StatsDurations


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


@dataclass(frozen=True, kw_only=True)
class Token:
    """An API token, without its secret."""

    #: Its id, which is public.
    id: str
    #: What it is for, for people.
    name: str
    #: The organization that it belongs to; empty for a token of the instance.
    organization: str
    #: It belongs to the instance and to no organization.
    instance: bool
    #: The organizations that a token of the instance reaches; left out when these are all.
    organizations: list[str] | None = None
    #: What it may do.
    scopes: list[str]
    #: The projects that it is limited to; left out when it is not.
    projects: list[str] | None = None
    #: valid, expired or revoked.
    state: str
    #: When it was made.
    created_at: datetime
    #: When it ceases to be valid; left out for never.
    expires_at: datetime | None = None
    #: When it was last used, to about a minute; left out for never.
    last_used_at: datetime | None = None
    #: When it was revoked; left out for never.
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
    #: What the next page is asked for with; empty at the end.
    next_page_token: str


class UpdateSchedule(TypedDict):
    """What is to be changed of a schedule; what is left out stays."""

    #: When it is due: five fields (minute, hour, day of the month, month, day of the week), or six with seconds
    #: before them. Either this or every.
    cron: NotRequired[str | None]
    #: Every how long it is due, in seconds with an s; a second at least.
    every: NotRequired[str | None]
    #: The time zone of cron, by its name in the IANA database; UTC unless it is given.
    time_zone: NotRequired[str | None]
    #: What is created each time; without run_after and unique_key.
    operation: NotRequired[CreateOperation]
    #: When the operation before has not ended: allow (they run beside each other), skip or cancel_previous.
    overlap: NotRequired[str | None]
    #: What of due times that were missed by more than a minute is made up: none, latest, or all (at most 100).
    catch_up: NotRequired[str | None]
    #: Each due time is put off by up to so long, in seconds with an s.
    jitter: NotRequired[str | None]
    #: Nothing is created until it is resumed.
    paused: NotRequired[bool | None]


class UpdateView(TypedDict):
    """What a view is to be instead. It replaces all three."""

    #: For people: 1 to 128 bytes, unique among those that are shared, or among those of the token.
    name: str
    #: What it shows, as searches take it; empty: everything.
    filter: NotRequired[str]
    #: The names of the columns, in their order; left out, those that are shown as a rule.
    columns: NotRequired[list[str]]


@dataclass(frozen=True, kw_only=True)
class View:
    """A saved view."""

    #: Its id, a UUID.
    id: str
    #: For people.
    name: str
    #: What it shows, as it was written.
    filter: str
    #: The names of the columns, in their order; empty: those that are shown as a rule.
    columns: list[str]
    #: private or shared.
    visibility: str
    #: When it was made.
    created_at: datetime
    #: When it was changed last.
    updated_at: datetime
    #: How many operations it shows to the caller now; left out after a change, and in a list when counting takes too
    #: long.
    count: int | None = None
    #: Whether the count is exact; else there are at least so many. Only with a count.
    count_is_exact: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ViewAnswer:
    """`{"view":{…}}`."""

    #: The view.
    view: View


@dataclass(frozen=True, kw_only=True)
class ViewList:
    """Views."""

    #: By name, shared ones first.
    views: list[View]


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A violation that is lived with."""

    #: Its id, a UUID.
    id: str
    #: The name of the policy whose violations it covers.
    policy: str
    #: Which of them; empty: all.
    finding: str
    #: Of which evidence; empty: any.
    subject: str
    #: Why.
    reason: str
    #: The name of the token that made it.
    created_by: str
    #: When it was made.
    created_at: datetime
    #: From when on it has no effect any more; left out when it does not end.
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
    """Who runs what."""

    #: Those with most attempts first.
    workers: list[RunningWorker]
    #: Whether these are all; not when more than 5,000 attempts are under way, of which the oldest operations are
    #: looked at.
    is_complete: bool


Operation = AsyncOperation
NewOperation = CreateOperation
