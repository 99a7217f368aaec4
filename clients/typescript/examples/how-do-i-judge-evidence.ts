// How do I evaluate a piece of evidence with a policy?
//
//     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_… \
//         node how-do-i-judge-evidence.js findings.sarif.json sarif-severity-ceiling

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Client, resultOf } from "longrun";

const [path, policy] = process.argv.slice(2) as [string, string];
const client = new Client({ url: process.env.LONGRUN_URL!, token: process.env.LONGRUN_TOKEN! });

const stored = await client.putEvidence(new Uint8Array(readFileSync(path)));
const request = { digest: stored.digest, name: basename(path), policies: [{ ref: policy }] };
const evaluation = await client.evaluateEvidence(request);
const verdict = JSON.parse(resultOf(await client.wait(evaluation, { timeoutMs: 300_000 })));

console.log(stored.kind, verdict.status);
for (const { name, violations } of verdict.policies) {
  for (const { message } of violations) {
    console.log(`  ${name}: ${message}`);
  }
}
// `skipped` is not a pass: nothing was evaluated.
process.exitCode = verdict.status === "passed" ? 0 : 1;
