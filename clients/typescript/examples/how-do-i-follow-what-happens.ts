// How do I follow what happens, and miss nothing while my program is away?
//
//     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_… node how-do-i-follow-what-happens.js place.txt
//
// The position in the stream is stored in a file; the next run continues from there.

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { ApiError, Client, Code, stateOf } from "longrun";

const client = new Client({ url: process.env.LONGRUN_URL!, token: process.env.LONGRUN_TOKEN! });
const place = process.argv[2]!;

try {
  const watch = await client.watch(existsSync(place) ? { lastEventId: readFileSync(place, "utf8") } : {});
  for await (const { id, operationId, operation } of watch) {
    console.log(operationId, operation ? stateOf(operation) : "removed");
    writeFileSync(place, id);
  }
} catch (error) {
  if (!(error instanceof ApiError && error.code === Code.OutOfRange)) {
    throw error;
  }
  // The program was stopped for longer than the server keeps changes (an hour): read the list, and start again.
  rmSync(place);
  for await (const operation of client.list()) {
    console.log(operation.id, stateOf(operation));
  }
}
