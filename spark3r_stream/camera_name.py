"""Whose work a thread does, where one process runs several cameras: so that logs can say which camera.

A thread that is started for a camera's work inherits it; `Thread` of the standard library would forget it.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator

_CAMERA: contextvars.ContextVar[str] = contextvars.ContextVar("spark3r_camera", default="")


def camera_now() -> str:
    """The name of the camera that the calling thread works for; empty where there is only one."""
    return _CAMERA.get()


@contextlib.contextmanager
def working_for(camera: str) -> Iterator[None]:
    """Inside, what this thread does, and the threads that it starts by `inheriting_thread`, is this camera's."""
    token = _CAMERA.set(camera)
    try:
        yield
    finally:
        _CAMERA.reset(token)


def inheriting_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A daemon that works for whom the caller works for."""
    context = contextvars.copy_context()
    return threading.Thread(target=lambda: context.run(target), name=name, daemon=True)
