// Written by `make sdks` from the OpenAPI document of the server. Do not edit.

export type OperationStatus =
  | "ASYNC_OPERATION_STATUS_PENDING"
  | "ASYNC_OPERATION_STATUS_RUNNING"
  | "ASYNC_OPERATION_STATUS_COMPLETED"
  | "ASYNC_OPERATION_STATUS_FAILED";

export interface Operation {
  output: string;
  error_message: string;
  finished_at?: string;
  project_id: string;
  kind: string;
  resource_type: string;
  created_at?: string;
  started_at?: string;
  resource_id: string;
  id: string;
  project_version_id: string;
  status: OperationStatus;
}

export interface Pagination {
  total_count: number;
  page: number;
  total_pages: number;
  page_size: number;
}

export interface OperationAnswer {
  operation: Operation;
}

export interface OperationPage {
  operations: Operation[];
  pagination: Pagination;
}

export interface CreatedOperations {
  operations: Operation[];
}

export interface HistoryEvent {
  time: string;
  type: string;
  attempt: number;
  worker: string;
  message: string;
}

export interface History {
  events: HistoryEvent[];
  next_page_token?: string;
}

export interface OrganizationLimits {
  max_pending?: number;
  rate?: number;
  burst?: number;
  max_input: number;
  max_output: number;
}

export interface Organization {
  name: string;
  paused: boolean;
  paused_kinds: string[];
  limits: OrganizationLimits;
}

export interface OrganizationAnswer {
  organization: Organization;
}

export interface Kind {
  name: string;
  paused: boolean;
}

export interface KindAnswer {
  kind: Kind;
}

export interface StartedEvaluation {
  operation_id: string;
}

export interface StoredEvidence {
  digest: string;
  size: number;
  kind: string;
}

export interface ClaimedOperation {
  operation: Operation;
  input?: unknown;
  attempt: number;
  lease_token: string;
  lease_expires_at: string;
  timeout: string;
  cancel_requested: boolean;
}

export interface Claims {
  operations: ClaimedOperation[];
  lease_duration: string;
}

export interface RpcStatus {
  code: number;
  message: string;
  details: unknown[];
}

export interface LeaseState {
  id: string;
  lease_expires_at?: string;
  cancel_requested?: boolean;
  error?: RpcStatus;
}

export interface Heartbeats {
  operations: LeaseState[];
}

export interface SettledOperation {
  id: string;
  status?: OperationStatus;
  error?: RpcStatus;
}

export interface Settled {
  results: SettledOperation[];
}

export interface NewOperation {
  kind: string;
  resource_type?: string;
  resource_id?: string;
  project_id?: string;
  project_version_id?: string;
  input?: unknown;
  priority?: number;
  run_after?: string;
  timeout?: string;
  max_attempts?: number;
  retain_for?: string;
}

export interface PolicyAttachment {
  ref?: string;
  embedded?: unknown;
  with?: Record<string, string>;
}

export interface PolicyGroupAttachment {
  ref: string;
  with?: Record<string, string>;
  skip?: string[];
}

export interface EvaluateRequest {
  digest?: string;
  content?: string;
  kind?: string;
  name?: string;
  policies?: PolicyAttachment[];
  policy_groups?: PolicyGroupAttachment[];
  project_id?: string;
  project_version_id?: string;
  project_name?: string;
  project_version_name?: string;
}

export interface Heartbeat {
  id: string;
  lease_token: string;
  progress?: string;
}

export interface Settlement {
  id: string;
  lease_token: string;
  output?: string;
  error_message?: string;
  retryable?: boolean;
  release?: boolean;
}
