"""Text in the form in which a server accepts it."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate, which UTF-8 cannot express."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut(text: str, most: int) -> str:
    """The beginning of a text that is well formed: at most so many bytes, and no part of a character."""
    return text.encode()[:most].decode("utf-8", "ignore")
