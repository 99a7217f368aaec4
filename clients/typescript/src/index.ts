/**
 * The TypeScript client of longrun: `Client` calls a server, `Worker` runs operations.
 *
 *     import { Client, resultOf } from "longrun";
 *
 *     const client = new Client({ url: "http://127.0.0.1:8080", token: "lrn_…" });
 *     const operation = await client.create({ kind: "export", input: { format: "csv" } });
 *     console.log(resultOf(await client.wait(operation.id)));
 */

export { CancelledError, Failure, type Attempt, type StopReason } from "./attempt.js";
export { Client, type AuditFilter, type CreateOptions, type Filter, type Options } from "./client.js";
export {
  ApiError,
  Code,
  LongrunError,
  OperationFailedError,
  TransportError,
  UnexpectedAnswerError,
  WaitTimeoutError,
  type FieldViolation,
} from "./errors.js";
export type { Settings } from "./http.js";
export { hasEnded, resultOf, stateOf, type State } from "./operation.js";
export type { Watch, WatchEvent } from "./watch.js";
export type * from "./wire.js";
export { Worker, type Handler, type WorkerSettings } from "./worker.js";
