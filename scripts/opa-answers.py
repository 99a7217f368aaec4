#!/usr/bin/env python3
"""Asks OPA for what the expressions in crates/evidence/tests/opa/answers.jsonl come to, and writes the answers down.

    scripts/opa-answers.py [FOLDER]

A line of the file is a list: an expression, and what OPA answers (null for a new one). OPA comes from the package
opa-golib-python-bindings; FOLDER is where its wheel is unpacked. Without it, it is fetched with pip into target/opa.
"""

import json
import multiprocessing
import pathlib
import queue
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "crates/evidence/tests/opa/answers.jsonl"
# The version whose OPA is 1.20. Its wheel asks for a newer Python than it needs.
PACKAGE = "opa-golib-python-bindings==0.4.4"
# OPA never ends on some expressions.
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


def ask(module: str, answers) -> None:
    from opa_bindings import OpaEngine

    try:
        with OpaEngine() as engine:
            engine.add_policy("expressions.rego", module)
            answers.put(engine.eval_document("expressions", {}))
    except Exception as error:
        answers.put("error: " + str(error).replace("\n", " ")[:150])


def evaluate(expressions: list[str], numbers: list[int], found: dict[int, object]) -> None:
    rules = [
        f'v{n} := {expressions[n]}\na{n} := {{"value": v{n}, "type": type_name(v{n})}}' for n in numbers
    ]
    answers = multiprocessing.Queue()
    process = multiprocessing.Process(target=ask, args=("package expressions\nimport rego.v1\n" + "\n".join(rules), answers))
    process.start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        answer = "error: hangs"
    process.kill()
    process.join()
    if isinstance(answer, dict):
        for n in numbers:
            found[n] = answer.get(f"a{n}", "undefined")
    elif len(numbers) == 1:
        found[numbers[0]] = answer
    else:
        # One that does not compile takes the others with it.
        half = len(numbers) // 2
        evaluate(expressions, numbers[:half], found)
        evaluate(expressions, numbers[half:], found)


def main() -> None:
    sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else str(fetch()))
    expressions = [json.loads(line)[0] for line in ANSWERS.read_text().splitlines()]
    found: dict[int, object] = {}
    for start in range(0, len(expressions), 100):
        evaluate(expressions, list(range(start, min(start + 100, len(expressions)))), found)
    lines = [json.dumps([text, found[n]], ensure_ascii=False) for n, text in enumerate(expressions)]
    ANSWERS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
