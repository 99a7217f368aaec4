// How do I run operations?
//
//     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_… node how-do-i-run-operations.js
//
// SIGTERM or Ctrl-C ends it gracefully: it stops claiming, and running attempts may end within half a minute.

import { Client, Failure, Worker } from "longrun";

const client = new Client({ url: process.env.LONGRUN_URL!, token: process.env.LONGRUN_TOKEN! });
const worker = new Worker(client, { concurrency: 4 });

worker.handle("word_count", (attempt) => {
  const { input, signal } = attempt;
  if (typeof input !== "string") {
    // Another attempt would only fail again. Every other error is retried.
    throw new Failure("the input must be a text");
  }
  // Pass the signal to the functions that you call: `fetch(url, { signal })`, for instance.
  signal.throwIfAborted();
  const words = input.split(/\s+/).filter(Boolean).length;
  attempt.report(`${words} words so far`);
  return `${words} words`;
});

process.on("SIGTERM", () => worker.stop());
process.on("SIGINT", () => worker.stop());
await worker.run();
