"""How do I start work and wait for its result?

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_... python how_do_i_wait_for_a_result.py "to be or not to be"

Something must run operations of the kind "word_count": how_do_i_run_operations.py does.
"""

import sys

from longrun import Client, OperationFailed

with Client.from_env() as client:
    # The call is repeated if the answer is lost; its idempotency key keeps that from creating two operations.
    operation = client.create("word_count", input=sys.argv[1], max_attempts=3)
    try:
        print(client.wait(operation.id, timeout=60).result())
    except OperationFailed as failed:
        sys.exit(failed.operation.error_message)
