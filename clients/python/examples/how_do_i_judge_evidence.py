"""How do I evaluate a piece of evidence with a policy?

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_... \\
        python how_do_i_judge_evidence.py findings.sarif.json sarif-severity-ceiling
"""

import json
import sys
from pathlib import Path

from longrun import Client

path, policy = Path(sys.argv[1]), sys.argv[2]

with Client.from_env() as client:
    stored = client.put_evidence(path.read_bytes())
    evaluation = client.evaluate_evidence(stored.digest, name=path.name, policies=[{"ref": policy}])
    verdict = json.loads(client.wait(evaluation, timeout=300).result())

print(stored.kind, verdict["status"])
for judged in verdict["policies"]:
    for violation in judged["violations"]:
        print(f"  {judged['name']}: {violation['message']}")
# `skipped` is not a pass: nothing was evaluated.
sys.exit(0 if verdict["status"] == "passed" else 1)
