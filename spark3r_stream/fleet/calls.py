"""Calls to actors: waited for in pieces, so that whoever is told to end does; and what to do when one is not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from spark3r_stream.errors import StreamError

GONE = RayActorError  # the actor is not there now; another incarnation of it may come
_PIECE_S = 0.25


class Ended(StreamError):
    """What waited for an answer was told to end."""


def answer_of(ref: Any, stop: threading.Event) -> Any:
    """What the actor answered. Raises what its method raised, `GONE` where the actor died over it, `Ended` on stop."""
    while not stop.is_set():
        if ray.wait([ref], timeout=_PIECE_S)[0]:
            return ray.get(ref)
    raise Ended("told to end")


def insistent(call: Callable[[], Any], stop: threading.Event, pause_s: float = 0.5) -> Any:
    """The answer to `call()`, asked again while the actor is not there. Raises `GONE` where it does not come back."""
    while True:
        try:
            return answer_of(call(), stop)
        except GONE as error:
            if isinstance(error, ActorDiedError):
                raise
        if stop.wait(pause_s):
            raise Ended("told to end")


def answers(refs: Sequence[Any], timeout_s: float) -> list[Any]:
    """The answer to each call, or the RayError that it failed with; GetTimeoutError where none came in time."""
    until_s = time.monotonic() + timeout_s
    came: list[Any] = []
    for ref in refs:
        try:
            came.append(ray.get(ref, timeout=max(0.0, until_s - time.monotonic())))
        except RayError as error:
            came.append(error)
    return came


def cause_of(error: Exception) -> str:
    """In one line."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return str(error.cause).splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
