// What administrators do, against the real server.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
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

/** Whether it is a refusal with this code. */
const refusal = (code: number) => (error: unknown) => error instanceof ApiError && error.code === code;

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
}

test("a token is made, listed, replaced and revoked", async () => {
  const made = await client.createToken({ name: "ci", scopes: ["operations:read"], projects: ["p"], expires_in: "3600s" });
  assert.deepEqual([made.token.scopes, made.token.projects, made.token.state], [["operations:read"], ["p"], "valid"]);
  assert.deepEqual(await all(new Client({ url: server.url, token: made.secret }).list()), []);
  assert.ok((await all(client.tokens())).some((token) => token.id === made.token.id));
  const replaced = await client.rotateToken(made.token.id, { overlap: "0s" });
  assert.equal((await client.token(made.token.id)).state, "expired");
  assert.equal((await client.revokeToken(replaced.token.id)).state, "revoked");
  await assert.rejects(client.token("nobodys"), refusal(Code.NotFound));
});

test("an organization is made, limited and deleted", async () => {
  const manager = new Client({ url: server.url, token: server.manager });
  const name = randomUUID();
  const made = await manager.createOrganization({ name, limits: { max_pending: 5 } });
  assert.deepEqual([made.name, made.limits.max_pending], [name, 5]);
  assert.equal((await manager.setOrganizationLimits(name, { weight: 2 })).limits.weight, 2);
  assert.ok((await all(manager.organizations())).some((one) => one.name === name));
  assert.equal((await manager.deleteOrganization(name, { force: true })).done, true);
  await assert.rejects(manager.organization(name), refusal(Code.NotFound));
});

test("the audit log tells who did it", async () => {
  const made = await client.createToken({ name: "audited", scopes: ["operations:read"] });
  await client.revokeToken(made.token.id);
  const entries = await all(client.audit({ action: "tokens.", target: `tokens/${made.token.id}` }));
  assert.deepEqual(
    entries.map((entry) => [entry.action, entry.actor.name]),
    [
      ["tokens.revoke", "test"],
      ["tokens.create", "test"],
    ],
  );
  assert.deepEqual(await all(client.audit({ until: "2000-01-01T00:00:00Z" })), []);
});

test("nobody has signed in", async () => {
  assert.deepEqual(await all(client.sessions()), []);
  await assert.rejects(client.revokeSession("ses_0"), refusal(Code.NotFound));
});
