// How do I start work and wait for its result?
//
//     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_… node how-do-i-wait-for-a-result.js "to be or not to be"
//
// A worker must run operations of the kind "word_count", such as how-do-i-run-operations.

import { Client, OperationFailedError, resultOf } from "longrun";

const client = new Client({ url: process.env.LONGRUN_URL!, token: process.env.LONGRUN_TOKEN! });

// The call is repeated if the answer is lost; its idempotency key keeps that from creating two operations.
const operation = await client.create({ kind: "word_count", input: process.argv[2], max_attempts: 3 });
try {
  console.log(resultOf(await client.wait(operation.id, { timeoutMs: 60_000 })));
} catch (error) {
  if (!(error instanceof OperationFailedError)) {
    throw error;
  }
  console.error(error.operation.error_message);
  process.exitCode = 1;
}
