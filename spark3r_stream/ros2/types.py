"""Where ROS 2's message classes come from: `rosbags` (nothing of ROS needed), or the installed ROS 2."""

from __future__ import annotations

import array
import importlib
from typing import Any, Protocol

import numpy as np


class MessageTypes(Protocol):
    """Makes messages of a kind such as `geometry_msgs/msg/Pose`, arrays given as numpy arrays."""

    def make(self, kind: str, **fields: Any) -> Any: ...


class BagTypes:
    """The definitions of ROS 2 Humble, which later releases share, by `rosbags`."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores.ROS2_HUMBLE)

    def make(self, kind: str, **fields: Any) -> Any:
        return self.store.types[kind](**fields)


class RosTypes:
    """The classes of the ROS 2 whose workspace is sourced. Raises ModuleNotFoundError for a package it lacks."""

    def __init__(self) -> None:
        self._classes: dict[str, tuple[type, Any]] = {}

    def of(self, kind: str) -> type:
        """The class of a kind."""
        return self._known(kind)[0]

    def make(self, kind: str, **fields: Any) -> Any:
        made, empty = self._known(kind)
        return made(**{name: _as_field(value, getattr(empty, name)) for name, value in fields.items()})

    def _known(self, kind: str) -> tuple[type, Any]:
        if kind not in self._classes:
            package, _, name = kind.split("/")
            made = getattr(importlib.import_module(f"{package}.msg"), name)
            self._classes[kind] = (made, made())
        return self._classes[kind]


def _as_field(value: Any, default: Any) -> Any:
    """What the setters of rosidl's classes take: array.array for lists of numbers without a fixed length, bytes for an
    octet; numpy arrays only for lists with one."""
    if isinstance(default, array.array):
        made = array.array(default.typecode)
        made.frombytes(np.ascontiguousarray(value, default.typecode).tobytes())
        return made
    return bytes([value]) if isinstance(default, bytes) else value
