"""How much a YAML file says once its aliases are followed: nine lines can say a thousand million values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 1 << 20  # values and characters; what is written by hand or by a calibration has some hundreds


def is_light(content: Any) -> bool:
    """Whether errors may quote it and loops go through it. What is named several times counts each time."""
    waiting, weight = [content], 1
    while waiting:
        one = waiting.pop()
        children: list[Any] = []
        if isinstance(one, Mapping):
            children = [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set)):
            children = list(one)
        elif isinstance(one, (str, bytes)):
            weight += len(one)
        weight += len(children)
        if weight > MOST:
            return False
        waiting += children
    return True
