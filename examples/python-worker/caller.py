"""How do I start an operation from Python and get its output?

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=... python3 caller.py "to be or not to be"
"""

import sys
import time
import uuid

from longrun import Refused, call


def main():
    body = {"kind": "word_count", "input": " ".join(sys.argv[1:])}
    # With a key of its own the call can be repeated without starting a second operation.
    key = {"Idempotency-Key": str(uuid.uuid4())}
    try:
        operation = call("POST", "/v1/operations", body, key)["operation"]
    except Refused as refused:
        sys.exit(f"refused: {refused}")
    while operation["status"] not in ("ASYNC_OPERATION_STATUS_COMPLETED", "ASYNC_OPERATION_STATUS_FAILED"):
        time.sleep(0.2)
        operation = call("GET", "/v1/operations/" + operation["id"])["operation"]
    if operation["status"] == "ASYNC_OPERATION_STATUS_FAILED":
        sys.exit("failed: " + operation["error_message"])
    print(operation["output"])


if __name__ == "__main__":
    main()
