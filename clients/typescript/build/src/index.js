/**
 * The TypeScript client of longrun: `Client` calls a server, `Worker` runs operations.
 *
 *     import { Client, resultOf } from "longrun";
 *
 *     const client = new Client({ url: "http://127.0.0.1:8080", token: "lrn_…" });
 *     const operation = await client.create({ kind: "export", input: { format: "csv" } });
 *     console.log(resultOf(await client.wait(operation.id)));
 */
export { CancelledError, Failure } from "./attempt.js";
export { Client } from "./client.js";
export { ApiError, Code, LongrunError, OperationFailedError, TransportError, UnexpectedAnswerError, WaitTimeoutError, } from "./errors.js";
export { hasEnded, resultOf, stateOf } from "./operation.js";
export { Worker } from "./worker.js";
