// Methods of an operation, in addition to its fields.

import { OperationFailedError } from "./errors.js";
import type { Operation } from "./wire.js";

/** The prefix of every status name in the wire format. */
const PREFIX = "ASYNC_OPERATION_STATUS_";

/** The short name of a status. */
export type State = "PENDING" | "RUNNING" | "COMPLETED" | "FAILED";

/** The wire name of a status: `FAILED` and `ASYNC_OPERATION_STATUS_FAILED` are the same. */
export function statusName(name: string): string {
  return name === "" || name.startsWith(PREFIX) ? name : PREFIX + name;
}

/** The short name of the operation's status. */
export function stateOf(operation: Operation): State {
  return operation.status.slice(PREFIX.length) as State;
}

/** Whether it is COMPLETED or FAILED. */
export function hasEnded(operation: Operation): boolean {
  return ["COMPLETED", "FAILED"].includes(stateOf(operation));
}

/**
 * The output of an operation that is COMPLETED.
 *
 * @throws {OperationFailedError} when it has failed; the message says why.
 */
export function resultOf(operation: Operation): string {
  if (stateOf(operation) === "FAILED") {
    throw new OperationFailedError(operation);
  }
  if (stateOf(operation) !== "COMPLETED") {
    throw new TypeError(`the operation is ${stateOf(operation)}; wait for its end first`);
  }
  return operation.output;
}
