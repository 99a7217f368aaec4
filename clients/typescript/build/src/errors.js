// Why a call did not succeed, in the form that a caller can act on. LongrunError is above all of them.
/** How much of a foreign answer a message shows. */
const EXCERPT_CHARS = 200;
/** Above every error of this package. */
export class LongrunError extends Error {
    name = "LongrunError";
}
/** The server cannot be reached, or the connection broke during a call: whether the call took effect is unknown. */
export class TransportError extends LongrunError {
    name = "TransportError";
    /** The server cannot have seen the call. */
    neverSent;
    constructor(message, neverSent, cause) {
        super(message, { cause });
        this.neverSent = neverSent;
    }
}
/** The answer is none that longrun gives: another program answers at this address. */
export class UnexpectedAnswerError extends LongrunError {
    name = "UnexpectedAnswerError";
    httpStatus;
    constructor(httpStatus, text) {
        super(`HTTP ${httpStatus} with something that is not longrun's: ${text.slice(0, EXCERPT_CHARS)}`);
        this.httpStatus = httpStatus;
    }
}
/** The operation has not ended in time. It goes on. */
export class WaitTimeoutError extends LongrunError {
    name = "WaitTimeoutError";
    operationId;
    constructor(operationId, milliseconds) {
        super(`operation ${operationId} has not ended within ${milliseconds} ms`);
        this.operationId = operationId;
    }
}
/** The operation whose result was asked for has failed. */
export class OperationFailedError extends LongrunError {
    name = "OperationFailedError";
    operation;
    constructor(operation) {
        super(`operation ${operation.id} failed: ${operation.error_message}`);
        this.operation = operation;
    }
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
};
/** The server refused the call and said why. */
export class ApiError extends LongrunError {
    name = "ApiError";
    /** The HTTP status; of an error that comes in a stream, that which the answer to a call would have had. */
    httpStatus;
    /** One of {@link Code}. */
    code;
    /** The stable name of the reason, e.g. `INVALID_FIELDS`; empty when there is none. */
    reason;
    /** Particulars of the reason, e.g. `{"limit": "100"}`. */
    metadata;
    /** What is wrong with which field. */
    violations;
    /** What the server's log calls this call. */
    requestId;
    /** In how many milliseconds the server wants to be asked again. */
    retryAfterMs;
    constructor(httpStatus, status, requestId, retryAfterMs) {
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
/** The error for the body of an answer that is no success. */
export function errorOf(httpStatus, body, requestId, retryAfterMs) {
    try {
        const status = JSON.parse(body);
        if (typeof status.code === "number" && typeof status.message === "string") {
            return new ApiError(httpStatus, status, requestId, retryAfterMs);
        }
    }
    catch {
        // No JSON, or JSON of another shape.
    }
    return new UnexpectedAnswerError(httpStatus, body);
}
/** Whether the same call may succeed later. */
export function isTransient(error) {
    if (error instanceof ApiError || error instanceof UnexpectedAnswerError) {
        return error.httpStatus === 429 || error.httpStatus >= 500;
    }
    return error instanceof TransportError;
}
/** The pause that the server asked for with its refusal, if it did. */
export function askedPause(error) {
    return error instanceof ApiError ? error.retryAfterMs : undefined;
}
