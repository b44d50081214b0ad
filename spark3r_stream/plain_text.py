"""Text of others, such as the name of a file, as text that every message and file of ours can hold."""

from __future__ import annotations


def unicode_text(text: str) -> str:
    """`text` with what is not Unicode written as \\udcXX: on Linux a name is bytes, and need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
