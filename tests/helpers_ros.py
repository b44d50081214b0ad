"""A stand-in for an installed ROS 2: `rclpy` and message packages that take what rosidl's classes take, and no more.

The definitions are ROS 2 Humble's, by `rosbags`. As in the classes that rosidl generates for Python, a list of numbers
without a fixed length is an array.array, one with a fixed length a numpy array, an octet is bytes, and a setter refuses
other types. It stands for the library only where its rules are known; nothing here was run against ROS itself.
"""

from __future__ import annotations

import array
import sys
import types
from typing import Any

import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
_CODES = {"float32": "f", "float64": "d", "uint8": "B", "int32": "i", "uint32": "I"}
_PLAIN = {"string": str, "bool": bool, "float32": float, "float64": float, "byte": bytes}


class RosMessage:
    """Of one kind; fields by name, `_kind`."""

    _kind = ""

    def __init__(self, **fields: Any) -> None:
        for name, node in STORE.fielddefs[self._kind][1]:
            setattr(self, name, _checked(f"{self._kind}.{name}", node, fields.pop(name, None)))
        assert not fields, f"{self._kind} has no {sorted(fields)}"


def message_class(kind: str) -> type[RosMessage]:
    return type(kind.split("/")[-1], (RosMessage,), {"_kind": kind})


def as_bag_message(message: RosMessage) -> Any:
    """The same as rosbags has it."""
    made = {}
    for name, _ in STORE.fielddefs[message._kind][1]:
        made[name] = _as_bag(getattr(message, name))
    return STORE.types[message._kind](**made)


class Publisher:
    def __init__(self, qos: Any) -> None:
        self.qos, self.sent = qos, []

    def publish(self, message: RosMessage) -> None:
        self.sent.append(message)


class Node:
    """publishers: by topic."""

    def __init__(self) -> None:
        self.publishers: dict[str, Publisher] = {}

    def create_publisher(self, kind: type, topic: str, qos: Any) -> Publisher:
        assert issubclass(kind, RosMessage)
        self.publishers[topic] = Publisher(qos)
        return self.publishers[topic]

    def get_clock(self) -> Any:
        return types.SimpleNamespace(now=lambda: types.SimpleNamespace(nanoseconds=123_456_789))

    def destroy_node(self) -> None:
        """Nothing is held."""


def install(monkeypatch: pytest.MonkeyPatch) -> Node:
    """Put the packages where `import` finds them; the node that the next `rclpy.create_node` gives."""
    node = Node()
    names = types.SimpleNamespace
    made: dict[str, Any] = {
        "rclpy": names(init=lambda **_: None, create_node=lambda _: node, try_shutdown=lambda: None),
        "rclpy.qos": names(
            QoSProfile=lambda **fields: names(**fields),
            HistoryPolicy=names(KEEP_LAST="keep last"),
            ReliabilityPolicy=names(BEST_EFFORT="best effort", RELIABLE="reliable"),
            DurabilityPolicy=names(TRANSIENT_LOCAL="transient local", VOLATILE="volatile"),
        ),
        "rclpy.signals": names(SignalHandlerOptions=names(NO=0)),
    }
    for kind in STORE.types:
        package, _, name = kind.split("/")
        module = made.setdefault(f"{package}.msg", types.SimpleNamespace())
        setattr(module, name, message_class(kind))
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
        if name.endswith(".msg"):
            monkeypatch.setitem(sys.modules, name.removesuffix(".msg"), types.ModuleType(name))
    return node


def _checked(what: str, node: Any, value: Any) -> Any:
    kind, detail = node
    if kind == Nodetype.NAME:
        value = message_class(detail)() if value is None else value
        assert value._kind == detail, f"{what}: {value._kind}"
    elif kind == Nodetype.BASE:
        expected = _PLAIN.get(detail[0], int)
        value = (b"\0" if expected is bytes else expected()) if value is None else value
        assert isinstance(value, expected), f"{what}: {type(value)}; rosidl takes {expected}"
    elif kind == Nodetype.ARRAY:
        (_, (base, _)), count = detail
        value = np.zeros(count) if value is None else value
        assert (value.dtype, value.shape) == (np.dtype(base), (count,)), what
    elif detail[0][0] == Nodetype.BASE and detail[0][1][0] in _CODES:
        code = _CODES[detail[0][1][0]]
        value = array.array(code) if value is None else value
        assert isinstance(value, array.array), f"{what}: {type(value)}; rosidl takes array.array"
        assert value.typecode == code, what
    else:
        value = [] if value is None else value
        assert isinstance(value, list), f"{what}: {type(value)}"
    return value


def _as_bag(value: Any) -> Any:
    if isinstance(value, RosMessage):
        return as_bag_message(value)
    if isinstance(value, array.array):
        return np.array(value, value.typecode)
    if isinstance(value, list):
        return [_as_bag(one) for one in value]
    return value[0] if isinstance(value, bytes) else value
