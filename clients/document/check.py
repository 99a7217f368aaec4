"""Tests a server by its OpenAPI document: `make document-check` runs this with each store.

    check.py [--examples N] [--store URL]

Schemathesis sends what the document allows and what it does not, call by call and in sequences, and checks the answers.
Then a client that `openapi-python-client` generates from the document creates, lists, reads and cancels an operation.
At last Schemathesis manages with a token of the instance, which may delete what the others have used.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python" / "tests"))

from server import Server  # noqa: E402

#: The calls that a token of the instance may make.
MANAGEMENT = "^/v1/(organizations|tokens|audit|sessions)"
#: Where what is installed with this interpreter is.
PROGRAMS = Path(sys.executable).parent

USE = """
import sys
from longrun_client import AuthenticatedClient
from longrun_client.api.async_operations_service import (
    async_operations_service_cancel_operation as cancel,
    async_operations_service_create_operation as create,
    async_operations_service_get_operation as get,
    async_operations_service_list_operations as list_,
)
from longrun_client.models import CreateOperation, Status

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
created = create.sync(client=client, body=CreateOperation(kind="task", input_={"n": 1}, project_id="generated"))
assert not isinstance(created, Status), created
assert get.sync(str(created.operation.id), client=client) == created
page = list_.sync(client=client, kind="task", pagination_page_size=1)
assert page.operations[0].id == created.operation.id and page.pagination.page_size == 1, page
assert cancel.sync(str(created.operation.id), client=client).operation.error_message == "cancelled"
unknown = get.sync("no-such-id", client=client)
assert isinstance(unknown, Status) and unknown.code == 5, unknown
"""


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", default="50", help="how many requests of each kind at most")
    parser.add_argument("--store", default="sqlite:longrun.db")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Server(folder, LONGRUN_STORE=arguments.store) as server:
            config = ["--config-file", str(HERE / "schemathesis.toml")]
            asked = ["run", f"{server.url}/openapi.json", "--max-examples", arguments.examples, "--no-color"]
            [own] = server.run("token", "list", "--organization", "acme", "-o", "id").split()
            environment = os.environ | {"LONGRUN_TOKEN": server.token, "PYTHONPATH": str(HERE)}
            environment["LONGRUN_TOKEN_ID"] = own
            command = [str(PROGRAMS / "schemathesis"), *config, *asked]
            failed = subprocess.run(command, env=environment, cwd=folder).returncode
            generate = [str(PROGRAMS / "openapi-python-client"), "generate", "--fail-on-warning", "--meta", "none"]
            generate += ["--url", f"{server.url}/openapi.json", "--output-path", str(folder / "longrun_client")]
            subprocess.run(generate, check=True, cwd=folder)
            use = [sys.executable, "-c", USE, server.url, server.token]
            subprocess.run(use, check=True, env=os.environ | {"PYTHONPATH": str(folder)})
            print("the generated client works")
            managing = [*command, "--include-path-regex", MANAGEMENT]
            managed = subprocess.run(managing, env=environment | {"LONGRUN_TOKEN": server.manager}, cwd=folder)
            failed = failed or managed.returncode
    sys.exit(failed)


if __name__ == "__main__":
    main()
