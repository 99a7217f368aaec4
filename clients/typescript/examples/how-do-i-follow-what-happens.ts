// How do I follow what happens, and miss nothing while my program is away?
//
//     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_… node how-do-i-follow-what-happens.js place.txt
//
// The position in the stream is stored in a file; the next run continues from there.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { ApiError, Client, Code, stateOf } from "longrun";

const client = new Client({ url: process.env.LONGRUN_URL!, token: process.env.LONGRUN_TOKEN! });
const place = process.argv[2]!;

function keep(position: string) {
  // A program that is killed here leaves the old position or the new one, and no empty file.
  writeFileSync(`${place}.new`, position);
  renameSync(`${place}.new`, place);
}

let position = existsSync(place) ? readFileSync(place, "utf8") : undefined;
for (;;) {
  try {
    const watch = await client.watch(position === undefined ? {} : { lastEventId: position });
    if (position === undefined) {
      // The watch has begun: what happens while the list is read comes after it.
      for await (const operation of client.list()) {
        console.log(operation.id, stateOf(operation));
      }
    }
    for await (const { id, operationId, operation } of watch) {
      console.log(operationId, operation ? stateOf(operation) : "removed");
      keep(id);
    }
  } catch (error) {
    if (!(error instanceof ApiError && error.code === Code.OutOfRange)) {
      throw error;
    }
    // The program was stopped for longer than the server keeps changes (an hour): it starts with the list.
    position = undefined;
  }
}
