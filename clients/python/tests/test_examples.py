"""The examples, run as their first lines say."""

from __future__ import annotations

import os
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
