"""Writes the client without asyncio from the one with it: the same text with other words. `make sdks` runs this."""

import re
from pathlib import Path

SOURCE = Path(__file__).parent / "src" / "longrun"
NOTE = "# Written by `make sdks` from {}. Do not edit.\n"

WORDS = [
    (r'^"""The client for asyncio\. .*"""$', '"""The client without asyncio."""'),
    (r"^import asyncio\n", ""),
    (r"\n +async with ", "\n            with "),
    (r"asyncio\.sleep", "time.sleep"),
    (r"async (def|for|with) ", r"\1 "),
    (r"\bawait ", ""),
    (r"StopAsyncIteration", "StopIteration"),
    (r"AsyncIterator", "Iterator"),
    (r"`anext`", "`next`"),
    (r"_async_watch", "_sync_watch"),
    (r"\._async\b", "._sync"),
    (r"Async(Client|Watch)", r"\1"),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\ba(close|read|iter_bytes)\(", r"\1("),
]


def main() -> None:
    """Writes both files."""
    for source, target in [("_async.py", "_sync.py"), ("_async_watch.py", "_sync_watch.py")]:
        text = (SOURCE / source).read_text()
        for pattern, replacement in WORDS:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        (SOURCE / target).write_text(NOTE.format(source) + text)


if __name__ == "__main__":
    main()
