// The calls against the real server.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import {
  ApiError,
  Client,
  Code,
  LongrunError,
  OperationFailedError,
  TransportError,
  WaitTimeoutError,
  resultOf,
  stateOf,
  type Operation,
} from "longrun";
import { pauseMs } from "../src/time.js";
import { Proxy, ROOT, Server, promise, until } from "./server.js";

let server: Server;
let client: Client;

before(async () => {
  server = await Server.begin();
  client = new Client(server);
});
after(() => server.end());

/** What nobody else's operations are about. */
const resource = () => ({ resource_type: "test", resource_id: randomUUID() });

/** Whether it is a refusal with this code. */
const refusal = (code: number) => (error: unknown) => error instanceof ApiError && error.code === code;

/** Runs an operation as a worker would: claims until it is there, and ends it. */
async function settle(caller: Client, operation: Operation, outcome: { output: string } | { error_message: string }) {
  const claims = await caller.claim({ kinds: [operation.kind], maxOperations: 1000, waitMs: 10_000 });
  for (const { operation: claimed, lease_token } of claims.operations) {
    const how = claimed.id === operation.id ? outcome : { release: true };
    await caller.settle([{ id: claimed.id, lease_token, ...how }]);
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
}

test("an operation is created and read again", async () => {
  const created = await client.create({ kind: "never", input: { format: "csv" }, project_id: "p1", ...resource() });
  assert.equal(stateOf(created), "PENDING");
  assert.equal(created.project_id, "p1");
  assert.deepEqual(await client.get(created.id), created);
});

test("the same idempotency key creates once", async () => {
  const idempotencyKey = randomUUID();
  const first = await client.create({ kind: "never" }, { idempotencyKey });
  assert.equal((await client.create({ kind: "never" }, { idempotencyKey })).id, first.id);
  await assert.rejects(client.create({ kind: "other" }, { idempotencyKey }), refusal(Code.AlreadyExists));
});

test("a creation whose answer was lost is repeated and creates once", async () => {
  const proxy = await Proxy.begin(server);
  const caller = new Client({ url: proxy.url, token: server.token });
  const about = resource();
  proxy.lose = 2;
  const created = await caller.create({ kind: "never", ...about });
  assert.equal(proxy.lost, 2);
  assert.deepEqual((await all(caller.list(about))).map(({ id }) => id), [created.id]);
  // What may not be done twice is not repeated: whether it took effect is told by the operation.
  proxy.lose = 1;
  await assert.rejects(caller.cancel(created.id), TransportError);
  assert.equal((await caller.get(created.id)).error_message, "cancelled");
  proxy.end();
});

test("a batch is created whole or not at all", async () => {
  const about = resource();
  const created = await client.batchCreate([
    { kind: "never", ...about },
    { kind: "other", ...about },
  ]);
  assert.deepEqual(created.map(({ kind }) => kind), ["never", "other"]);
  const wrong = [{ kind: "never", ...about }, { kind: "never", ...about, priority: 1000 }];
  await assert.rejects(client.batchCreate(wrong), (error: ApiError) => {
    assert.deepEqual(error.violations.map(({ field }) => field), ["operations[1].priority"]);
    return true;
  });
  assert.equal((await client.listPage(about)).pagination.total_count, 2);
});

test("a list walks all pages and shows each operation once", async () => {
  const about = resource();
  const created = await client.batchCreate(Array.from({ length: 10 }, () => ({ kind: "never", ...about })));
  const walked = [];
  for await (const { id } of client.list({ ...about, pageSize: 3 })) {
    walked.push(id);
    if (walked.length === 2) {
      // Moves entries to later pages.
      await client.create({ kind: "never", ...about });
    }
  }
  assert.deepEqual(walked, created.map(({ id }) => id).reverse());
  const page = await client.listPage({ ...about, page: 1, pageSize: 4 });
  assert.deepEqual([page.pagination.total_count, page.operations.length], [11, 4]);
});

test("lists are filtered by status in short or in full", async () => {
  const about = resource();
  const [kept, cancelled] = await client.batchCreate([1, 2].map(() => ({ kind: "never", ...about })));
  await client.cancel(cancelled!.id);
  const ids = async (status: string) => (await all(client.list({ ...about, status }))).map(({ id }) => id);
  assert.deepEqual(await ids("FAILED"), [cancelled!.id]);
  assert.deepEqual(await ids("ASYNC_OPERATION_STATUS_PENDING"), [kept!.id]);
});

test("refusals say what is wrong and which request it was", async () => {
  await assert.rejects(client.get("no-such/id"), (error: ApiError) => {
    assert.deepEqual([error.httpStatus, error.code, error.reason], [404, Code.NotFound, "NOT_FOUND"]);
    return Boolean(error.requestId);
  });
  await assert.rejects(client.create({ kind: "no such kind", max_attempts: 0 }), (error: ApiError) => {
    assert.deepEqual(new Set(error.violations.map(({ field }) => field)), new Set(["kind", "max_attempts"]));
    return true;
  });
  assert.throws(() => client.get(""), /is not an id/);
});

test("wrong tokens and addresses are refused", async () => {
  const url = server.url;
  await assert.rejects(new Client({ url, token: "lrn_wrong" }).listPage(), refusal(Code.Unauthenticated));
  for (const token of ["", "a b", "a\nb"]) {
    assert.throws(() => new Client({ url, token }), /token/);
  }
  for (const wrong of ["", "127.0.0.1:8080", "ftp://host", "http://u:p@host", "http://host/?a=b"]) {
    assert.throws(() => new Client({ url: wrong, token: "lrn_x" }), TypeError);
  }
});

test("a server that is not there is told", async () => {
  // Nobody listens on port 9, and `fetch` forbids lower ones.
  const caller = new Client({ url: "http://127.0.0.1:9999", token: "lrn_x", retries: 0, fetch: refuse });
  for (const call of [() => caller.get("x"), () => caller.wait("x"), () => caller.cancel("x")]) {
    await assert.rejects(call, (error: TransportError) => error.neverSent && /cannot connect/.test(error.message));
  }
});

test("what cannot be sent is the caller's error, and not sent again", async () => {
  let calls = 0;
  const answer = () => {
    calls++;
    return refuse();
  };
  const caller = new Client({ ...server, fetch: answer });
  await assert.rejects(caller.create({ kind: "never", input: 2n ** 63n }), TypeError);
  await assert.rejects(caller.create({ kind: "never" }, { idempotencyKey: "日本" }), TypeError);
  assert.equal(calls, 0);
});

test("a client may be silent without a limit", async () => {
  const patient = new Client({ ...server, timeoutMs: Infinity });
  const { id } = await patient.create({ kind: "never" });
  assert.equal((await patient.get(id)).id, id);
});

test("a first wait is repeated as often as any other call", async () => {
  let calls = 0;
  const answer = () => {
    calls++;
    return refuse();
  };
  await assert.rejects(new Client({ ...server, fetch: answer, retries: 2 }).wait("x"), TransportError);
  assert.equal(calls, 3);
});

test("a wait respects its limit even if the server falls silent", async () => {
  const silence = (_: unknown, init?: RequestInit) =>
    new Promise<Response>((_, reject) => init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason)));
  const start = performance.now();
  await assert.rejects(new Client({ ...server, fetch: silence }).wait("x", { timeoutMs: 100 }), TransportError);
  const took = performance.now() - start;
  assert.ok(2_000 <= took && took < 9_000, `${took} ms`);
});

test("the server decides about pauses within bounds", () => {
  assert.deepEqual([pauseMs(3_000, 7), pauseMs(3_600_000, 0)], [3_000, 30_000]);
  // What repeats without a limit must not repeat without a pause.
  for (const asked of [0, undefined]) {
    const pause = pauseMs(asked, 3);
    assert.ok(800 <= pause && pause <= 1_600, `${pause}`);
  }
});

test("a watch that is closed while it connects leaves no connection open", async () => {
  const [connecting, closed] = [promise(), promise()];
  const signals: AbortSignal[] = [];
  const answers = [new Response("id: 1\n\n"), new Response(new ReadableStream())];
  const answer = async (_: unknown, init?: RequestInit) => {
    signals.push(init!.signal!);
    if (signals.length === 2) {
      connecting.fulfil();
      await closed.fulfilled;
    }
    return answers.shift()!;
  };
  // An empty id is none: the position is awaited.
  const watch = await new Client({ ...server, fetch: answer }).watch({ lastEventId: "" });
  assert.equal(watch.lastEventId, "1");
  const next = watch.next();
  await connecting.fulfilled;
  await watch.return();
  closed.fulfil();
  const late = new Promise((resolve) => setTimeout(resolve, 5_000, "late").unref());
  assert.deepEqual(await Promise.race([next, late]), { done: true, value: undefined });
  assert.ok(signals[1]!.aborted);
});

/** As `fetch` where nobody listens. */
const refuse = () => Promise.reject(new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } }));

test("a call ends when its signal is aborted", async () => {
  const { id } = await client.create({ kind: "never" });
  const controller = new AbortController();
  const waiting = client.wait(id, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  const watch = await client.watch({}, { signal: AbortSignal.timeout(100) });
  await assert.rejects(all(watch), { name: "TimeoutError" });
});

test("an operation is cancelled, retried and deleted", async () => {
  const { id } = await client.create({ kind: "never" });
  await assert.rejects(client.delete(id), (error: ApiError) => {
    assert.equal(error.code, Code.FailedPrecondition);
    assert.deepEqual(error.metadata, { status: "PENDING" });
    return true;
  });
  const cancelled = await client.cancel(id);
  assert.throws(() => resultOf(cancelled), OperationFailedError);
  assert.equal(stateOf(await client.retry(id)), "PENDING");
  await client.cancel(id);
  await client.delete(id);
  await assert.rejects(client.get(id), refusal(Code.NotFound));
});

test("a wait ends with the operation or with its time", async () => {
  const operation = await client.create({ kind: "walk" });
  await assert.rejects(client.wait(operation.id, { timeoutMs: 0 }), WaitTimeoutError);
  await assert.rejects(client.wait(operation.id, { timeoutMs: 200 }), /has not ended within 200 ms/);
  await settle(client, operation, { output: "done" });
  assert.equal(resultOf(await client.wait(operation.id)), "done");
});

test("a wait outlives a server that is killed", async () => {
  const own = await Server.begin();
  const caller = new Client(own);
  const operation = await caller.create({ kind: "task" });
  const waiting = caller.wait(operation.id);
  await own.kill();
  await own.start();
  await settle(caller, operation, { output: "after all" });
  assert.equal(resultOf(await waiting), "after all");
  await own.end();
});

test("the history is read whole", async () => {
  const operation = await client.create({ kind: "walk" });
  await settle(client, operation, { error_message: "no" });
  const events = await client.events(operation.id);
  assert.deepEqual(events.map(({ type }) => type), ["CREATED", "ATTEMPT_STARTED", "FAILED"]);
  assert.equal(events[2]?.message, "no");
});

test("a watch tells every transition and removal from when it begins", async () => {
  const about = resource();
  await client.create({ kind: "never", ...about });
  const watch = await client.watch(about);
  const { id } = await client.create({ kind: "never", ...about });
  await client.cancel(id);
  const [first, second] = [(await watch.next()).value, (await watch.next()).value];
  assert.deepEqual([first?.operationId, stateOf(first!.operation!)], [id, "PENDING"]);
  assert.deepEqual([second?.operationId, stateOf(second!.operation!)], [id, "FAILED"]);
  for await (const event of await client.watch({ ...about, lastEventId: first!.id })) {
    assert.deepEqual(event, second);
    break;
  }
  await client.delete(id);
  // The removals of others are told too.
  const gone = await until("the removal", async () => {
    const event = (await watch.next()).value;
    return event?.operationId === id ? event : undefined;
  });
  assert.equal(gone.operation, undefined);
  assert.equal(watch.lastEventId, gone.id);
  await watch.return();
  assert.deepEqual(await watch.next(), { done: true, value: undefined });
  await assert.rejects(client.watch({ lastEventId: "made up" }), refusal(Code.OutOfRange));
});

test("a watch outlives a server that is killed, without gap or repeat", async () => {
  const own = await Server.begin();
  const caller = new Client(own);
  const [created, told]: [string[], (string | undefined)[]] = [[], []];
  const watch = await caller.watch();
  for (let round = 0; round < 3; round++) {
    created.push((await caller.create({ kind: "never" })).id, (await caller.create({ kind: "never" })).id);
    // One of the two is told before the server goes, the other comes after it.
    told.push((await watch.next()).value?.operationId);
    await own.kill();
    await own.start();
    created.push((await caller.create({ kind: "never" })).id);
  }
  while (told.length < created.length) {
    told.push((await watch.next()).value?.operationId);
  }
  assert.deepEqual(told, created);
  await watch.return();
  await own.end();
});

test("evidence is stored, fetched and judged", async () => {
  const content = new Uint8Array(readFileSync(`${ROOT}/examples/evidence/longrun.sarif.json`));
  const stored = await client.putEvidence(content);
  assert.deepEqual([stored.size, stored.kind], [content.length, "SARIF"]);
  assert.deepEqual(await client.getEvidence(stored.digest), content);
  const policies = [{ ref: "sarif-severity-ceiling", with: { ceiling: "note" } }];
  const evaluation = await client.evaluateEvidence({ digest: stored.digest, name: "clippy", policies });
  const verdict = JSON.parse(resultOf(await client.wait(evaluation))) as { status: string };
  assert.equal(verdict.status, "passed");
  const envelope = await client.attestation(evaluation);
  const statement = JSON.parse(Buffer.from(envelope.payload, "base64").toString()) as { predicateType: string };
  assert.equal(statement.predicateType, "https://slsa.dev/verification_summary/v1");
  const unknown = { digest: stored.digest, policies: [{ ref: "no-such-policy" }] };
  await assert.rejects(client.evaluateEvidence(unknown), refusal(Code.InvalidArgument));
});

test("what is paused is not started until it is resumed", async () => {
  const own = await Server.begin();
  const caller = new Client(own);
  const claimed = async () => (await caller.claim({ kinds: ["task"] })).operations;
  await caller.create({ kind: "task" });
  assert.ok((await caller.pauseKind("task")).paused);
  assert.deepEqual((await caller.organization("acme")).paused_kinds, ["task"]);
  assert.deepEqual(await claimed(), []);
  assert.ok(!(await caller.resumeKind("task")).paused);
  assert.ok((await caller.pauseOrganization("acme")).paused);
  assert.deepEqual(await claimed(), []);
  assert.ok(!(await caller.resumeOrganization("acme")).paused);
  await until("it is claimed", async () => (await claimed())[0]);
  await own.end();
});

test("a server that is busy is asked again when it says, and a foreign answer is told", async () => {
  const answers = [
    new Response(null, { status: 503, headers: { "retry-after": "0" } }),
    new Response("{}", { status: 429, headers: { "retry-after": "0" } }),
    new Response("<html>", { status: 200 }),
  ];
  const caller = new Client({ ...client, url: "http://host", token: "t", fetch: async () => answers.shift()! });
  await assert.rejects(caller.cancel("x"), (error: LongrunError) => /not from a longrun server: <html>/.test(error.message));
  assert.equal(answers.length, 0);
});

test("a limit that does not pass by itself is an error at once", async () => {
  let asked = 0;
  const body = '{"code":8,"message":"full","details":[]}';
  const answer = async () => ((asked += 1), new Response(body, { status: 429 }));
  const caller = new Client({ ...client, url: "http://host", token: "t", fetch: answer });
  await assert.rejects(caller.get("x"), (error: LongrunError) => error instanceof ApiError && error.message === "full");
  assert.equal(asked, 1);
});

test("calls tell the span that they belong to", async () => {
  const told: (string | null)[] = [];
  const answer = (_: unknown, init?: RequestInit) => {
    told.push(new Headers(init?.headers).get("traceparent"));
    return Promise.resolve(new Response("{}", { status: 200 }));
  };
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  let underWay: string | undefined = traceparent;
  const caller = new Client({ url: "http://host", token: "t", fetch: answer, traceparent: () => underWay });
  await caller.get("x");
  underWay = undefined;
  await caller.get("x");
  assert.deepEqual(told, [traceparent, null]);
});
