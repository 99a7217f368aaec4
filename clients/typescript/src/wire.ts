// Written by `make sdks` from the OpenAPI document of the server. Do not edit.

/** Long work that was asked for. Texts that are not set are empty; times that are not set are left out. */
export interface AsyncOperation {
  /** What came out, empty before; structured output is JSON in this text. */
  output: string;
  /** Why it failed; empty unless it did. */
  error_message: string;
  /** When it ended. */
  finished_at?: string;
  /** The project that it belongs to. */
  project_id: string;
  /** What kind of work it is. */
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
  /** Where it stands. One that was cancelled or ran out of time is FAILED and says so in error_message. */
  status: AsyncOperationStatus;
}

/** Where an operation stands. */
export type AsyncOperationStatus =
  | "ASYNC_OPERATION_STATUS_PENDING"
  | "ASYNC_OPERATION_STATUS_RUNNING"
  | "ASYNC_OPERATION_STATUS_COMPLETED"
  | "ASYNC_OPERATION_STATUS_FAILED";

/** A DSSE envelope with an in-toto statement. */
export interface AttestationEnvelope {
  /** What the payload is. */
  payloadType: string;
  /** The statement, in base64. */
  payload: string;
  /** One. */
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
  /** token, instance_token, identity or command_line. */
  kind: string;
  /** The id of the token; on the command line the user. */
  id: string;
  /** The name of the token. */
  name: string;
}

/** A call that was recorded. */
export interface AuditEntry {
  /** Its number in its log: 1, 2, 3 … */
  number: number;
  /** When it was written. */
  time: string;
  /** Whose log it is in; empty: that of the instance. */
  organization: string;
  /** Who called. */
  actor: AuditActor;
  /** What, e.g. operations.create. */
  action: string;
  /** On what: operations/ID, tokens/ID, organizations/NAME, kinds/NAME, evidence/DIGEST. */
  targets: string[];
  /** The address that the call came from; empty on the command line. */
  address: string;
  /** The X-Request-Id of its answer; empty on the command line. */
  request_id: string;
  /** What was answered, a google.rpc.Code: 0 when it was done. */
  code: number;
}

/** Entries of an audit log. */
export interface AuditPage {
  /** Newest first. There may be fewer than were asked for, also when there are more. */
  entries: AuditEntry[];
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
}

/** What is wrong with the request, all at once. */
export interface BadRequest {
  /** `type.googleapis.com/google.rpc.BadRequest`. */
  "@type": string;
  /** One for each field at fault. */
  fieldViolations: FieldViolation[];
}

/** Operations that are to be created together. */
export interface BatchCreateOperations {
  /** All of them are created, or none. */
  operations: CreateOperation[];
}

/** The actions by name. */
export type BulkAction =
  | "cancel"
  | "retry"
  | "delete";

/** What is to be done, and to which operations. */
export interface BulkOperations {
  /** What is done to each of them. */
  action: BulkAction;
  /** Which operations, as for a search. Durations are before now. */
  filter: string;
  /** Only tell how many match. */
  dry_run?: boolean;
  /**
   * How many are expected to match: when the number now differs by more than a tenth, the call is refused with 409.
   */
  expected_count?: number | null;
}

/** What a bulk action is about. */
export interface BulkOperationsAnswer {
  /** How many operations match. */
  matching_count: number;
  /** Whether that is all of them; else at least so many match. */
  count_is_exact: boolean;
  /** The operation that does it; left out of the answer to a dry run. */
  operation?: AsyncOperation;
}

/** What a worker asks for. */
export interface ClaimOperations {
  /** The kinds that it runs. */
  kinds: string[];
  /** How many operations at most. */
  max_operations?: number | null;
  /** How long to wait for the first one, in seconds with an s; above 60s, 60s are waited. */
  wait?: string | null;
  /** For tokens of the instance: only operations of these organizations; left out, of all that the token reaches. */
  organizations?: string[];
}

/** A claimed operation. */
export interface ClaimedOperation {
  /** The operation. */
  operation: AsyncOperation;
  /** Its organization; heartbeats and settlements of workers for several name it. */
  organization: string;
  /** As it was written; `null` when there is none. */
  input: unknown;
  /** The number of this attempt, from 1. */
  attempt: number;
  /** What heartbeats and settlements of this attempt show. */
  lease_token: string;
  /** Until when it is held without a heartbeat. */
  lease_expires_at: string;
  /** How long the attempt may take. */
  timeout: string;
  /** Whether it is to stop already. */
  cancel_requested: boolean;
  /**
   * The attempt as a span of the trace that the operation belongs to, for what the worker calls: a header of W3C
   * Trace Context. Left out when it belongs to none.
   */
  traceparent?: string | null;
}

/** What a worker was given. */
export interface ClaimedOperations {
  /** At most as many as it asked for. */
  operations: ClaimedOperation[];
  /** How long a lease lives without a heartbeat. */
  lease_duration: string;
}

/** An operation that is to be created. */
export interface CreateOperation {
  /** What kind of work it is: 1 to 128 letters, digits, '_', '-', '.' or '/'. */
  kind: string;
  /** The type of the resource that it is about; goes together with resource_id. */
  resource_type?: string | null;
  /** The id of the resource that it is about; goes together with resource_type. */
  resource_id?: string | null;
  /** The project that it belongs to. A token with a list of projects must name one of them. */
  project_id?: string | null;
  /** The version of the project. */
  project_version_id?: string | null;
  /** What the handler or worker is given: any JSON, kept digit for digit. */
  input?: unknown;
  /** Higher comes first among those that wait; 0 unless it is given. */
  priority?: number | null;
  /** Not to be started before this time. */
  run_after?: string | null;
  /** How long one attempt may take, in seconds with an s. */
  timeout?: string | null;
  /** How many attempts there may be; the server's or the kind's setting unless it is given. */
  max_attempts?: number | null;
  /** How long it is kept after its end, in seconds with an s; as the server is configured unless it is given. */
  retain_for?: string | null;
  /** At most concurrency_limit operations of the organization with this key run at a time, whatever their kinds. */
  concurrency_key?: string | null;
  /**
   * How many of the key may run at a time; 1 unless it is given. Where operations of a key name different ones, that
   * of the newest creation holds.
   */
  concurrency_limit?: number | null;
  /**
   * What it is found by: at most 16 texts of at most 255 bytes, by keys of 1 to 63 lower-case letters, digits, '.',
   * '_', '-' or '/' that begin and end with a letter or a digit.
   */
  labels?: Record<string, string> | null;
  /**
   * While an operation of the organization with this key has not ended, that one is answered, with the header
   * X-Longrun-Existing: true, and none is created. At most 255 bytes.
   */
  unique_key?: string | null;
}

/** An organization to be made. */
export interface CreateOrganization {
  /** Its name: 1 to 128 bytes of printable text. */
  name: string;
  /** What it may have. */
  limits?: SetOrganizationLimits;
}

/** A schedule that is to be made. */
export interface CreateSchedule {
  /** What it is called by, unique in the organization: 1 to 128 letters, digits, '_', '-' or '.'. */
  name: string;
  /**
   * When it is due: five fields (minute, hour, day of the month, month, day of the week), or six with seconds before
   * them. Either this or every.
   */
  cron?: string | null;
  /** Every how long it is due, in seconds with an s; a second at least. */
  every?: string | null;
  /** The time zone of cron, by its name in the IANA database; UTC unless it is given. */
  time_zone?: string | null;
  /** What is created each time; without run_after and unique_key. */
  operation: CreateOperation;
  /** When the operation before has not ended: allow (they run beside each other), skip or cancel_previous. */
  overlap?: string | null;
  /** What of due times that were missed by more than a minute is made up: none, latest, or all (at most 100). */
  catch_up?: string | null;
  /** Each due time is put off by up to so long, in seconds with an s. */
  jitter?: string | null;
  /** Nothing is created until it is resumed. */
  paused?: boolean | null;
}

/** What a new token is to be. */
export interface CreateToken {
  /** What it is for, for people: 1 to 128 bytes. */
  name: string;
  /**
   * What it may do; never more than the token that asks may. A token of the instance may have admin and
   * operations:work.
   */
  scopes: string[];
  /** Only operations of these projects; left out, all of the organization. */
  projects?: string[];
  /** How long it is valid, in seconds with an s; left out, for ever. Not longer than the token that asks. */
  expires_in?: string | null;
  /** The organization that it belongs to; a token of an organization need not name its own. */
  organization?: string;
  /** Make a token of the instance, which belongs to no organization; only by such a token. */
  instance?: boolean | null;
  /** Of a token of the instance, only these organizations; left out, all. */
  organizations?: string[];
}

/** What a view is to be. */
export interface CreateView {
  /** For people: 1 to 128 bytes, unique among those that are shared, or among those of the token. */
  name: string;
  /** What it shows, as searches take it; empty: everything. */
  filter?: string;
  /** The names of the columns, in their order; left out, those that are shown as a rule. */
  columns?: string[];
  /** private: only this token has it. shared: the organization has it. */
  visibility?: string;
}

/** What is lived with. */
export interface CreateWaiver {
  /** The name of the policy whose violations it covers. */
  policy: string;
  /**
   * Which of them: a whole message, or an identifier in a finding, such as that of a rule or a vulnerability, or vex:
   * and the digest of a VEX document that is stored as evidence, for the vulnerabilities that it says do not affect
   * the product or are fixed; left out, all.
   */
  finding?: string;
  /**
   * Of which evidence: its digest, or the id of its project; of an evaluation in no project, also the name of the
   * evidence or of its project; left out, any. Required with a VEX document.
   */
  subject?: string;
  /** Why. */
  reason: string;
  /** How long it has an effect, in seconds with an s; left out, until it is removed. */
  expires_in?: string | null;
}

/** Operations that were created together. */
export interface CreatedOperations {
  /** In the order of the request. */
  operations: AsyncOperation[];
  /** The zero-based places of those that were there before, with their unique_key; left out when there are none. */
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
 * type, and no variant of a tagged enum: generators of clients want a name for each.
 */
export interface Detail {
}

/** `{}`. */
export interface Empty {
}

/** Which error it is. */
export interface ErrorInfo {
  /** `type.googleapis.com/google.rpc.ErrorInfo`. */
  "@type": string;
  /** A stable name, such as INVALID_FIELDS. */
  reason: string;
  /** Always longrun. */
  domain: string;
  /** What a program may want to know, such as a limit. */
  metadata: Record<string, string>;
}

/** An evaluation that is to be started. Exactly one of digest and content is given. */
export interface EvaluateEvidence {
  /** The digest of evidence that is stored. */
  digest?: string | null;
  /** The evidence itself, in base64; empty for evidence of nothing, such as a report without findings. */
  content?: string | null;
  /** The material type, such as SBOM_CYCLONEDX_JSON; detected from the content unless it is given. */
  kind?: string | null;
  /** The material's name, for policies that select by name. */
  name?: string | null;
  /**
   * The policies to evaluate, each embedded or by reference; the server's default policies when there are neither
   * policies nor groups.
   */
  policies?: PolicyAttachment[] | null;
  /** Groups of policies. */
  policy_groups?: PolicyGroupAttachment[] | null;
  /** The project's name, as policies see it. */
  project_name?: string | null;
  /** The name of the project's version, as policies see it. */
  project_version_name?: string | null;
  /** The project that the operation belongs to. */
  project_id?: string | null;
  /** The version of the project. */
  project_version_id?: string | null;
  /** What an AI provider is asked about the evidence; refused unless one is configured. */
  prompt?: string | null;
}

/** The operation that was started. */
export interface EvaluationStarted {
  /** Its id. */
  operation_id: string;
}

/** A piece of evidence that is stored. */
export interface Evidence {
  /** By what it is found. */
  digest: string;
  /** Its length in bytes. */
  size: number;
  /** The material type that was detected; empty when none was. */
  kind: string;
  /** What it was called by who stored or evaluated it first; left out when it has no name. */
  name?: string;
}

/** The newest operation about a piece of evidence. */
export interface EvidenceLastOperation {
  /** Its id. */
  id: string;
  /** Its status. */
  status: string;
  /** When it ended; left out while it has not. */
  finished_at?: string | null;
  /** passed, failed or skipped; left out when it is no evaluation that has ended, or its output is long. */
  verdict?: string | null;
}

/** A page of evidence. */
export interface EvidenceList {
  /** Newest first. */
  evidence: ListedEvidence[];
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
  /** How many pieces the organization has, whatever is listed. */
  total_count: number;
  /** How many bytes they come to. */
  total_bytes: number;
  /** How many bytes they may come to; 0: any number. */
  max_bytes: number;
}

/** What is wrong with a field. */
export interface FieldViolation {
  /** Its path in the request. */
  field: string;
  /** What would be right. */
  description: string;
}

/** Operations that were found. */
export interface FoundOperations {
  /** In the order that was asked for. */
  operations: OperationDetail[];
  /** How many operations match; at least so many, if that is not exact. */
  total_count: number;
  /**
   * Whether there are no more of them. Always, but for filters for which operations are looked at one by one, when
   * there are more than 100,000.
   */
  total_is_exact: boolean;
  /** What the next page is asked for with; empty at the end. A page may be empty and have a next one. */
  next_page_token: string;
}

/** What a worker holds still. */
export interface HeartbeatOperations {
  /** One row for each operation. */
  operations: HeartbeatRow[];
}

/** What became of one row: it is held, or it is not and `error` says so. */
export interface HeartbeatResult {
  /** The operation. */
  id: string;
  /** Until when without another heartbeat. */
  lease_expires_at?: string;
  /** Whether it is to stop. */
  cancel_requested?: boolean;
  /** Why. */
  error?: Status;
}

/** What is still held. */
export interface HeartbeatResults {
  /** In the order of the request. */
  operations: HeartbeatResult[];
}

/** An operation that a worker holds. */
export interface HeartbeatRow {
  /** Its id. */
  id: string;
  /** What the claim gave. */
  lease_token: string;
  /** The organization that the claim gave; needed by workers for several. */
  organization?: string;
  /** A line for people: how far it is. At most 1024 bytes. */
  progress?: string | null;
}

/** A token with its secret. */
export interface IssuedToken {
  /** The token. */
  token: Token;
  /** What callers send in the header Authorization, after Bearer. It is shown this once and kept by nobody. */
  secret: string;
}

/** A kind of operations in the caller's organization. */
export interface Kind {
  /** Its name. */
  name: string;
  /** Nothing of it is started. */
  paused: boolean;
}

/** `{"kind":{…}}`. */
export interface KindAnswer {
  /** The kind. */
  kind: Kind;
}

/** A piece of evidence in a list. */
export interface ListedEvidence {
  /** By what it is found. */
  digest: string;
  /** Its length in bytes. */
  size: number;
  /** The material type that was detected; empty when none was. */
  kind: string;
  /** What it was called by who stored or evaluated it first; may be empty. */
  name: string;
  /** When it was stored first. */
  created_at: string;
  /** When it was stored or evaluated last, give or take an hour. */
  last_used_at: string;
  /** The newest operation about it; left out when there is none any more. */
  last_operation?: EvidenceLastOperation;
}

/** An organization in a list. */
export interface ListedOrganization {
  /** Its name. */
  name: string;
  /** When it was made. */
  created_at: string;
  /** Operations that wait. */
  pending: number;
  /** Operations that run. */
  running: number;
  /** Since when nothing of it is started; left out when it is not paused. */
  paused_since?: string | null;
  /** Its deletion has begun, and has not ended. */
  being_deleted: boolean;
}

/** `{"operation":{…}}`. */
export interface OperationAnswer {
  /** The operation. */
  operation: AsyncOperation;
}

/** How many operations of a group there are. What was not asked to be told apart is left out. */
export interface OperationCount {
  /** Their status. */
  status?: AsyncOperationStatus;
  /** Their kind. */
  kind?: string;
  /** Their project; empty: none. */
  project_id?: string;
  /** How many; at least one. */
  count: number;
}

/** How many operations there are. */
export interface OperationCounts {
  /** The groups that have any, those with most operations first; at most 1000. */
  groups: OperationCount[];
  /** How many groups are not shown. */
  groups_left_out: number;
  /** How many operations match, in all groups; at least so many, if that is not exact. */
  total_count: number;
  /** Whether there are no more of them. */
  total_is_exact: boolean;
}

/**
 * An operation with everything that is known of it. Texts that are not set are empty; times and durations that are
 * not set are left out.
 */
export interface OperationDetail {
  /** What came out, empty before; structured output is JSON in this text. */
  output: string;
  /** Why it failed; empty unless it did. */
  error_message: string;
  /** When it ended. */
  finished_at?: string;
  /** The project that it belongs to. */
  project_id: string;
  /** What kind of work it is. */
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
  /** Where it stands. One that was cancelled or ran out of time is FAILED and says so in error_message. */
  status: AsyncOperationStatus;
  /** As it was written; `null` when there is none. */
  input: unknown;
  /** What it was labelled with. */
  labels: Record<string, string>;
  /** While it has not ended, creations with this key are answered with it. */
  unique_key: string;
  /** Of the operations with this key so many run at a time as `concurrency_limit` says. */
  concurrency_key: string;
  /** How many; left out without a key. */
  concurrency_limit?: number;
  /** Higher comes first among those that wait. */
  priority: number;
  /** Attempts that count, the one under way included. */
  attempts: number;
  /** How many attempts there may be. */
  max_attempts: number;
  /** Not to be started before this time: as it was asked for, or after an attempt that failed. Of PENDING ones. */
  run_after?: string;
  /** How long one attempt may take, in seconds with an s, if the operation says so itself. */
  timeout?: string;
  /** Who runs it, or ran its last attempt. */
  worker: string;
  /** Whether the attempt under way was asked to stop. */
  cancel_requested: boolean;
  /** What the worker of the latest attempt said last of how far it is. */
  progress: string;
  /** The name of the schedule that made it. */
  schedule: string;
}

/** `{"operation":{…}}` with everything. */
export interface OperationDetailAnswer {
  /** The operation. */
  operation: OperationDetail;
}

/** Something that happened to an operation. */
export interface OperationEvent {
  /** When. */
  time: string;
  /**
   * What: CREATED, ATTEMPT_STARTED, PROGRESS, CANCEL_REQUESTED, ATTEMPT_FAILED, ATTEMPT_LOST, ATTEMPT_RELEASED,
   * COMPLETED, FAILED or RETRIED.
   */
  type: string;
  /** The number of the attempt; 0 before the first. */
  attempt: number;
  /** Who ran the attempt; empty when nobody did. */
  worker: string;
  /** A line for people. */
  message: string;
}

/** A page of a history. */
export interface OperationEvents {
  /** Oldest first. */
  events: OperationEvent[];
  /** Only when there are more: the page_token of the next page. */
  next_page_token?: string | null;
}

/** One page of operations, as the document shows it: it is written piece by piece ([`page`]). */
export interface OperationsPage {
  /** Newest first. */
  operations: AsyncOperation[];
  /** Which page, and of how many. */
  pagination: Pagination;
}

/** An organization, as its callers see it. */
export interface Organization {
  /** Its name. */
  name: string;
  /** Nothing of it is started. */
  paused: boolean;
  /** Kinds of which nothing is started in it. */
  paused_kinds: string[];
  /** What it may have; limits that are not set are left out. */
  limits: OrganizationLimits;
}

/** `{"organization":{…}}`. */
export interface OrganizationAnswer {
  /** The organization. */
  organization: Organization;
}

/** How far the deletion of an organization is. */
export interface OrganizationDeletion {
  /** The organization is there no more; otherwise the same call goes on. */
  done: boolean;
  /** How many rows this call has removed. */
  removed_rows: number;
}

/** Limits that are not set are left out. */
export interface OrganizationLimits {
  /** How many operations may be pending. */
  max_pending?: number | null;
  /** Creations per second. */
  rate?: number | null;
  /** Creations at once. */
  burst?: number | null;
  /** The longest input, in bytes. */
  max_input: number;
  /** The longest output, in bytes. */
  max_output: number;
  /** Its operations that start for each one of an organization of weight 1. */
  weight: number;
  /** By kind, how many of its operations may run at a time; kinds without a limit are left out. */
  max_running?: Record<string, number>;
}

/** Organizations, by name. */
export interface OrganizationsPage {
  /** The organizations. */
  organizations: ListedOrganization[];
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
}

/** Which page it is, and of how many. */
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

/** A use of a policy, as the document shows it: the evaluation reads it. Exactly one of ref and embedded is given. */
export interface PolicyAttachment {
  /**
   * A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a host
   * that the server allows, `https://…@sha256:…`.
   */
  ref?: string | null;
  /** The policy's document itself: its text, or an object. */
  embedded?: unknown;
  /** Arguments by name. */
  with?: Record<string, string> | null;
  /** Which materials it is for, besides those of its kinds. */
  selector?: Record<string, unknown> | null;
  /** Whether it is left out, which the output says. */
  disabled?: boolean | null;
}

/** A use of a group of policies, as the document shows it. */
export interface PolicyGroupAttachment {
  /**
   * A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a host
   * that the server allows, `https://…@sha256:…`.
   */
  ref: string;
  /** Arguments by name. */
  with?: Record<string, string> | null;
  /** Policies of the group to leave out, by name. */
  skip?: string[] | null;
}

/** Which evidence is evaluated again; at least one of the three is given, and all that are given must fit. */
export interface ReevaluateEvidence {
  /** What this policy was evaluated on. */
  policy?: string;
  /** This piece of evidence. */
  digest?: string;
  /** What was stored or evaluated within so many days, give or take an hour. */
  newest_days?: number | null;
}

/** A reevaluation was begun. */
export interface ReevaluationStarted {
  /** The operation that creates the evaluations; its output tells how many. */
  operation_id: string;
}

/** When to try again. */
export interface RetryInfo {
  /** `type.googleapis.com/google.rpc.RetryInfo`. */
  "@type": string;
  /** Seconds with an s. */
  retryDelay: string;
}

/** How a token is replaced. */
export interface RotateToken {
  /** How long the old secret stays valid, in seconds with an s; 30 days (2592000s) at most. */
  overlap?: string | null;
  /** How long the new one is valid; left out, for as long as the old one was from its start, if that ends. */
  expires_in?: string | null;
}

/** An attempt under way. */
export interface RunningAttempt {
  /** The operation's id. */
  operation_id: string;
  /** Its kind. */
  kind: string;
  /** Its project; left out when it has none. */
  project_id?: string;
  /** Which attempt, from 1. */
  attempt: number;
  /** When it began. */
  started_at: string;
  /** When its lease runs out unless there is a heartbeat. */
  lease_expires_at: string;
}

/** Who runs something. */
export interface RunningWorker {
  /** The id of its token, or the name of a server. */
  name: string;
  /** Attempts under way. */
  running: number;
  /** Of which kinds, in order. */
  kinds: string[];
  /** When the oldest of its attempts began. */
  oldest_started_at: string;
  /** When it claimed, or kept a lease, last. */
  last_heartbeat_at: string;
  /** What it runs: the 20 oldest attempts. */
  attempts: RunningAttempt[];
}

/** A schedule. Texts that are not set are empty; times that are not set are left out. */
export interface Schedule {
  /** What it is called by. */
  name: string;
  /** When it is due; empty when every is given. */
  cron: string;
  /** Every how long it is due, in seconds with an s; empty when cron is given. */
  every: string;
  /** The time zone of cron; empty for UTC. */
  time_zone: string;
  /** What is created each time. */
  operation: ScheduledOperation;
  /** allow, skip or cancel_previous. */
  overlap: string;
  /** none, latest or all. */
  catch_up: string;
  /** By how much each due time is put off at most, in seconds with an s. */
  jitter: string;
  /** It creates nothing until it is resumed. */
  paused: boolean;
  /** When it was made. */
  created_at: string;
  /** When it was changed last. */
  updated_at: string;
  /** The next five due times, without what they are put off by. */
  next_times: string[];
  /** The last due time that has created an operation. */
  last_time?: string;
  /** The id of the last operation that it has created, at a due time or when it was triggered; empty before. */
  last_operation: string;
  /** The last due time that has created none: it was missed, or would have overlapped. */
  last_skipped_time?: string;
  /** Why nothing could be created the last time; empty since something could. */
  last_error: string;
  /** When that was. */
  last_error_time?: string;
}

/** `{"schedule":{…}}`. */
export interface ScheduleAnswer {
  /** The schedule. */
  schedule: Schedule;
}

/** What a schedule creates. */
export interface ScheduledOperation {
  /** What kind of work it is. */
  kind: string;
  /** The type of the resource that it is about. */
  resource_type: string;
  /** The id of the resource that it is about. */
  resource_id: string;
  /** The project that it belongs to. */
  project_id: string;
  /** The version of the project. */
  project_version_id: string;
  /** What it is found by. */
  labels: Record<string, string>;
  /** What the handler or worker is given; left out when there is nothing. */
  input?: unknown;
  /** Higher comes first among those that wait. */
  priority: number;
  /** How long one attempt may take, in seconds with an s; left out for the kind's or the server's setting. */
  timeout?: string;
  /** How many attempts there may be. */
  max_attempts: number;
  /** How long it is kept after its end, in seconds with an s; left out for the server's setting. */
  retain_for?: string;
}

/** Schedules, by name. */
export interface SchedulesPage {
  /** The schedules. */
  schedules: Schedule[];
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
}

/** A session of somebody who signed in. */
export interface Session {
  /** Its id, which is public. */
  id: string;
  /** The organization. */
  organization: string;
  /** The provider's name for the person. */
  subject: string;
  /** The person's name. */
  name: string;
  /** valid, expired or revoked. */
  state: string;
  /** When the person signed in. */
  begun_at: string;
  /** When it ends by itself. */
  expires_at: string;
  /** When it was ended before that; left out when it was not. */
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
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
}

/** Limits of an organization. What is left out is as the server is configured. */
export interface SetOrganizationLimits {
  /** Operations that have not ended, over all servers; 0: any number. */
  max_pending?: number | null;
  /** Operations that may be created in a second, on each server; 0: as fast as they come. */
  rate?: number | null;
  /** Operations that may be created at once after a pause; goes with rate. */
  burst?: number | null;
  /** The most bytes of an input. */
  max_input?: number | null;
  /** The most bytes of an output. */
  max_output?: number | null;
  /** Its operations that start for each one of an organization of weight 1, while both have some waiting. */
  weight?: number | null;
  /** By kind, how many of its operations may run at a time, over all servers and workers; 0: any number. */
  max_running?: Record<string, number> | null;
}

/** What a worker has done. */
export interface SettleOperations {
  /** One row for each operation. */
  results: SettleRow[];
}

/**
 * What became of one row: `error` when it was refused, else `status`, the operation's; of a row that was released
 * neither.
 */
export interface SettleResult {
  /** The operation. */
  id: string;
  /** The operation's status now. */
  status?: string | null;
  /** Why the row was refused. */
  error?: Status;
}

/** What became of what was settled. */
export interface SettleResults {
  /** In the order of the request. */
  results: SettleResult[];
}

/** How an attempt ended: with exactly one of output, error_message and release. */
export interface SettleRow {
  /** The operation's id. */
  id: string;
  /** What the claim gave. */
  lease_token: string;
  /** The organization that the claim gave; needed by workers for several. */
  organization?: string;
  /** The result; structured output is JSON in this string. */
  output?: string | null;
  /** Why the attempt failed. */
  error_message?: string | null;
  /** Whether another attempt may help; goes with error_message only. */
  retryable?: boolean | null;
  /** Give the operation back without charging an attempt. */
  release?: boolean | null;
}

/** Statistics. */
export interface Stats {
  /** How finely: minute, hour or day. */
  step: string;
  /** When the first step begins that was asked for. */
  start: string;
  /** Before when. */
  end: string;
  /** Since when everything is counted; left out before a server has begun to. */
  available_since?: string | null;
  /** Up to when everything is counted; left out before a server has begun to. */
  complete_until?: string | null;
  /** How long ago that is, in milliseconds. */
  lag_ms?: number | null;
  /** In the order of their starts and kinds. Steps in which nothing happened are left out. */
  points: StatsPoint[];
}

/** How long many things took. */
export interface StatsDurations {
  /** How many. */
  count: number;
  /** Their sum in milliseconds. */
  sum_ms: number;
  /** What half of them did not exceed, in milliseconds, within 1 %; left out when there are none. */
  p50_ms?: number | null;
  /** What 90 % of them did not exceed. */
  p90_ms?: number | null;
  /** What 99 % of them did not exceed. */
  p99_ms?: number | null;
}

/** What happened in one step. */
export interface StatsPoint {
  /** When the step began. */
  start: string;
  /** The kind, if each was asked for by itself; empty: operations that were removed before they were counted. */
  kind?: string | null;
  /** Operations that were created. */
  created: number;
  /** Attempts that began. */
  started: number;
  /** Operations that were completed. */
  completed: number;
  /** Operations that failed, cancelled ones included. */
  failed: number;
  /** How long operations had waited that were started for the first time, since their creation. */
  waiting: StatsDurations;
  /** How long the attempts took that ended their operations. */
  running: StatsDurations;
}

/** Why a request was refused: `google.rpc.Status`. */
export interface Status {
  /** A number of `google.rpc.Code`. */
  code: number;
  /** For people; may change. */
  message: string;
  /**
   * For programs: always an ErrorInfo with a stable reason; a BadRequest with the fields at fault, a RetryInfo where
   * they apply.
   */
  details: Detail[];
}

/** An API token, without its secret. */
export interface Token {
  /** Its id, which is public. */
  id: string;
  /** What it is for, for people. */
  name: string;
  /** The organization that it belongs to; empty for a token of the instance. */
  organization: string;
  /** It belongs to the instance and to no organization. */
  instance: boolean;
  /** The organizations that a token of the instance reaches; left out when these are all. */
  organizations?: string[] | null;
  /** What it may do. */
  scopes: string[];
  /** The projects that it is limited to; left out when it is not. */
  projects?: string[] | null;
  /** valid, expired or revoked. */
  state: string;
  /** When it was made. */
  created_at: string;
  /** When it ceases to be valid; left out for never. */
  expires_at?: string | null;
  /** When it was last used, to about a minute; left out for never. */
  last_used_at?: string | null;
  /** When it was revoked; left out for never. */
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
  /** What the next page is asked for with; empty at the end. */
  next_page_token: string;
}

/** What is to be changed of a schedule; what is left out stays. */
export interface UpdateSchedule {
  /**
   * When it is due: five fields (minute, hour, day of the month, month, day of the week), or six with seconds before
   * them. Either this or every.
   */
  cron?: string | null;
  /** Every how long it is due, in seconds with an s; a second at least. */
  every?: string | null;
  /** The time zone of cron, by its name in the IANA database; UTC unless it is given. */
  time_zone?: string | null;
  /** What is created each time; without run_after and unique_key. */
  operation?: CreateOperation;
  /** When the operation before has not ended: allow (they run beside each other), skip or cancel_previous. */
  overlap?: string | null;
  /** What of due times that were missed by more than a minute is made up: none, latest, or all (at most 100). */
  catch_up?: string | null;
  /** Each due time is put off by up to so long, in seconds with an s. */
  jitter?: string | null;
  /** Nothing is created until it is resumed. */
  paused?: boolean | null;
}

/** What a view is to be instead. It replaces all three. */
export interface UpdateView {
  /** For people: 1 to 128 bytes, unique among those that are shared, or among those of the token. */
  name: string;
  /** What it shows, as searches take it; empty: everything. */
  filter?: string;
  /** The names of the columns, in their order; left out, those that are shown as a rule. */
  columns?: string[];
}

/** A saved view. */
export interface View {
  /** Its id, a UUID. */
  id: string;
  /** For people. */
  name: string;
  /** What it shows, as it was written. */
  filter: string;
  /** The names of the columns, in their order; empty: those that are shown as a rule. */
  columns: string[];
  /** private or shared. */
  visibility: string;
  /** When it was made. */
  created_at: string;
  /** When it was changed last. */
  updated_at: string;
  /**
   * How many operations it shows to the caller now; left out after a change, and in a list when counting takes too
   * long.
   */
  count?: number | null;
  /** Whether the count is exact; else there are at least so many. Only with a count. */
  count_is_exact?: boolean | null;
}

/** `{"view":{…}}`. */
export interface ViewAnswer {
  /** The view. */
  view: View;
}

/** Views. */
export interface ViewList {
  /** By name, shared ones first. */
  views: View[];
}

/** A violation that is lived with. */
export interface Waiver {
  /** Its id, a UUID. */
  id: string;
  /** The name of the policy whose violations it covers. */
  policy: string;
  /** Which of them; empty: all. */
  finding: string;
  /** Of which evidence; empty: any. */
  subject: string;
  /** Why. */
  reason: string;
  /** The name of the token that made it. */
  created_by: string;
  /** When it was made. */
  created_at: string;
  /** From when on it has no effect any more; left out when it does not end. */
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

/** Who runs what. */
export interface WorkerList {
  /** Those with most attempts first. */
  workers: RunningWorker[];
  /**
   * Whether these are all; not when more than 5,000 attempts are under way, of which the oldest operations are looked
   * at.
   */
  is_complete: boolean;
}

export type Operation = AsyncOperation;

export type NewOperation = CreateOperation;
