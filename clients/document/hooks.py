"""Nobody waits for long in a test: every wait that is valid becomes a short one."""

import re
from typing import Any

import schemathesis

DURATION = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    for place, name in ((case.body, "wait"), (case.query, "timeout")):
        if isinstance(place, dict) and isinstance(place.get(name), str) and DURATION.fullmatch(place[name]):
            place[name] = "0.1s"
