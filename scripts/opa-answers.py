#!/usr/bin/env python3
"""Evaluates the expressions in crates/evidence/tests/opa/answers.jsonl and builtins.jsonl, and the rules in rules.jsonl
next to them, with OPA, and writes the answers into these files. The same for the cases of the example policies, in
examples.jsonl: what is asked about them is written to target/opa/questions.jsonl by

    UPDATE_OPA=1 cargo test -p evidence example_policies_come

    scripts/opa-answers.py [FOLDER]

Each line is a list: an expression, or rules that define `value`, and the answer of OPA (null for a new one); or a policy,
a case, the digest of what was asked, and the verdict. OPA comes
from the package opa-golib-python-bindings; FOLDER is where its wheel is unpacked. Without FOLDER, pip downloads it into
target/opa.
"""

import hashlib
import json
import multiprocessing
import pathlib
import queue
import re
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "crates/evidence/tests/opa/answers.jsonl"
BUILTINS = ROOT / "crates/evidence/tests/opa/builtins.jsonl"
RULES = ROOT / "crates/evidence/tests/opa/rules.jsonl"
EXAMPLES = ROOT / "crates/evidence/tests/opa/examples.jsonl"
QUESTIONS = ROOT / "target/opa/questions.jsonl"
# The rules that a policy may omit, as in crates/evidence/src/rego/boilerplate.rs.
BOILERPLATE = {
    "skip_reason": 'default skip_reason := ""',
    "skipped": "default skipped := true\nskipped := false if valid_input",
    "valid_input": "default valid_input := true",
    "ignore": "default ignore := false",
    "violations": "default violations := []",
    "findings": "default findings := []",
    "result": 'result := {"skipped": skipped, "violations": violations, "findings": findings, "ignore": ignore}',
}
# The version that contains OPA 1.20. Its wheel demands a newer Python than it needs.
PACKAGE = "opa-golib-python-bindings==0.4.4"
# In seconds: OPA never ends on some expressions.
PATIENCE = 6


def fetch() -> pathlib.Path:
    folder = ROOT / "target/opa"
    if not (folder / "opa_bindings").is_dir():
        wheel = ["--only-binary=:all:", "--python-version=3.14", "--platform=manylinux_2_34_x86_64"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), *wheel, PACKAGE]
        subprocess.run(command, check=True)
        for archive in folder.glob("*.whl"):
            zipfile.ZipFile(archive).extractall(folder)
    return folder


def ask(modules: list[str], answers) -> None:
    from opa_bindings import OpaEngine

    try:
        with OpaEngine() as engine:
            for number, module in enumerate(modules):
                engine.add_policy(f"m{number}.rego", f"package m{number}\nimport rego.v1\n{module}")
            answers.put([engine.eval_document(f"m{number}", {}) for number in range(len(modules))])
    except Exception as error:
        answers.put("error: " + str(error).replace("\n", " ")[:150])


def evaluate(rules: list[str], numbers: list[int], found: dict[int, object]) -> None:
    modules = [rules[n] + '\nanswer := {"value": value, "type": type_name(value)}' for n in numbers]
    answers = multiprocessing.Queue()
    process = multiprocessing.Process(target=ask, args=(modules, answers))
    process.start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        answer = "error: hangs"
    process.kill()
    process.join()
    if isinstance(answer, list):
        for n, document in zip(numbers, answer):
            found[n] = document.get("answer", "undefined")
    elif len(numbers) == 1:
        found[numbers[0]] = answer
    else:
        # One that does not compile makes the others fail too.
        half = len(numbers) // 2
        evaluate(rules, numbers[:half], found)
        evaluate(rules, numbers[half:], found)


def renew(file: pathlib.Path, rules_of) -> None:
    texts = [json.loads(line)[0] for line in file.read_text().splitlines()]
    rules = [rules_of(text) for text in texts]
    found: dict[int, object] = {}
    for start in range(0, len(rules), 100):
        evaluate(rules, list(range(start, min(start + 100, len(rules)))), found)
    lines = [json.dumps([text, found[n]], ensure_ascii=False) for n, text in enumerate(texts)]
    file.write_text("\n".join(lines) + "\n")


def run(script: str, given: object) -> dict:
    from opa_bindings import OpaEngine

    for name, rule in BOILERPLATE.items():
        if not re.search(rf"(?m)^(default )?{name}\b", script):
            script += f"\n{rule}\n"
    package = re.search(r"(?m)^package\s+(\S+)", script)
    assert package
    with OpaEngine() as engine:
        engine.add_policy("policy.rego", script)
        return engine.eval_document(package[1].replace(".", "/"), given)["result"]


def verdict(runs: list[dict]) -> dict:
    results = [run(each["script"], each["input"]) for each in runs]
    results = [result for result in results if not result.get("ignore")]
    objections = [text for result in results for text in result.get("findings") or result.get("violations", [])]
    found = {text if isinstance(text, str) else text["message"] for text in objections}
    if all(result["skipped"] for result in results):
        return {"status": "skipped", "violations": len(found)}
    return {"status": "failed" if found else "passed", "violations": len(found)}


def renew_examples() -> None:
    lines = []
    for line in QUESTIONS.read_text().splitlines():
        question = json.loads(line)
        try:
            answer = verdict(question["runs"])
        except Exception as error:
            answer = "error: " + str(error).replace("\n", " ")[:150]
        asked = "sha256:" + hashlib.sha256(line.encode()).hexdigest()
        lines.append(json.dumps([question["policy"], question["case"], asked, answer], ensure_ascii=False))
    EXAMPLES.write_text("\n".join(lines) + "\n")


def main() -> None:
    sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else str(fetch()))
    renew(ANSWERS, lambda expression: f"value := {expression}")
    renew(BUILTINS, lambda expression: f"value := {expression}")
    renew(RULES, lambda rules: rules)
    if QUESTIONS.is_file():
        renew_examples()


if __name__ == "__main__":
    main()
