"""How do I follow what happens, and miss nothing while my program is away?

    LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_... python how_do_i_follow_what_happens.py place.txt

The position in the stream is stored in a file; the next run continues from there.
"""

import sys
from pathlib import Path

from longrun import Client, EventIdUnknown

place = Path(sys.argv[1])


def keep(position: str) -> None:
    # A program that is killed here leaves the old position or the new one, and no empty file.
    new = place.with_suffix(".new")
    new.write_text(position)
    new.replace(place)


with Client.from_env() as client:
    position = place.read_text() if place.exists() else None
    while True:
        try:
            with client.watch(last_event_id=position) as watch:
                if position is None:
                    # The watch has begun: what happens while the list is read comes after it.
                    for operation in client.list():
                        print(operation.id, operation.state, flush=True)
                for event in watch:
                    told = "removed" if event.operation is None else event.operation.state
                    print(event.operation_id, told, flush=True)
                    keep(event.id)
        except EventIdUnknown:
            # The program was stopped for longer than the server keeps changes (an hour): it starts with the list.
            position = None
