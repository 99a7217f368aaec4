// Schedules against the real server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiError, Client, Code } from "longrun";
import { Server } from "./server.js";

let server: Server;
let client: Client;

before(async () => {
  server = await Server.begin();
  client = new Client(server);
});
after(() => server.end());

test("a schedule is made, changed, triggered and deleted", async () => {
  const operation = { kind: "never", input: { depth: 2 } };
  const made = await client.createSchedule({ name: "nightly", cron: "0 3 * * *", operation });
  assert.equal(made.next_times.length, 5);
  assert.deepEqual(await client.schedule("nightly"), made);
  assert.deepEqual(await client.schedules(), [made]);
  const changed = await client.updateSchedule("nightly", { every: "3600s", overlap: "skip" });
  assert.deepEqual([changed.cron, changed.every, changed.overlap], ["", "3600s", "skip"]);
  assert.deepEqual((await client.pauseSchedule("nightly")).next_times, []);
  const triggered = await client.triggerSchedule("nightly");
  assert.equal((await client.resumeSchedule("nightly")).last_operation, triggered.id);
  await client.deleteSchedule("nightly");
  const gone = (error: unknown) => error instanceof ApiError && error.code === Code.NotFound;
  await assert.rejects(client.schedule("nightly"), gone);
});
