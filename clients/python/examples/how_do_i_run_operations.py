"""How do I run operations?

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_... python how_do_i_run_operations.py

SIGTERM or Ctrl-C ends it gracefully: it stops claiming, and running attempts may end within half a minute.
"""

from longrun import Attempt, Client, Failure, Worker

client = Client.from_env()
worker = Worker(client, concurrency=4)


@worker.handler("word_count")
def count_words(attempt: Attempt) -> str:
    if not isinstance(attempt.input, str):
        # Another attempt would only fail again. Every other exception is retried.
        raise Failure("the input must be a text")
    words = 0
    for number, line in enumerate(attempt.input.splitlines(), start=1):
        attempt.raise_if_cancelled()
        words += len(line.split())
        attempt.report(f"{number} lines")
    return f"{words} words"


worker.run()
