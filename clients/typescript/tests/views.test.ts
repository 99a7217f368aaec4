// Saved views against the real server.

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

test("a view is made, changed and deleted", async () => {
  await client.create({ kind: "never" });
  const made = await client.createView({ name: "mine", filter: "kind = never" });
  assert.deepEqual([made.name, made.filter, made.visibility], ["mine", "kind = never", "private"]);
  assert.equal((await client.view(made.id)).count, 1);
  assert.deepEqual((await client.views()).map((view) => view.id), [made.id]);
  await client.updateView(made.id, { name: "mine", filter: "kind = never AND status = FAILED" });
  assert.equal((await client.view(made.id)).count, 0);
  await client.deleteView(made.id);
  const gone = (error: unknown) => error instanceof ApiError && error.code === Code.NotFound;
  await assert.rejects(client.view(made.id), gone);
});

test("it is told who runs what", async () => {
  const { id } = await client.create({ kind: "other" });
  assert.equal((await client.claim({ kinds: ["other"] })).operations?.length, 1);
  const told = await client.workers();
  assert.equal(told.is_complete, true);
  const attempts = told.workers.flatMap((worker) => worker.attempts);
  assert.deepEqual(attempts.map((attempt) => [attempt.operation_id, attempt.attempt]), [[id, 1]]);
});
