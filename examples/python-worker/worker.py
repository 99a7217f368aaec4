"""How do I run operations in Python? A worker for the kind "word_count", with only the standard library.

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=... python3 worker.py

It runs one operation at a time, renews its lease by heartbeats from a second thread, and stops in good order at
SIGTERM: it finishes the running operation and claims nothing more. Start several workers to run more at a time.
"""

import signal
import threading

from longrun import Refused, call

KINDS = ["word_count"]


class Attempt:
    """One attempt of an operation. `cancelled` is set when its result is no longer wanted."""

    def __init__(self, claimed, lease_seconds):
        self.operation = claimed["operation"]
        self.input = claimed["input"]
        self.key = {"id": self.operation["id"], "lease_token": claimed["lease_token"]}
        self.cancelled = threading.Event()
        self.is_lost = False
        self.progress = None
        self._ended = threading.Event()
        self._heartbeats = threading.Thread(target=self._keep, args=[lease_seconds / 3], daemon=True)
        self._heartbeats.start()

    def _keep(self, seconds):
        while not self._ended.wait(seconds):
            row = dict(self.key)
            if self.progress:
                row["progress"] = self.progress
            [answer] = call("POST", "/v1/operations:heartbeat", {"operations": [row]}, timeout=seconds)["operations"]
            if "error" in answer:
                self.is_lost = True  # Another worker has it: the result will be refused.
            if self.is_lost or answer["cancel_requested"]:
                self.cancelled.set()
                return

    def settle(self, **outcome):
        """Ends the attempt: output=..., or error_message=... with retryable=..., or release=True."""
        self._ended.set()
        self._heartbeats.join()
        if self.is_lost:
            return
        [answer] = call("POST", "/v1/operations:settle", {"results": [{**self.key, **outcome}]})["results"]
        print(self.operation["id"], answer.get("status") or answer.get("error"), flush=True)


def count_words(attempt):
    """The work itself: from the input to the output, a string."""
    if not isinstance(attempt.input, str):
        raise ValueError("the input must be a text")
    words = 0
    for number, line in enumerate(attempt.input.splitlines(), start=1):
        if attempt.cancelled.is_set():
            raise RuntimeError("cancelled")
        attempt.progress = f"line {number}"
        words += len(line.split())
    return str(words)


def main():
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print("working", flush=True)
    while not stop.is_set():
        # The server holds the call until there is work; after a signal the worker ends after this wait at the latest.
        claims = call("POST", "/v1/operations:claim", {"kinds": KINDS, "max_operations": 1, "wait": "5s"})
        for claimed in claims["operations"]:
            attempt = Attempt(claimed, float(claims["lease_duration"].rstrip("s")))
            try:
                attempt.settle(output=count_words(attempt))
            except ValueError as error:  # Another attempt would only repeat it.
                attempt.settle(error_message=str(error), retryable=False)
            except Refused:
                raise
            except Exception as error:
                attempt.settle(error_message=str(error), retryable=True)
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
