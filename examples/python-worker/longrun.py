"""The code that the worker and the caller share: one API call, repeated while the server is busy or unreachable."""

import json
import os
import random
import time
import urllib.error
import urllib.request

URL = os.environ.get("LONGRUN_URL", "http://127.0.0.1:8080").rstrip("/")
TOKEN = os.environ.get("LONGRUN_TOKEN", "")


class Refused(Exception):
    """The server understood the call and refused it; `status` is a google.rpc.Status."""

    def __init__(self, status):
        super().__init__(status.get("message", "refused"))
        self.status = status


def call(method, path, body=None, headers=None, timeout=90):
    """Sends a call and returns the JSON of the answer. Every call here can be sent twice without harm."""
    data = None if body is None else json.dumps(body).encode()
    for repetition in range(1000):
        request = urllib.request.Request(URL + path, data=data, method=method)
        request.add_header("Authorization", "Bearer " + TOKEN)
        request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        pause = min(0.2 * 2**repetition, 30) * random.uniform(0.5, 1)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read()
            if error.code != 429 and error.code < 500:
                raise Refused(json.loads(text)) from None
            pause = float(error.headers.get("Retry-After") or pause)
        except OSError:
            pass  # The server is unreachable, or the connection broke.
        time.sleep(pause)
    raise TimeoutError(f"{URL} does not answer")
