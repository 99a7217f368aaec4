// Why a call did not succeed, in a form that a caller can act on. LongrunError is the base class of all of them.

import type { Operation } from "./wire.js";

/** How many characters of an answer that is not longrun's a message shows. */
const EXCERPT_CHARS = 200;

/** The base class of every error of this package. */
export class LongrunError extends Error {
  override name = "LongrunError";
}

/** The server cannot be reached, or the connection broke during a call: whether the call took effect is unknown. */
export class TransportError extends LongrunError {
  override name = "TransportError";
  /** The server cannot have received the call. */
  readonly neverSent: boolean;

  constructor(message: string, neverSent: boolean, cause?: unknown) {
    super(message, { cause });
    this.neverSent = neverSent;
  }
}

/** The answer is not one that longrun gives: another program answers at this address. */
export class UnexpectedAnswerError extends LongrunError {
  override name = "UnexpectedAnswerError";
  readonly httpStatus: number;
  /** When to try again, if the answer says so, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(httpStatus: number, text: string, retryAfterMs?: number) {
    super(`HTTP ${httpStatus}, but the answer is not from a longrun server: ${text.slice(0, EXCERPT_CHARS)}`);
    this.httpStatus = httpStatus;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The operation has not ended in time. It continues. */
export class WaitTimeoutError extends LongrunError {
  override name = "WaitTimeoutError";
  readonly operationId: string;

  constructor(operationId: string, milliseconds: number) {
    super(`operation ${operationId} has not ended within ${milliseconds} ms`);
    this.operationId = operationId;
  }
}

/** The operation whose result was requested has failed. */
export class OperationFailedError extends LongrunError {
  override name = "OperationFailedError";
  readonly operation: Operation;

  constructor(operation: Operation) {
    super(`operation ${operation.id} failed: ${operation.error_message}`);
    this.operation = operation;
  }
}

/** What is wrong with one field of a request. */
export interface FieldViolation {
  /** Its path, e.g. `operations[3].kind`. */
  field: string;
  /** What was wrong and what would be valid. */
  description: string;
}

/** The numbers of `google.rpc.Code` that longrun answers with. */
export const Code = {
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  Unauthenticated: 16,
} as const;

/** `google.rpc.Status`, as far as clients use it. */
interface Status {
  code: number;
  message: string;
  details?: { reason?: string; metadata?: Record<string, string>; fieldViolations?: FieldViolation[] }[];
}

/** The server refused the call and gave a reason. */
export class ApiError extends LongrunError {
  override name = "ApiError";
  /** The HTTP status; of an error that comes in a stream, the status that a normal call would have had. */
  readonly httpStatus: number;
  /** One of {@link Code}. */
  readonly code: number;
  /** The stable name of the reason, e.g. `INVALID_FIELDS`; empty when there is none. */
  readonly reason: string;
  /** Details of the reason, e.g. `{"limit": "100"}`. */
  readonly metadata: Record<string, string>;
  /** What is wrong with which field. */
  readonly violations: FieldViolation[];
  /** The id of the call in the server's log. */
  readonly requestId: string | undefined;
  /** In how many milliseconds the server wants the call to be repeated. */
  readonly retryAfterMs: number | undefined;

  constructor(httpStatus: number, status: Status, requestId?: string, retryAfterMs?: number) {
    const details = status.details ?? [];
    const violations = details.flatMap((detail) => detail.fieldViolations ?? []);
    const unsaid = violations.filter(({ description }) => !status.message.includes(description));
    const lines = [status.message, ...unsaid.map(({ field, description }) => `  ${field}: ${description}`)];
    super(lines.join("\n") + (httpStatus >= 500 && requestId ? ` (request ${requestId})` : ""));
    this.httpStatus = httpStatus;
    this.code = status.code;
    this.reason = details.find((detail) => detail.reason)?.reason ?? "";
    this.metadata = details.find((detail) => detail.metadata)?.metadata ?? {};
    this.violations = violations;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The error for the body of an answer that is not a success. */
export function errorOf(httpStatus: number, body: string, requestId?: string, retryAfterMs?: number): LongrunError {
  try {
    const status = JSON.parse(body) as Status;
    if (typeof status.code === "number" && typeof status.message === "string") {
      return new ApiError(httpStatus, status, requestId, retryAfterMs);
    }
  } catch {
    // Not JSON, or JSON of a different shape.
  }
  return new UnexpectedAnswerError(httpStatus, body, retryAfterMs);
}

/** Whether the same call may succeed later. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ApiError && error.httpStatus === 429) {
    // A limit that does not pass by itself has no time after which to try again.
    return error.retryAfterMs !== undefined;
  }
  if (error instanceof ApiError || error instanceof UnexpectedAnswerError) {
    return error.httpStatus === 429 || error.httpStatus >= 500;
  }
  return error instanceof TransportError;
}

/** The pause that the answer asked for, if it did. */
export function askedPause(error: unknown): number | undefined {
  return error instanceof ApiError || error instanceof UnexpectedAnswerError ? error.retryAfterMs : undefined;
}
