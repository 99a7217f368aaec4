"""The examples, run as their first lines say, and what the README shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from server import PATIENCE, ROOT, Server, until

import longrun

EXAMPLES = Path(__file__).parents[1] / "examples"


def start(server: Server, name: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "LONGRUN_URL": server.url,
        "LONGRUN_TOKEN": server.token,
        "PYTHONPATH": str(EXAMPLES.parent / "src"),
    }
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(server: Server, name: str, *arguments: str) -> tuple[int, str]:
    with start(server, name, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    return process.returncode, (out or err).strip()


def shown(server: Server, file: Path, folder: Path) -> list[Path]:
    """The programs that a text shows, written into the folder, for this server."""
    programs = []
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", file.read_text(), re.DOTALL)):
        programs.append(folder / f"{number}.py")
        programs[-1].write_text(program.replace("http://127.0.0.1:8080", server.url).replace("lrn_…", server.token))
    return programs


@pytest.mark.parametrize("file", ["clients/python/README.md", "docs/clients.md"])
def test_what_is_shown_to_callers_runs(server: Server, tmp_path: Path, file: str) -> None:
    caller = shown(server, ROOT / file, tmp_path)[0]
    with start(server, str(caller)) as calling, longrun.Client(server.url, server.token) as client:
        [claimed] = until("it calls", lambda: client.claim(["export"], wait=10).operations)
        assert claimed.input == {"format": "csv"}
        client.settle([{"id": claimed.operation.id, "lease_token": claimed.lease_token, "output": "42 rows"}])
        out, err = calling.communicate(timeout=PATIENCE)
        assert (calling.returncode, out, err) == (0, "42 rows\n", "")


def test_what_is_shown_to_workers_runs(server: Server, tmp_path: Path) -> None:
    worker = shown(server, ROOT / "clients/python/README.md", tmp_path)[1]
    with start(server, str(worker)) as working, longrun.Client(server.url, server.token) as client:
        good = client.create("thumbnail", input={"images": ["a", "b"]})
        bad = client.create("thumbnail", input={})
        assert json.loads(client.wait(good.id, timeout=PATIENCE).result()) == {"images": 2}
        assert client.wait(bad.id, timeout=PATIENCE).error_message == "the input names no images"
        working.send_signal(signal.SIGTERM)
        out, err = working.communicate(timeout=PATIENCE)
        assert (working.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("worker", ["how_do_i_run_operations.py", "how_do_i_run_operations_with_asyncio.py"])
def test_a_worker_counts_words_for_a_caller_and_ends_in_good_order(server: Server, worker: str) -> None:
    with start(server, worker) as working:
        assert run(server, "how_do_i_wait_for_a_result.py", "to be or not to be") == (0, "6 words")
        working.send_signal(signal.SIGTERM)
        out, err = working.communicate(timeout=PATIENCE)
        assert (working.returncode, out, err) == (0, "", "")


def is_kept(place: Path, before: str) -> bool:
    return place.read_text() not in ("", before)


def test_what_happens_is_followed_over_two_lives(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "place.txt"
    with longrun.Client(server.url, server.token) as client:
        with client.watch() as watch:
            client.create("never")
            place.write_text(next(watch).id)
        for _ in range(2):
            operation = client.create("never")
            before = place.read_text()
            with start(server, "how_do_i_follow_what_happens.py", str(place)) as following:
                assert following.stdout is not None
                assert following.stdout.readline() == f"{operation.id} PENDING\n"
                until("the place is kept", partial(is_kept, place, before))
                following.kill()


def test_what_happens_is_followed_from_the_list_on_where_the_position_is_unknown(
    server: Server, tmp_path: Path
) -> None:
    place = tmp_path / "place.txt"
    place.write_text("made up")
    with longrun.Client(server.url, server.token) as client:
        before = client.create("never")
        with start(server, "how_do_i_follow_what_happens.py", str(place)) as following:
            assert following.stdout is not None
            assert f"{before.id} PENDING\n" in following.stdout
            # It watches since before the list.
            client.cancel(before.id)
            assert f"{before.id} FAILED\n" in following.stdout
            until("the place is kept", partial(is_kept, place, "made up"))
            following.kill()


def test_evidence_is_judged(server: Server) -> None:
    example = "how_do_i_judge_evidence.py"
    passing = ROOT / "examples/evidence/longrun.sarif.json"
    assert run(server, example, str(passing), "sarif-severity-ceiling") == (0, "SARIF passed")
    failing = ROOT / "examples/policies/sarif-severity-ceiling/evidence/findings.sarif.json"
    code, out = run(server, example, str(failing), "sarif-severity-ceiling")
    assert code == 1 and out.startswith("SARIF failed\n  sarif-severity-ceiling: examplelint reports E100")
