// The worker against the real server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  ApiError,
  CancelledError,
  Client,
  Code,
  Failure,
  Worker,
  resultOf,
  stateOf,
  type Attempt,
  type Settings,
  type WorkerSettings,
} from "longrun";
import { Server, promise, until } from "./server.js";

let server: Server;
let client: Client;

before(async () => {
  server = await Server.begin();
  client = new Client(server);
});
after(() => server.end());

/** A worker that says nothing of failures that are meant. */
const quiet = (settings: WorkerSettings = {}, caller = client) => new Worker(caller, { warn: () => {}, ...settings });

/** Fulfilled when the signal is aborted. */
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (signal.aborted) {
      resolve();
    }
  });

async function result(id: string): Promise<string> {
  return resultOf(await client.wait(id));
}

async function errorMessage(id: string): Promise<string> {
  return (await client.wait(id)).error_message;
}

test("a handler gets the input and its answer is the output", async () => {
  const worker = quiet()
    .handle("task", ({ operation }) => operation.resource_id)
    .handle("walk", async ({ input, number }) => ({ input, number }))
    .handle("other", () => {});
  const running = worker.run();
  const task = await client.create({ kind: "task", resource_type: "t", resource_id: "42" });
  const walk = await client.create({ kind: "walk", input: { x: [1, null, "é"] } });
  const other = await client.create({ kind: "other" });
  assert.equal(await result(task.id), "42");
  assert.deepEqual(JSON.parse(await result(walk.id)), { input: { x: [1, null, "é"] }, number: 1 });
  assert.equal(await result(other.id), "");
  worker.stop();
  await running;
});

test("so many handlers run at a time as was said", async () => {
  let [atWork, most] = [0, 0];
  const three = promise();
  const worker = quiet({ concurrency: 3 }).handle("task", async () => {
    most = Math.max(most, ++atWork);
    if (atWork === 3) {
      three.fulfil();
    }
    // Ends only when three are at work.
    await three.fulfilled;
    atWork--;
  });
  const running = worker.run();
  const created = await client.batchCreate(Array.from({ length: 9 }, () => ({ kind: "task" })));
  for (const { id } of created) {
    await result(id);
  }
  assert.equal(most, 3);
  worker.stop();
  await running;
});

test("failures are repeated unless they are final", async () => {
  const worker = quiet({ concurrency: 2 })
    .handle("task", ({ input, number }) => {
      if (input === "bad") {
        throw new Failure("bad input");
      }
      if (number === 1) {
        throw new Error("the disk is full");
      }
      return `attempt ${number}`;
    })
    .handle("walk", () => 1n)
    .handle("other", () => "x".repeat(1024 * 1024 + 1));
  const running = worker.run();
  const bad = await client.create({ kind: "task", input: "bad" });
  const good = await client.create({ kind: "task" });
  assert.equal(await errorMessage(bad.id), "bad input");
  assert.equal(await result(good.id), "attempt 2");
  const failed = (await client.events(good.id)).find(({ type }) => type === "ATTEMPT_FAILED");
  assert.equal(failed?.message, "Error: the disk is full");
  assert.match(await errorMessage((await client.create({ kind: "walk" })).id), /neither text nor JSON/);
  assert.match(await errorMessage((await client.create({ kind: "other" })).id), /at most 1048576 are allowed/);
  worker.stop();
  await running;
});

test("texts that cannot be sent as they are become texts that can", async () => {
  const worker = quiet({ concurrency: 6 }).handle("task", ({ input }) => {
    switch (input) {
      case "text":
        return "half \ud83d, whole \ud83d\ude00";
      case "json":
        return { "key \ud800": ["\udfff", "\\ud800", "\\\udfff", "é"] };
      case "failure":
        throw new Failure("half \ud83d");
      case "error":
        throw new Error("half \ud83d");
      case "long":
        throw new Failure("é".repeat(1_500_000));
      default:
        throw Object.create(null);
    }
  });
  const running = worker.run();
  const create = async (input: string) => (await client.create({ kind: "task", input, max_attempts: 1 })).id;
  assert.equal(await result(await create("text")), "half \ufffd, whole 😀");
  const json = JSON.parse(await result(await create("json")));
  assert.deepEqual(json, { "key \ufffd": ["\ufffd", "\\ud800", "\\\ufffd", "é"] });
  assert.equal(await errorMessage(await create("failure")), "half \ufffd");
  assert.equal(await errorMessage(await create("error")), "Error: half \ufffd");
  const long = await errorMessage(await create("long"));
  assert.match(long, /^é+… \(3000000 bytes in all\)$/);
  const length = Buffer.byteLength(long);
  assert.ok(8 * 1024 - 2 <= length && length <= 8 * 1024, `${length}`);
  assert.equal(await errorMessage(await create("mute")), "an error that has no text");
  worker.stop();
  await running;
});

test("a worker for several organizations runs those of the named ones", async () => {
  const own = await Server.begin();
  const acme = new Client(own);
  const manager = new Client({ ...own, token: own.manager });
  await manager.createOrganization({ name: "globex" });
  const { secret } = await manager.createToken({ name: "caller", scopes: ["admin"], organization: "globex" });
  const globex = new Client({ ...own, token: secret });
  const first = await acme.create({ kind: "task" });
  const second = await globex.create({ kind: "task" });
  const end = promise();
  const task = async (attempt: Attempt) => {
    attempt.report("begun");
    await end.fulfilled;
    return attempt.organization;
  };
  const limited = quiet({ organizations: ["globex"], concurrency: 2 }, manager).handle("task", task);
  let running = limited.run();
  await until("progress", async () =>
    (await globex.events(second.id)).find(({ message }) => message === "begun"),
  );
  end.fulfil();
  assert.equal(resultOf(await globex.wait(second.id)), "globex");
  limited.stop();
  await running;
  assert.equal(stateOf(await acme.get(first.id)), "PENDING");
  const everybodys = quiet({}, manager).handle("task", task);
  running = everybodys.run();
  assert.equal(resultOf(await acme.wait(first.id)), "acme");
  everybodys.stop();
  await running;
  await own.end();
});

test("a worker of an impatient client asks for a wait that the server understands", async () => {
  // Two thirds of it are no whole number of milliseconds.
  const worker = quiet({}, new Client({ ...server, timeoutMs: 10_000 })).handle("task", () => "done");
  const running = worker.run();
  const { id } = await client.create({ kind: "task" });
  // A refused claim ends the worker.
  const ended = running.then(() => Promise.reject(new Error("the worker has ended")));
  assert.equal(await Promise.race([result(id), ended]), "done");
  ended.catch(() => {});
  worker.stop();
  await running;
});

/**
 * A client of the real server, with a function that may answer calls itself; it gets their paths and bodies. With
 * `lease`, a worker believes that a lease lasts as long as that; to the server, it lasts 30 s.
 */
function interfering(
  interfere: (path: string, body: string) => Response | undefined,
  { lease = "30s", ...settings }: Partial<Settings> & { lease?: string } = {},
): Client {
  return new Client({
    ...server,
    ...settings,
    fetch: async (input, init) => {
      const { pathname } = new URL(String(input));
      const response = interfere(pathname, String(init?.body)) ?? (await fetch(input, init));
      return pathname.endsWith(":claim") && response.ok
        ? new Response((await response.text()).replace('"30s"', `"${lease}"`))
        : response;
    },
  });
}

const refused = (message: string) => Response.json({ code: Code.InvalidArgument, message }, { status: 400 });

test("an outcome that cannot be sent becomes a failure that says so", async () => {
  const caller = interfering((path, body) =>
    path.endsWith(":settle") && body.includes("unsendable") ? refused("nobody expects this") : undefined,
  );
  const worker = quiet({}, caller).handle("task", ({ input }) => {
    if (input === "fail") {
      throw new Error("unsendable");
    }
    return "unsendable";
  });
  const running = worker.run();
  const told = async (input: string) => errorMessage((await client.create({ kind: "task", input })).id);
  assert.equal(await told("fail"), "the error message was refused: ApiError: nobody expects this");
  assert.equal(await told("end"), "the output was refused: ApiError: nobody expects this");
  worker.stop();
  await running;
});

for (const answer of ["nothing", "404 page not found"]) {
  test(`an outcome is sent until the server answers, even if the lease may be lost: ${answer}`, async () => {
    const awayUntil = performance.now() + 1_000;
    const caller = interfering(
      (path) => {
        if (performance.now() >= awayUntil || !/:(heartbeat|settle)$/.test(path)) {
          return undefined;
        }
        if (answer === "nothing") {
          throw new TypeError("fetch failed");
        }
        return new Response(answer, { status: 404 });
      },
      { lease: "0.3s", retries: 0 },
    );
    const told: string[] = [];
    const warn = (message: string) => told.push(message);
    const worker = new Worker(caller, { warn }).handle("task", ({ number }) => `attempt ${number}`);
    const running = worker.run();
    const { id } = await client.create({ kind: "task", max_attempts: 1 });
    assert.equal(await result(id), "attempt 1");
    assert.ok(told.includes(`could not record the outcome of ${id}, trying again`), told.join("\n"));
    worker.stop();
    await running;
  });
}

test("a worker that has had work outlives a proxy that does not find the server", async () => {
  const missing = () => new Response("404 page not found", { status: 404 });
  let claims = 0;
  const caller = interfering((path) => (path.endsWith(":claim") && ++claims === 2 ? missing() : undefined));
  const worker = quiet({}, caller).handle("task", () => {});
  const running = worker.run();
  for (let round = 0; round < 2; round++) {
    assert.equal(await result((await client.create({ kind: "task" })).id), "");
  }
  worker.stop();
  await running;
  assert.ok(claims >= 3);
  // At first, the address is probably wrong.
  await assert.rejects(quiet({}, interfering(missing)).handle("task", () => {}).run(), /404 page not found/);
});

test("a lost lease and an outcome that was not recorded are told", async () => {
  const told: string[] = [];
  const [lost, kept] = await client.batchCreate([{ kind: "task", input: "lost" }, { kind: "task" }]);
  const [noticed, ended] = [promise(), promise()];
  let calls = 0;
  const caller = interfering((path, body) => {
    calls++;
    if (path.endsWith(":settle")) {
      ended.fulfil();
      throw new TypeError("fetch failed");
    }
    if (!path.endsWith(":heartbeat")) {
      return undefined;
    }
    const error = { code: Code.Aborted, message: "the lease is lost", details: [] };
    const { operations } = JSON.parse(body) as { operations: { id: string }[] };
    return Response.json({ operations: operations.map(({ id }) => ({ id, error })) });
  });
  const settings = { concurrency: 2, drainMs: 100, graceMs: 100, warn: (message: string) => told.push(message) };
  const worker = new Worker(caller, settings).handle("task", async (attempt) => {
    if (attempt.input === "lost") {
      attempt.report("on");
      await aborted(attempt.signal);
      noticed.fulfil();
    }
  });
  const running = worker.run();
  await Promise.all([noticed.fulfilled, ended.fulfilled]);
  worker.stop();
  await running;
  const before = calls;
  assert.ok(told.includes(`the lease of ${lost!.id} was lost; its handler is stopped`), told.join("\n"));
  assert.ok(told.includes(`the outcome of ${kept!.id} was not recorded; its lease expires`), told.join("\n"));
  for (const { id } of [lost!, kept!]) {
    await client.cancel(id);
  }
  // Nothing is sent after the worker has ended.
  assert.equal(calls, before);
});

test("a handler that blocks the event loop is told", async () => {
  const told: string[] = [];
  const settings = { warn: (message: string) => told.push(message) };
  const worker = new Worker(interfering(() => undefined, { lease: "0.3s" }), settings).handle("task", () => {
    const end = performance.now() + 500;
    while (performance.now() < end) {
      // Computes.
    }
  });
  const running = worker.run();
  assert.equal(await result((await client.create({ kind: "task" })).id), "");
  assert.ok(told.some((message) => message.includes("something blocks the event loop")), told.join("\n"));
  worker.stop();
  await running;
});

test("a worker waits no longer for work than a server lets it", async () => {
  const asked = promise();
  let wait: unknown;
  const caller = interfering(
    (_, body) => {
      ({ wait } = JSON.parse(body) as { wait: unknown });
      asked.fulfil();
      return undefined;
    },
    { timeoutMs: Infinity },
  );
  const worker = quiet({ pollWaitMs: 300_000 }, caller).handle("never", () => {});
  const running = worker.run();
  await asked.fulfilled;
  worker.stop();
  await running;
  assert.equal(wait, "60s");
});

test("a worker for no organization is not one for all", () => {
  assert.throws(() => new Worker(client, { organizations: [] }), /organizations is empty/);
});

test("a report that is refused stops no heartbeats", async () => {
  const beats: boolean[] = [];
  const kept = promise();
  const caller = interfering((path, body) => {
    if (!path.endsWith(":heartbeat")) {
      return undefined;
    }
    const hasProgress = body.includes("progress");
    beats.push(hasProgress);
    if (hasProgress) {
      return refused("no such progress");
    }
    kept.fulfil();
    return undefined;
  });
  const worker = quiet({}, caller).handle("task", async (attempt) => {
    attempt.report("x");
    await kept.fulfilled;
    return `attempt ${attempt.number}`;
  });
  const running = worker.run();
  assert.equal(await result((await client.create({ kind: "task" })).id), "attempt 1");
  assert.deepEqual(beats, [true, false]);
  worker.stop();
  await running;
});

test("a cancellation reaches the handler, and what it had done by then counts", async () => {
  // Heartbeats, which tell of it, come every two seconds.
  const own = await Server.begin({ LONGRUN_ENGINE_LEASE: "6s" });
  const caller = new Client(own);
  const reasons: unknown[] = [];
  const started = [promise(), promise()];
  const worker = quiet({ concurrency: 2 }, caller)
    .handle("task", async ({ signal }) => {
      started[0]?.fulfil();
      await aborted(signal);
      reasons.push(signal.reason);
      signal.throwIfAborted();
    })
    .handle("walk", async ({ signal }) => {
      started[1]?.fulfil();
      await aborted(signal);
      return "done all the same";
    });
  const running = worker.run();
  const [task, walk] = await caller.batchCreate([{ kind: "task" }, { kind: "walk" }]);
  await Promise.all(started.map(({ fulfilled }) => fulfilled));
  for (const { id } of [task!, walk!]) {
    assert.equal(stateOf(await caller.cancel(id)), "RUNNING");
  }
  assert.equal((await caller.wait(task!.id)).error_message, "cancelled");
  assert.equal(resultOf(await caller.wait(walk!.id)), "done all the same");
  assert.ok(reasons[0] instanceof CancelledError && reasons[0].reason === "cancelled");
  worker.stop();
  await running;
  await own.end();
});

test("progress comes into the history within seconds", async () => {
  const end = promise();
  const reports: Record<string, string> = { long: "é".repeat(1000), half: "half \ud83d" };
  const worker = quiet({ concurrency: 2 }).handle("task", async ({ input, report }) => {
    report(reports[String(input)]!);
    await end.fulfilled;
  });
  const running = worker.run();
  const [long, half] = await client.batchCreate([
    { kind: "task", input: "long" },
    { kind: "task", input: "half" },
  ]);
  const shown = async (id: string, text: string) => (await client.events(id)).some(({ message }) => message === text);
  // A lease is 30 s: a heartbeat of its own would come after ten.
  await until("progress", () => shown(long!.id, "é".repeat(512)));
  await until("progress", () => shown(half!.id, "half \ufffd"));
  end.fulfil();
  assert.equal(await result(long!.id), "");
  worker.stop();
  await running;
});

test("an attempt ends with its time", async () => {
  const worker = quiet().handle("task", ({ signal }) => aborted(signal));
  const running = worker.run();
  const { id } = await client.create({ kind: "task", timeout: "0.2s", max_attempts: 1 });
  assert.equal(await errorMessage(id), "timed out after 0.2 s");
  worker.stop();
  await running;
});

test("heartbeats keep attempts for longer than a lease", async () => {
  const own = await Server.begin({ LONGRUN_ENGINE_LEASE: "3s" });
  const caller = new Client(own);
  // What is tested is that time passes: two leases and a bit.
  const worker = quiet({ concurrency: 2 }, caller).handle("task", async ({ number }) => {
    await new Promise((resolve) => setTimeout(resolve, 6_500));
    return `attempt ${number}`;
  });
  const running = worker.run();
  for (const { id } of await caller.batchCreate([{ kind: "task" }, { kind: "task" }])) {
    assert.equal(resultOf(await caller.wait(id)), "attempt 1");
  }
  worker.stop();
  await running;
  await own.end();
});

test("a worker outlives a server that is killed", async () => {
  const own = await Server.begin();
  const caller = new Client(own);
  const [started, end] = [promise(), promise()];
  const worker = quiet({}, caller).handle("task", async ({ number }) => {
    started.fulfil();
    await end.fulfilled;
    return `attempt ${number}`;
  });
  const running = worker.run();
  const first = await caller.create({ kind: "task" });
  await started.fulfilled;
  await own.kill();
  // It ends while nobody is there to be told.
  end.fulfil();
  await own.start();
  const second = await caller.create({ kind: "task" });
  for (const { id } of [first, second]) {
    assert.equal(resultOf(await caller.wait(id)), "attempt 1");
  }
  worker.stop();
  await running;
  await own.end();
});

test("a worker that is stopped finishes or releases what it holds", async () => {
  const end = promise();
  const started = [promise(), promise()];
  const worker = quiet({ concurrency: 2, drainMs: 1_000 }).handle("task", async ({ input, signal }) => {
    if (input === "slow") {
      started[0]?.fulfil();
      await aborted(signal);
      signal.throwIfAborted();
    }
    started[1]?.fulfil();
    await end.fulfilled;
    return "finished";
  });
  const running = worker.run();
  const quick = await client.create({ kind: "task" });
  const slow = await client.create({ kind: "task", input: "slow" });
  await Promise.all(started.map(({ fulfilled }) => fulfilled));
  const later = await client.create({ kind: "task" });
  worker.stop();
  end.fulfil();
  await running;
  assert.equal(resultOf(await client.get(quick.id)), "finished");
  assert.equal((await client.events(slow.id)).at(-1)?.type, "ATTEMPT_RELEASED");
  for (const { id } of [slow, later]) {
    assert.equal(stateOf(await client.get(id)), "PENDING");
    await client.cancel(id);
  }
});

test("a worker that is stopped while work arrives runs it", async () => {
  const [begun, stopped] = [promise(), promise()];
  const { id } = await client.create({ kind: "task", max_attempts: 1 });
  const slowly = async (input: Parameters<typeof fetch>[0], init?: RequestInit) => {
    const response = await fetch(input, init);
    if (!String(input).endsWith(":claim")) {
      return response;
    }
    const content = new Uint8Array(await response.arrayBuffer());
    let isFirst = true;
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
      if (isFirst) {
        isFirst = false;
        controller.enqueue(content.slice(0, 1));
        begun.fulfil();
        return;
      }
      await stopped.fulfilled;
      init!.signal!.throwIfAborted();
      controller.enqueue(content.slice(1));
      controller.close();
    };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  };
  const worker = quiet({}, new Client({ ...server, fetch: slowly })).handle("task", ({ number }) => `attempt ${number}`);
  const running = worker.run();
  await begun.fulfilled;
  worker.stop();
  stopped.fulfil();
  await running;
  assert.equal(resultOf(await client.get(id)), "attempt 1");
});

test("a worker that is stopped twice does not wait out the drain time", async () => {
  const started = promise();
  const worker = quiet({ drainMs: 600_000 }).handle("task", async ({ signal }) => {
    started.fulfil();
    await aborted(signal);
    signal.throwIfAborted();
  });
  const running = worker.run();
  const { id } = await client.create({ kind: "task" });
  await started.fulfilled;
  worker.stop();
  worker.stop();
  await running;
  assert.equal(stateOf(await client.get(id)), "PENDING");
  await client.cancel(id);
});

test("a worker that gets no work says why", async () => {
  const worker = quiet().handle("evidence_evaluation", () => {});
  await assert.rejects(worker.run(), (error) => error instanceof ApiError && /evidence_evaluation/.test(error.message));
});
