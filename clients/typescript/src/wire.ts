// Written by `make sdks` from the OpenAPI document of the server. Do not edit.

/**
 * An operation: long work that a client requested. Texts that are not set are empty; times that are not set are left
 * out.
 */
export interface AsyncOperation {
  /** The output; empty until the operation is completed. Structured output is JSON in this text. */
  output: string;
  /** Why it failed; empty unless it did. */
  error_message: string;
  /** When it ended. */
  finished_at?: string;
  /** The project that it belongs to. */
  project_id: string;
  /** The kind of work. */
  kind: string;
  /** The type of the resource that it is about. */
  resource_type: string;
  /** When it was created. */
  created_at: string;
  /** When its last attempt began. */
  started_at?: string;
  /** The id of the resource that it is about. */
  resource_id: string;
  /** Its id, a UUID of version 7. */
  id: string;
  /** The version of the project. */
  project_version_id: string;
  /** Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message. */
  status: AsyncOperationStatus;
}

/** The status of an operation. */
export type AsyncOperationStatus =
  | "ASYNC_OPERATION_STATUS_PENDING"
  | "ASYNC_OPERATION_STATUS_RUNNING"
  | "ASYNC_OPERATION_STATUS_COMPLETED"
  | "ASYNC_OPERATION_STATUS_FAILED";

/** A DSSE envelope with an in-toto statement. */
export interface AttestationEnvelope {
  /** The media type of the payload. */
  payloadType: string;
  /** The statement, in base64. */
  payload: string;
  /** Exactly one signature. */
  signatures: AttestationSignature[];
}

/** A signature over the payload and its type. */
export interface AttestationSignature {
  /** The id of the key: the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits. */
  keyid: string;
  /** The signature, in base64. */
  sig: string;
}

/** Who called. */
export interface AuditActor {
  /** The kind of caller: token, instance_token, identity or command_line. */
  kind: string;
  /** The id of the token; on the command line, the name of the user. */
  id: string;
  /** The name of the token. */
  name: string;
}

/** A call that was recorded. */
export interface AuditEntry {
  /** The number of the entry in its log: 1, 2, 3 … */
  number: number;
  /** When it was written. */
  time: string;
  /** The organization whose log has the entry; empty for the log of the instance. */
  organization: string;
  /** Who called. */
  actor: AuditActor;
  /** What the call did, e.g. operations.create. */
  action: string;
  /** The objects of the call: operations/ID, tokens/ID, organizations/NAME, kinds/NAME, evidence/DIGEST. */
  targets: string[];
  /** The address that the call came from; empty on the command line. */
  address: string;
  /** The X-Request-Id of its answer; empty on the command line. */
  request_id: string;
  /** The outcome of the call, a google.rpc.Code: 0 when it succeeded. */
  code: number;
}

/** Entries of an audit log. */
export interface AuditPage {
  /** Newest first. A page may have fewer entries than requested although there are more. */
  entries: AuditEntry[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
}

/** Everything that is wrong with the fields of the request. */
export interface BadRequest {
  /** `type.googleapis.com/google.rpc.BadRequest`. */
  "@type": string;
  /** One violation for each field that is not valid. */
  fieldViolations: FieldViolation[];
}

/** Operations to create together. */
export interface BatchCreateOperations {
  /** All of them are created, or none. */
  operations: CreateOperation[];
}

/** The actions by name. */
export type BulkAction =
  | "cancel"
  | "retry"
  | "delete";

/** A bulk action to carry out. */
export interface BulkOperations {
  /** The action for each of the operations. */
  action: BulkAction;
  /** Which operations, as for a search. Relative times count back from now. */
  filter: string;
  /** Whether to only count the operations that match. */
  dry_run?: boolean;
  /**
   * How many operations are expected to match. If the number now differs by more than a tenth, the call is refused
   * with 409.
   */
  expected_count?: number | null;
}

/** The answer to a bulk action. */
export interface BulkOperationsAnswer {
  /** How many operations match. */
  matching_count: number;
  /** Whether matching_count is exact; otherwise it is a lower bound. */
  count_is_exact: boolean;
  /** The operation that carries out the action; left out of the answer to a dry run. */
  operation?: AsyncOperation;
}

/** The claim of a worker. */
export interface ClaimOperations {
  /** The kinds of operations that the worker runs. */
  kinds: string[];
  /** How many operations to claim at most. */
  max_operations?: number | null;
  /** How long to wait for the first operation, in seconds with the suffix s; longer times count as 60s. */
  wait?: string | null;
  /**
   * For tokens of the instance: only operations of these organizations; by default of all that the token may act in.
   */
  organizations?: string[] | null;
}

/** A claimed operation. */
export interface ClaimedOperation {
  /** The operation. */
  operation: AsyncOperation;
  /** The organization of the operation; a worker for several organizations names it in heartbeats and settlements. */
  organization: string;
  /** The input of the operation, as it was written; `null` when there is none. */
  input: unknown;
  /** The number of this attempt, from 1. */
  attempt: number;
  /** The token that identifies this attempt in heartbeats and settlements. */
  lease_token: string;
  /** When the lease ends unless a heartbeat extends it. */
  lease_expires_at: string;
  /** How long the attempt may take. */
  timeout: string;
  /** Whether its cancellation was requested already, so that the worker must stop. */
  cancel_requested: boolean;
  /**
   * The attempt as a span of the trace that the operation belongs to: the header of W3C Trace Context for calls that
   * the worker makes. Left out when the operation belongs to no trace.
   */
  traceparent?: string | null;
}

/** The operations that a worker claimed. */
export interface ClaimedOperations {
  /** At most as many as the worker requested. */
  operations: ClaimedOperation[];
  /** How long a lease lasts without a heartbeat. */
  lease_duration: string;
}

/** An operation to create. */
export interface CreateOperation {
  /** The kind of work: 1 to 128 letters, digits, '_', '-', '.' or '/'. */
  kind: string;
  /** The type of the resource that it is about; must come together with resource_id. */
  resource_type?: string | null;
  /** The id of the resource that it is about; must come together with resource_type. */
  resource_id?: string | null;
  /** The project that it belongs to. A token that is limited to projects must name one of them. */
  project_id?: string | null;
  /** The version of the project. */
  project_version_id?: string | null;
  /** The input for the handler or worker: any JSON, stored exactly as it is written. */
  input?: unknown;
  /** Among pending operations, those with a higher priority start first. */
  priority?: number | null;
  /** The earliest time at which it may start. */
  run_after?: string | null;
  /** How long one attempt may take, in seconds with the suffix s. */
  timeout?: string | null;
  /** The largest number of attempts; by default the setting of the kind or the server. */
  max_attempts?: number | null;
  /** How long it is kept after its end, in seconds with the suffix s; by default as the server is configured. */
  retain_for?: string | null;
  /** At most concurrency_limit operations of the organization with this key run at a time, whatever their kinds. */
  concurrency_key?: string | null;
  /**
   * How many operations with the concurrency_key may run at a time, with a key only; 1 if it is left out. If
   * operations with the same key give different limits, that of the newest one applies.
   */
  concurrency_limit?: number | null;
  /**
   * Labels, by which it can be found: at most 16 values of at most 255 bytes. A key has 1 to 63 lower-case letters,
   * digits, '.', '_', '-' or '/', and begins and ends with a letter or a digit.
   */
  labels?: Record<string, string> | null;
  /**
   * While an operation of the organization with this key has not ended, no other one is created: the answer is that
   * operation, with the header X-Longrun-Existing: true. At most 255 bytes.
   */
  unique_key?: string | null;
}

/** An organization to create. */
export interface CreateOrganization {
  /** The name of the organization: 1 to 128 bytes of printable text. */
  name: string;
  /** The limits of the organization. */
  limits?: SetOrganizationLimits | null;
}

/** A schedule to create. */
export interface CreateSchedule {
  /** The name of the schedule, unique in the organization: 1 to 128 letters, digits, '_', '-' or '.'. */
  name: string;
  /**
   * A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or six
   * with the seconds first. Give either this or every.
   */
  cron?: string | null;
  /** The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron. */
  every?: string | null;
  /** The time zone of cron, by its name in the IANA database; by default UTC. */
  time_zone?: string | null;
  /** The operation that it creates each time; without run_after and unique_key. */
  operation: CreateOperation;
  /**
   * What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip, or
   * cancel_previous.
   */
  overlap?: string | null;
  /**
   * Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
   * 100).
   */
  catch_up?: string | null;
  /** The longest delay that is added to each due time, in seconds with the suffix s. */
  jitter?: string | null;
  /** Whether it is paused: it creates nothing until it is resumed. */
  paused?: boolean | null;
}

/** A token to create. */
export interface CreateToken {
  /** A name for people that says what the token is for: 1 to 128 bytes. */
  name: string;
  /**
   * The scopes of the new token; only scopes that the calling token has. A token of the instance may have admin and
   * operations:work.
   */
  scopes: string[];
  /** The projects that the token is limited to; by default it is not limited. */
  projects?: string[] | null;
  /**
   * How long it is valid, in seconds with the suffix s; by default without an end. It cannot outlive the calling
   * token.
   */
  expires_in?: string | null;
  /** The organization that it belongs to; by default that of the calling token. */
  organization?: string | null;
  /** Whether to create a token of the instance, which belongs to no organization; only such a token can do so. */
  instance?: boolean | null;
  /** For a token of the instance: the organizations that it may act in; by default all. */
  organizations?: string[] | null;
}

/** A view to create. */
export interface CreateView {
  /**
   * The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
   * the token.
   */
  name: string;
  /** The filter of the operations that it shows, as for a search; empty for all operations. */
  filter?: string | null;
  /** The names of the columns, in order; left out for the default columns. */
  columns?: string[] | null;
  /** private: only the calling token sees it. shared: the whole organization sees it. */
  visibility?: string | null;
}

/** A waiver to create. */
export interface CreateWaiver {
  /** The name of the policy whose violations it covers. */
  policy: string;
  /**
   * Which violations of the policy it covers: a whole message; an identifier in a finding, such as that of a rule or
   * a vulnerability; or vex: and the digest of a VEX document that is stored as evidence, for the vulnerabilities
   * that the document says do not affect the product or are fixed. By default all.
   */
  finding?: string | null;
  /**
   * Which evidence it covers: a digest or the id of a project; for evaluations in no project, also the name of the
   * evidence or of its project. By default any evidence. Required with a VEX document.
   */
  subject?: string | null;
  /** Why the violation is accepted. */
  reason: string;
  /** How long it has an effect, in seconds with the suffix s; by default until it is removed. */
  expires_in?: string | null;
}

/** Operations that were created together. */
export interface CreatedOperations {
  /** In the order of the request. */
  operations: AsyncOperation[];
  /**
   * The zero-based positions of the operations that existed before, with the same unique_key; left out when there are
   * none.
   */
  existing?: number[];
}

/** `{}`. */
export interface DeletedEvidence {
}

/** `{}`. */
export interface DeletedView {
}

/** `{}`. */
export interface DeletedWaiver {
}

/**
 * The details of `google/rpc/error_details.proto`, spelt as proto3 JSON spells them. Each is a struct that names its
 * type and not a variant of a tagged enum, because client generators need a name for each.
 */
export interface Detail {
}

/** `{}`. */
export interface Empty {
}

/** Identifies the error. */
export interface ErrorInfo {
  /** `type.googleapis.com/google.rpc.ErrorInfo`. */
  "@type": string;
  /** A stable name, such as INVALID_FIELDS. */
  reason: string;
  /** Always longrun. */
  domain: string;
  /** Values for programs, such as a limit. */
  metadata: Record<string, string>;
}

/** An evaluation to start. Exactly one of digest and content must be given. */
export interface EvaluateEvidence {
  /** The digest of evidence that is stored. */
  digest?: string | null;
  /** The evidence itself, in base64; may be empty, for example for a report without findings. */
  content?: string | null;
  /** The material type, such as SBOM_CYCLONEDX_JSON; by default it is detected from the content. */
  kind?: string | null;
  /** The material's name, for policies that select by name. */
  name?: string | null;
  /**
   * The policies to evaluate, each embedded or by reference. If neither policies nor groups are given, the server's
   * default policies are evaluated.
   */
  policies?: PolicyAttachment[] | null;
  /** The groups of policies to evaluate. */
  policy_groups?: PolicyGroupAttachment[] | null;
  /** The project's name, as policies see it. */
  project_name?: string | null;
  /** The name of the project's version, as policies see it. */
  project_version_name?: string | null;
  /** The project that the operation belongs to. */
  project_id?: string | null;
  /** The version of the project. */
  project_version_id?: string | null;
  /** A question about the evidence for an AI provider; refused unless the server has one configured. */
  prompt?: string | null;
}

/** The operation that was started. */
export interface EvaluationStarted {
  /** Its id. */
  operation_id: string;
}

/** A piece of evidence that is stored. */
export interface Evidence {
  /** The digest of its content, which identifies it. */
  digest: string;
  /** Its length in bytes. */
  size: number;
  /** The detected material type; empty when none was detected. */
  kind: string;
  /** The first name that it was stored or evaluated with; left out when it has no name. */
  name?: string;
}

/** The newest operation about a piece of evidence. */
export interface EvidenceLastOperation {
  /** Its id. */
  id: string;
  /** Its status. */
  status: string;
  /** When it ended; left out until then. */
  finished_at?: string | null;
  /** passed, failed or skipped; left out when the operation is not an ended evaluation, or its output is long. */
  verdict?: string | null;
}

/** A page of evidence. */
export interface EvidenceList {
  /** Newest first. */
  evidence: ListedEvidence[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
  /** How many pieces of evidence the organization has in total, whatever the page shows. */
  total_count: number;
  /** The size of all its evidence in bytes. */
  total_bytes: number;
  /** The limit on that size in bytes; 0 for no limit. */
  max_bytes: number;
}

/** A field that is not valid. */
export interface FieldViolation {
  /** Its path in the request. */
  field: string;
  /** What is wrong with the field, or what it must be. */
  description: string;
}

/** Operations that were found. */
export interface FoundOperations {
  /** In the requested order. */
  operations: OperationDetail[];
  /** How many operations match; a lower bound if total_is_exact is false. */
  total_count: number;
  /**
   * Whether total_count is exact. It is, except for filters for which the server must check operations one by one,
   * when there are more than 100,000 of them.
   */
  total_is_exact: boolean;
  /** The token that requests the next page; empty on the last page. A page may be empty and still have a next one. */
  next_page_token: string;
}

/** The operations that a worker still holds. */
export interface HeartbeatOperations {
  /** One row for each operation. */
  operations: HeartbeatRow[];
}

/** The result of one row: the worker still holds the operation, or `error` says why not. */
export interface HeartbeatResult {
  /** The id of the operation. */
  id: string;
  /** When the lease ends unless another heartbeat extends it. */
  lease_expires_at?: string;
  /** Whether its cancellation was requested, so that the worker must stop. */
  cancel_requested?: boolean;
  /** Why not. */
  error?: Status;
}

/** Which operations the worker still holds. */
export interface HeartbeatResults {
  /** In the order of the request. */
  operations: HeartbeatResult[];
}

/** An operation that a worker holds. */
export interface HeartbeatRow {
  /** The id of the operation. */
  id: string;
  /** The lease_token of the claim. */
  lease_token: string;
  /** The organization of the operation, from the claim; workers for several organizations must give it. */
  organization?: string | null;
  /** The progress of the attempt: a line of text for people, of at most 1024 bytes. */
  progress?: string | null;
}

/** A token with its secret. */
export interface IssuedToken {
  /** The token. */
  token: Token;
  /**
   * The secret, which callers send in the header Authorization after Bearer. It is shown only this once and not
   * stored.
   */
  secret: string;
}

/** A kind of operations in the caller's organization. */
export interface Kind {
  /** Its name. */
  name: string;
  /** Whether it is paused: no operation of the kind is started. */
  paused: boolean;
}

/** `{"kind":{…}}`. */
export interface KindAnswer {
  /** The kind. */
  kind: Kind;
}

/** A piece of evidence in a list. */
export interface ListedEvidence {
  /** The digest of its content, which identifies it. */
  digest: string;
  /** Its length in bytes. */
  size: number;
  /** The detected material type; empty when none was detected. */
  kind: string;
  /** The first name that it was stored or evaluated with; may be empty. */
  name: string;
  /** When it was first stored. */
  created_at: string;
  /** When it was last stored or evaluated, accurate to about an hour. */
  last_used_at: string;
  /** The newest operation about it; left out when there is none. */
  last_operation?: EvidenceLastOperation;
}

/** An organization in a list. */
export interface ListedOrganization {
  /** Its name. */
  name: string;
  /** When it was created. */
  created_at: string;
  /** The number of its pending operations. */
  pending: number;
  /** The number of its running operations. */
  running: number;
  /** The time since which it is paused; left out when it is not paused. */
  paused_since?: string | null;
  /** Whether its deletion has begun and is not done. */
  being_deleted: boolean;
}

/** `{"operation":{…}}`. */
export interface OperationAnswer {
  /** The operation. */
  operation: AsyncOperation;
}

/** How many operations a group has. The fields that group_by does not name are left out. */
export interface OperationCount {
  /** The status of its operations. */
  status?: AsyncOperationStatus;
  /** The kind of its operations. */
  kind?: string;
  /** The project of its operations; empty for operations without a project. */
  project_id?: string;
  /** The number of operations in the group; at least one. */
  count: number;
}

/** The result of a count. */
export interface OperationCounts {
  /** The groups that have operations, those with the most operations first; at most 1000. */
  groups: OperationCount[];
  /** How many groups are not shown. */
  groups_left_out: number;
  /** How many operations match in all groups together; a lower bound if total_is_exact is false. */
  total_count: number;
  /** Whether total_count is exact. */
  total_is_exact: boolean;
}

/**
 * An operation with all its fields. Texts that are not set are empty; times and durations that are not set are left
 * out.
 */
export interface OperationDetail {
  /** The output; empty until the operation is completed. Structured output is JSON in this text. */
  output: string;
  /** Why it failed; empty unless it did. */
  error_message: string;
  /** When it ended. */
  finished_at?: string;
  /** The project that it belongs to. */
  project_id: string;
  /** The kind of work. */
  kind: string;
  /** The type of the resource that it is about. */
  resource_type: string;
  /** When it was created. */
  created_at: string;
  /** When its last attempt began. */
  started_at?: string;
  /** The id of the resource that it is about. */
  resource_id: string;
  /** Its id, a UUID of version 7. */
  id: string;
  /** The version of the project. */
  project_version_id: string;
  /** Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message. */
  status: AsyncOperationStatus;
  /** The input that it was created with, as it was written; `null` when there is none. */
  input: unknown;
  /** Its labels. */
  labels: Record<string, string>;
  /** While it has not ended, a creation with the same key returns this operation. */
  unique_key: string;
  /** At most `concurrency_limit` operations with this key run at a time. */
  concurrency_key: string;
  /** How many operations with the `concurrency_key` may run at a time; left out without a key. */
  concurrency_limit?: number;
  /** Its priority: among pending operations, those with a higher one start first. */
  priority: number;
  /** How many attempts were charged, including the running one. */
  attempts: number;
  /** The largest number of attempts. */
  max_attempts: number;
  /** The earliest time at which a PENDING operation may start: as requested, or as set after a failed attempt. */
  run_after?: string;
  /**
   * How long one attempt may take, in seconds with the suffix s; left out if the operation has no timeout of its own.
   */
  timeout?: string;
  /** The worker or server that runs it, or ran its last attempt. */
  worker: string;
  /** Whether the running attempt was asked to stop. */
  cancel_requested: boolean;
  /** The progress that the worker of the latest attempt reported last. */
  progress: string;
  /** The name of the schedule that created it. */
  schedule: string;
}

/** `{"operation":{…}}` with all fields. */
export interface OperationDetailAnswer {
  /** The operation. */
  operation: OperationDetail;
}

/** Something that happened to an operation. */
export interface OperationEvent {
  /** When it happened. */
  time: string;
  /**
   * What happened: CREATED, ATTEMPT_STARTED, PROGRESS, CANCEL_REQUESTED, ATTEMPT_FAILED, ATTEMPT_LOST,
   * ATTEMPT_RELEASED, COMPLETED, FAILED or RETRIED.
   */
  type: string;
  /** The number of the attempt; 0 before the first. */
  attempt: number;
  /** The worker or server that ran the attempt; empty when none did. */
  worker: string;
  /** A line of text for people. */
  message: string;
}

/** A page of the history of an operation. */
export interface OperationEvents {
  /** Oldest first. */
  events: OperationEvent[];
  /** The page_token of the next page; left out on the last page. */
  next_page_token?: string | null;
}

/** One page of operations. */
export interface OperationsPage {
  /** Newest first. */
  operations: AsyncOperation[];
  /** The number of the page, and how many there are. */
  pagination: Pagination;
}

/** An organization, as its callers see it. */
export interface Organization {
  /** Its name. */
  name: string;
  /** Whether it is paused: none of its operations is started. */
  paused: boolean;
  /** The kinds that are paused in it. */
  paused_kinds: string[];
  /** Its limits; those that are not set are left out. */
  limits: OrganizationLimits;
}

/** `{"organization":{…}}`. */
export interface OrganizationAnswer {
  /** The organization. */
  organization: Organization;
}

/** The progress of the deletion of an organization. */
export interface OrganizationDeletion {
  /** Whether the organization no longer exists; otherwise repeat the call to continue. */
  done: boolean;
  /** How many rows of the database this call removed. */
  removed_rows: number;
}

/** The limits of an organization. Those that are not set are left out. */
export interface OrganizationLimits {
  /** How many operations may be unfinished at a time, pending or running. */
  max_pending?: number | null;
  /** How many operations may be created per second, on each server. */
  rate?: number | null;
  /** How many operations may be created at once after a pause. */
  burst?: number | null;
  /** The longest input, in bytes. */
  max_input: number;
  /** The longest output, in bytes. */
  max_output: number;
  /**
   * How many of its operations start for each one of an organization with the weight 1, while both have pending ones.
   */
  weight: number;
  /** By kind, how many of its operations may run at a time; kinds without a limit are left out. */
  max_running?: Record<string, number>;
}

/** Organizations, by name. */
export interface OrganizationsPage {
  /** The organizations. */
  organizations: ListedOrganization[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
}

/** The number of the page, and how many there are. */
export interface Pagination {
  /** How many operations match, at most 2147483647. */
  total_count: number;
  /** The number of this page. */
  page: number;
  /** How many pages there are; 0 when nothing matches. */
  total_pages: number;
  /** Entries per page. */
  page_size: number;
}

/** A policy to evaluate. Exactly one of ref and embedded must be given. */
export interface PolicyAttachment {
  /**
   * A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a host
   * that the server allows, `https://…@sha256:…`.
   */
  ref?: string | null;
  /** The policy itself: its text, or an object. */
  embedded?: unknown;
  /** Arguments by name. */
  with?: Record<string, string> | null;
  /** Limits the policy to materials with a given name, in addition to its own limits. */
  selector?: Record<string, unknown> | null;
  /** Whether the policy is left out; the output says so. */
  disabled?: boolean | null;
}

/** A group of policies to evaluate. */
export interface PolicyGroupAttachment {
  /**
   * A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a host
   * that the server allows, `https://…@sha256:…`.
   */
  ref: string;
  /** Arguments by name. */
  with?: Record<string, string> | null;
  /** The names of policies of the group to leave out. */
  skip?: string[] | null;
}

/**
 * Which evidence to evaluate again. At least one of the three fields must be given; evidence must match all that are.
 */
export interface ReevaluateEvidence {
  /** Only evidence that this policy was evaluated on. */
  policy?: string | null;
  /** Only the piece of evidence with this digest. */
  digest?: string | null;
  /** Only evidence that was stored or evaluated within this number of days, accurate to about an hour. */
  newest_days?: number | null;
}

/** The reevaluation that was started. */
export interface ReevaluationStarted {
  /** The id of the operation that creates the evaluations; its output says how many. */
  operation_id: string;
}

/** When to try again. */
export interface RetryInfo {
  /** `type.googleapis.com/google.rpc.RetryInfo`. */
  "@type": string;
  /** The delay in seconds with the suffix s. */
  retryDelay: string;
}

/** How a token is replaced. */
export interface RotateToken {
  /** How long the old secret stays valid, in seconds with the suffix s; 30 days (2592000s) at most. */
  overlap?: string | null;
  /**
   * How long the new token is valid, in seconds with the suffix s; by default as long as the old one from its
   * creation, or without an end if the old one has none.
   */
  expires_in?: string | null;
}

/** A running attempt. */
export interface RunningAttempt {
  /** The operation's id. */
  operation_id: string;
  /** The kind of the operation. */
  kind: string;
  /** The project of the operation; left out when it has none. */
  project_id?: string;
  /** The number of the attempt, from 1. */
  attempt: number;
  /** When the attempt began. */
  started_at: string;
  /** When its lease ends unless a heartbeat extends it. */
  lease_expires_at: string;
}

/** A worker or server that runs operations. */
export interface RunningWorker {
  /** The id of the token of a worker, or the name of a server. */
  name: string;
  /** The number of its running attempts. */
  running: number;
  /** The kinds of these attempts, sorted. */
  kinds: string[];
  /** When the oldest of its attempts began. */
  oldest_started_at: string;
  /** When it last claimed an operation or extended a lease. */
  last_heartbeat_at: string;
  /** Its 20 oldest running attempts. */
  attempts: RunningAttempt[];
}

/** A schedule. Texts that are not set are empty; times that are not set are left out. */
export interface Schedule {
  /** The name of the schedule. */
  name: string;
  /** The cron expression of its due times; empty when every is given. */
  cron: string;
  /** The time between its due times, in seconds with the suffix s; empty when cron is given. */
  every: string;
  /** The time zone of cron; empty for UTC. */
  time_zone: string;
  /** The operation that it creates each time. */
  operation: ScheduledOperation;
  /** What happens when the previous operation has not ended: allow, skip or cancel_previous. */
  overlap: string;
  /** Which missed due times are made up for: none, latest or all. */
  catch_up: string;
  /** The longest delay that is added to each due time, in seconds with the suffix s. */
  jitter: string;
  /** Whether it is paused: it creates nothing until it is resumed. */
  paused: boolean;
  /** When it was created. */
  created_at: string;
  /** When it was last changed. */
  updated_at: string;
  /** The next five due times, without the delay of jitter. */
  next_times: string[];
  /** The last due time at which it created an operation. */
  last_time?: string;
  /** The id of the last operation that it created, at a due time or when it was triggered; empty before the first. */
  last_operation: string;
  /**
   * The last due time at which it created none, because the time was missed or the operations would have overlapped.
   */
  last_skipped_time?: string;
  /** Why it could not create an operation the last time; empty if it could. */
  last_error: string;
  /** When that error occurred. */
  last_error_time?: string;
}

/** `{"schedule":{…}}`. */
export interface ScheduleAnswer {
  /** The schedule. */
  schedule: Schedule;
}

/** The operation that a schedule creates. */
export interface ScheduledOperation {
  /** The kind of work. */
  kind: string;
  /** The type of the resource that it is about. */
  resource_type: string;
  /** The id of the resource that it is about. */
  resource_id: string;
  /** The project that it belongs to. */
  project_id: string;
  /** The version of the project. */
  project_version_id: string;
  /** Labels, by which the operation can be found. */
  labels: Record<string, string>;
  /** The input for the handler or worker; left out when there is none. */
  input?: unknown;
  /** Its priority: among pending operations, those with a higher one start first. */
  priority: number;
  /**
   * How long one attempt may take, in seconds with the suffix s; left out for the setting of the kind or the server.
   */
  timeout?: string;
  /** The largest number of attempts. */
  max_attempts: number;
  /** How long it is kept after its end, in seconds with the suffix s; left out for the setting of the server. */
  retain_for?: string;
  /** At most `concurrency_limit` operations with this key run at a time. */
  concurrency_key: string;
  /** How many operations with the `concurrency_key` may run at a time; left out without a key. */
  concurrency_limit?: number;
}

/** Schedules, sorted by name. */
export interface SchedulesPage {
  /** The schedules. */
  schedules: Schedule[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
}

/** A session of somebody who signed in. */
export interface Session {
  /** Its id, which is public. */
  id: string;
  /** The organization that the person signed in to. */
  organization: string;
  /** The identity provider's id for the person. */
  subject: string;
  /** The person's name. */
  name: string;
  /** valid, expired or revoked. */
  state: string;
  /** When the person signed in. */
  begun_at: string;
  /** When it expires. */
  expires_at: string;
  /** When it was revoked; left out if it was not. */
  revoked_at?: string | null;
}

/** `{"session":{…}}`. */
export interface SessionAnswer {
  /** The session. */
  session: Session;
}

/** Sessions, oldest first. */
export interface SessionsPage {
  /** The sessions. */
  sessions: Session[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
}

/** The limits of an organization. Those that are left out follow the configuration of the server. */
export interface SetOrganizationLimits {
  /** How many operations may be unfinished at a time, pending or running, on all servers together; 0 for no limit. */
  max_pending?: number | null;
  /** How many operations may be created per second, on each server; 0 for no limit. */
  rate?: number | null;
  /** How many operations may be created at once after a pause; only together with rate. */
  burst?: number | null;
  /** The longest input, in bytes. */
  max_input?: number | null;
  /** The longest output, in bytes. */
  max_output?: number | null;
  /**
   * How many of its operations start for each one of an organization with the weight 1, while both have pending ones.
   */
  weight?: number | null;
  /** By kind, how many of its operations may run at a time, on all servers and workers together; 0 for no limit. */
  max_running?: Record<string, number> | null;
}

/** The outcomes of attempts. */
export interface SettleOperations {
  /** One row for each operation. */
  results: SettleRow[];
}

/**
 * The result of one row: `error` when it was refused, otherwise `status`; a row that released its operation has
 * neither.
 */
export interface SettleResult {
  /** The id of the operation. */
  id: string;
  /** The status of the operation now. */
  status?: string | null;
  /** Why the row was refused. */
  error?: Status;
}

/** The results of a settlement. */
export interface SettleResults {
  /** In the order of the request. */
  results: SettleResult[];
}

/** How an attempt ended: with exactly one of output, error_message and release. */
export interface SettleRow {
  /** The id of the operation. */
  id: string;
  /** The lease_token of the claim. */
  lease_token: string;
  /** The organization of the operation, from the claim; workers for several organizations must give it. */
  organization?: string | null;
  /** The result; structured output is JSON in this string. */
  output?: string | null;
  /** Why the attempt failed. */
  error_message?: string | null;
  /** Whether another attempt may succeed; only together with error_message. */
  retryable?: boolean | null;
  /** Whether to release the operation, without charging an attempt. */
  release?: boolean | null;
}

/** Statistics. */
export interface Stats {
  /** The length of a step: minute, hour or day. */
  step: string;
  /** When the first requested step begins. */
  start: string;
  /** The end of the requested time, exclusive. */
  end: string;
  /** The time since which everything is counted; left out until a server has begun to count. */
  available_since?: string | null;
  /** The time up to which everything is counted; left out until a server has begun to count. */
  complete_until?: string | null;
  /** How long ago complete_until is, in milliseconds. */
  lag_ms?: number | null;
  /**
   * One point for each step, and for each kind with group_by, ordered by start and kind. Steps in which nothing
   * happened are left out.
   */
  points: StatsPoint[];
}

/** The distribution of durations. */
export interface StatsDurations {
  /** The number of durations. */
  count: number;
  /** Their sum in milliseconds. */
  sum_ms: number;
  /** The median in milliseconds, accurate to 1 %; left out when there are no durations. */
  p50_ms?: number | null;
  /** The 90th percentile in milliseconds. */
  p90_ms?: number | null;
  /** The 99th percentile in milliseconds. */
  p99_ms?: number | null;
}

/** What happened in one step. */
export interface StatsPoint {
  /** When the step began. */
  start: string;
  /** The kind, with group_by=kind; empty for operations that were removed before they were counted. */
  kind?: string | null;
  /** Operations that were created. */
  created: number;
  /** Attempts that began. */
  started: number;
  /** Operations that were completed. */
  completed: number;
  /** Operations that failed, cancelled ones included. */
  failed: number;
  /** How long the operations that were started for the first time had waited since their creation. */
  waiting: StatsDurations;
  /** How long the last attempts of the operations that ended took. */
  running: StatsDurations;
}

/** Why a request was refused: `google.rpc.Status`. */
export interface Status {
  /** The error code, a number of `google.rpc.Code`. */
  code: number;
  /** A message for people; it may change. */
  message: string;
  /**
   * Details for programs: always an ErrorInfo with a stable reason; where they apply, also a BadRequest with the
   * fields that are not valid, and a RetryInfo.
   */
  details: Detail[];
}

/** An API token, without its secret. */
export interface Token {
  /** Its id, which is public. */
  id: string;
  /** A name for people that says what the token is for. */
  name: string;
  /** The organization that it belongs to; empty for a token of the instance. */
  organization: string;
  /** Whether it belongs to the instance and to no organization. */
  instance: boolean;
  /** The organizations that a token of the instance may act in; left out when it may act in all. */
  organizations?: string[] | null;
  /** The scopes of the token: what it may do. */
  scopes: string[];
  /** The projects that it is limited to; left out when it is not limited. */
  projects?: string[] | null;
  /** valid, expired or revoked. */
  state: string;
  /** When it was created. */
  created_at: string;
  /** When it expires; left out if it never does. */
  expires_at?: string | null;
  /** When it was last used, accurate to about a minute; left out if it never was. */
  last_used_at?: string | null;
  /** When it was revoked; left out if it was not. */
  revoked_at?: string | null;
}

/** `{"token":{…}}`. */
export interface TokenAnswer {
  /** The token. */
  token: Token;
}

/** Tokens, oldest first. */
export interface TokensPage {
  /** The tokens. */
  tokens: Token[];
  /** The token that requests the next page; empty on the last page. */
  next_page_token: string;
}

/** The changes to a schedule. Fields that are left out do not change. */
export interface UpdateSchedule {
  /**
   * A cron expression of its due times: five fields (minute, hour, day of the month, month, day of the week), or six
   * with the seconds first. Give either this or every.
   */
  cron?: string | null;
  /** The time between its due times, in seconds with the suffix s; at least one second. Give either this or cron. */
  every?: string | null;
  /** The time zone of cron, by its name in the IANA database; by default UTC. */
  time_zone?: string | null;
  /** The operation that it creates each time; without run_after and unique_key. */
  operation?: CreateOperation | null;
  /**
   * What happens at a due time when the previous operation has not ended: allow (both run at the same time), skip, or
   * cancel_previous.
   */
  overlap?: string | null;
  /**
   * Which of the due times that were missed by more than a minute are made up for: none, latest, or all (at most
   * 100).
   */
  catch_up?: string | null;
  /** The longest delay that is added to each due time, in seconds with the suffix s. */
  jitter?: string | null;
  /** Whether it is paused: it creates nothing until it is resumed. */
  paused?: boolean | null;
}

/** The new name, filter and columns of a view, all of which are replaced. */
export interface UpdateView {
  /**
   * The name of the view, for people: 1 to 128 bytes, unique among the shared views, or among the private views of
   * the token.
   */
  name: string;
  /** The filter of the operations that it shows, as for a search; empty for all operations. */
  filter?: string | null;
  /** The names of the columns, in order; left out for the default columns. */
  columns?: string[] | null;
}

/** A saved view. */
export interface View {
  /** Its id, a UUID. */
  id: string;
  /** The name of the view, for people. */
  name: string;
  /** The filter of the operations that it shows, as it was written. */
  filter: string;
  /** The names of the columns, in order; empty for the default columns. */
  columns: string[];
  /** private or shared. */
  visibility: string;
  /** When it was created. */
  created_at: string;
  /** When it was last changed. */
  updated_at: string;
  /**
   * How many operations it shows to the caller now; left out in the answer to a change, and in a list when counting
   * takes too long.
   */
  count?: number | null;
  /** Whether the count is exact; otherwise it is a lower bound. Left out without a count. */
  count_is_exact?: boolean | null;
}

/** `{"view":{…}}`. */
export interface ViewAnswer {
  /** The view. */
  view: View;
}

/** Views. */
export interface ViewList {
  /** Sorted by name, shared ones first. */
  views: View[];
}

/** A policy violation that the organization accepts. */
export interface Waiver {
  /** Its id, a UUID. */
  id: string;
  /** The name of the policy whose violations it covers. */
  policy: string;
  /** Which violations of the policy it covers; empty for all. */
  finding: string;
  /** Which evidence it covers; empty for any. */
  subject: string;
  /** Why the violation is accepted. */
  reason: string;
  /** The name of the token that created it. */
  created_by: string;
  /** When it was created. */
  created_at: string;
  /** When it ceases to have an effect; left out if it never does. */
  expires_at?: string | null;
  /** Whether it has an effect now. */
  active: boolean;
}

/** `{"waiver":{…}}`. */
export interface WaiverAnswer {
  /** The waiver. */
  waiver: Waiver;
}

/** Waivers. */
export interface WaiverList {
  /** Oldest first. */
  waivers: Waiver[];
}

/** The workers and servers that run operations. */
export interface WorkerList {
  /** Those with the most attempts first. */
  workers: RunningWorker[];
  /**
   * Whether these are all of them. When more than 5,000 attempts are running, only those of the oldest operations are
   * examined.
   */
  is_complete: boolean;
}

export type Operation = AsyncOperation;

export type NewOperation = CreateOperation;
