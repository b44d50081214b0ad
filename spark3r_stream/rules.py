"""Rules for values that come from a file, and JSON within bounds: what recordings and maps are checked by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_JSON_CHARACTERS, MAX_JSON_DEPTH = 64 * 1024, 8
MAX_TEXT = 4096  # characters of a name
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


@dataclass(frozen=True)
class Rule:
    """holds: whether a value is allowed. expected: in words."""

    holds: Callable[[Any], bool]
    expected: str


def one_of(*values: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in values, f"one of {', '.join(values)}")


def yes_or_no() -> Rule:
    return Rule(lambda value: isinstance(value, bool), "true or false")


def text(pattern: str = r"[^\x00]*", most: int = MAX_TEXT, expected: str = "") -> Rule:
    compiled = re.compile(pattern, re.DOTALL)
    return Rule(
        lambda value: isinstance(value, str) and len(value) <= most and compiled.fullmatch(value) is not None,
        expected or f"text of at most {most} characters",
    )


def integer(low: int, high: int) -> Rule:
    return Rule(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"a whole number from {low} to {high}",
    )


def number(low: float, high: float) -> Rule:
    return Rule(
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high,
        f"a number from {low:g} to {high:g}",
    )


def optional(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.holds(value), f"nothing, or {rule.expected}")


def either(first: Rule, second: Rule) -> Rule:
    return Rule(lambda value: first.holds(value) or second.holds(value), f"{first.expected}, or {second.expected}")


def read_json(words: str) -> Any:
    """Plain values from JSON. Raises ValueError for what is not JSON, has NaN or infinity, is long or nested deeply."""
    if len(words) > MAX_JSON_CHARACTERS:
        raise ValueError(f"{len(words)} characters; at most {MAX_JSON_CHARACTERS} are expected")
    depth = 0
    for token in _NESTING.finditer(words):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"nested more than {MAX_JSON_DEPTH} deep")

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    return json.loads(words, parse_constant=refuse)
