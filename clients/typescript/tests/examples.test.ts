// The examples, run as their first lines say, and what the README shows.

import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, resultOf } from "longrun";
import { ROOT, Server, until } from "./server.js";

const EXAMPLES = fileURLToPath(new URL("../examples/", import.meta.url));
/** Within the package, so that what is written there finds it by its name. */
const SHOWN = fileURLToPath(new URL("../shown/", import.meta.url));

let server: Server;
before(async () => {
  server = await Server.begin();
});
after(() => server.end());

function start(name: string, ...args: string[]): ChildProcess {
  const env = { ...process.env, LONGRUN_URL: server.url, LONGRUN_TOKEN: server.token };
  return spawn(process.execPath, [join(EXAMPLES, `${name}.js`), ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
}

async function ended(child: ChildProcess): Promise<[number, string]> {
  let text = "";
  child.stdout!.on("data", (data) => (text += data));
  child.stderr!.on("data", (data) => (text += data));
  const [code] = (await once(child, "close")) as [number];
  return [code, text.trim()];
}

/** Compiles the programs that a text shows, for this server; answers how to start them. */
function shown(file: string): (() => ChildProcess)[] {
  const programs = [...readFileSync(join(ROOT, file), "utf8").matchAll(/```ts\n(.*?)```/gs)].map(([, program]) => program!);
  const folder = join(SHOWN, file.replaceAll(/\W/g, "-"));
  mkdirSync(folder, { recursive: true });
  programs.forEach((program, index) => {
    const here = program.replace("http://127.0.0.1:8080", server.url).replace("lrn_…", server.token);
    writeFileSync(join(folder, `${index}.ts`), here);
  });
  const own = { rootDir: ".", outDir: "js" };
  const project = { extends: join(ROOT, "clients/typescript/tsconfig.json"), compilerOptions: own, include: ["*.ts"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
  const compiler = join(ROOT, "clients/typescript/node_modules/.bin/tsc");
  execFileSync(compiler, ["-p", folder], { stdio: ["ignore", "inherit", "inherit"] });
  return programs.map((_, index) => () => {
    return spawn(process.execPath, [join(folder, "js", `${index}.js`)], { stdio: ["ignore", "pipe", "pipe"] });
  });
}

for (const file of ["clients/typescript/README.md", "docs/clients.md"]) {
  test(`what ${file} shows to callers runs`, async () => {
    const client = new Client(server);
    const end = ended(shown(file)[0]!());
    const claimed = await until("it calls", async () => {
      const { operations } = await client.claim({ kinds: ["export"], waitMs: 10_000 });
      return operations[0];
    });
    assert.deepEqual(claimed.input, { format: "csv" });
    await client.settle([{ id: claimed.operation.id, lease_token: claimed.lease_token, output: "42 rows" }]);
    assert.deepEqual(await end, [0, "42 rows"]);
  });
}

test("what the README shows to workers runs", async () => {
  const client = new Client(server);
  const working = shown("clients/typescript/README.md")[1]!();
  const end = ended(working);
  const good = await client.create({ kind: "thumbnail", input: { image: `${server.url}/openapi.json` } });
  const bad = await client.create({ kind: "thumbnail", input: {} });
  assert.match(resultOf(await client.wait(good.id)), /^\{"bytes":\d+\}$/);
  assert.equal((await client.wait(bad.id)).error_message, "the input names no image");
  working.kill("SIGTERM");
  assert.deepEqual(await end, [0, ""]);
});

test("a worker counts words for a caller and ends in good order", async () => {
  const working = start("how-do-i-run-operations");
  const end = ended(working);
  assert.deepEqual(await ended(start("how-do-i-wait-for-a-result", "to be or not to be")), [0, "6 words"]);
  working.kill("SIGTERM");
  assert.deepEqual(await end, [0, ""]);
});

test("what happens is followed over two lives", async () => {
  const folder = mkdtempSync(join(tmpdir(), "longrun-"));
  const place = join(folder, "place.txt");
  const client = new Client(server);
  const watch = await client.watch();
  await client.create({ kind: "never" });
  writeFileSync(place, (await watch.next()).value!.id);
  await watch.return();
  for (let life = 0; life < 2; life++) {
    const { id } = await client.create({ kind: "never" });
    const before = readFileSync(place, "utf8");
    const following = start("how-do-i-follow-what-happens", place);
    const [line] = (await once(createInterface(following.stdout!), "line")) as [string];
    assert.equal(line, `${id} PENDING`);
    await until("the place is kept", () => !["", before].includes(readFileSync(place, "utf8")));
    following.kill("SIGKILL");
    await once(following, "close");
  }
  rmSync(folder, { recursive: true });
});

test("what happens is followed from the list on where the position is unknown", async () => {
  const folder = mkdtempSync(join(tmpdir(), "longrun-"));
  const place = join(folder, "place.txt");
  writeFileSync(place, "made up");
  const client = new Client(server);
  const { id } = await client.create({ kind: "never" });
  const following = start("how-do-i-follow-what-happens", place);
  const lines = createInterface(following.stdout!)[Symbol.asyncIterator]();
  const told = (line: string) => until(line, async () => (await lines.next()).value === line);
  await told(`${id} PENDING`);
  // It watches since before the list.
  await client.cancel(id);
  await told(`${id} FAILED`);
  await until("the place is kept", () => readFileSync(place, "utf8") !== "made up");
  following.kill("SIGKILL");
  await once(following, "close");
  rmSync(folder, { recursive: true });
});

test("evidence is judged", async () => {
  const judge = (path: string) => ended(start("how-do-i-judge-evidence", join(ROOT, path), "sarif-severity-ceiling"));
  assert.deepEqual(await judge("examples/evidence/longrun.sarif.json"), [0, "SARIF passed"]);
  const [code, text] = await judge("examples/policies/sarif-severity-ceiling/evidence/findings.sarif.json");
  assert.equal(code, 1);
  assert.match(text, /^SARIF failed\n {2}sarif-severity-ceiling: examplelint reports E100/);
});
