"""Errors of the stream side. Each message says what was found, what was expected and what to do, in one line."""

from __future__ import annotations

from spark3r_core.errors import Spark3rError


class StreamError(Spark3rError):
    """Base of every error of spark3r_stream."""


class SourceError(StreamError):
    """A source that cannot be opened, or that stopped being readable; messages never contain credentials."""


class EndOfStream(StreamError):
    """A source or buffer has handed out its last frame, or was closed. Normal control flow, not a failure."""


class WireError(StreamError):
    """A message that is malformed, too large, or not what its topic promises."""


class VersionMismatch(WireError):
    """A peer or file of an incompatible schema version; the message names both versions."""

    def __init__(self, what: str, found: str, supported: str) -> None:
        super().__init__(
            f"{what} speaks schema version {found}, this program supports {supported}; "
            f"use the same spark3r-stream release on both sides"
        )
        self.found = found
        self.supported = supported


class PublishError(StreamError):
    """An endpoint that cannot be bound or used: port taken, not loopback without permission, bad address."""


class KeyFileError(StreamError):
    """CURVE keys that are missing, malformed or exposed to other users; messages never contain a secret."""


class AuthError(StreamError):
    """The publisher refused this client, or is not the one whose key the client trusts."""


class RecordingError(StreamError):
    """A recording that cannot be written or read: not MCAP, disk full, missing topics, incomplete input."""


class MapFileError(StreamError):
    """A map file that cannot be written or read: no map, damaged, too large, would replace something else."""


class OutputError(StreamError):
    """A result file that cannot be written or read: folder not writable, disk full, malformed, values not JSON."""


class ViewerUnavailable(StreamError):
    """A library that the viewer needs is missing, or its address is taken; the message says what to do."""


class SensorError(StreamError):
    """Samples or poses of another sensor that cannot be read, or a topic that cannot be listened to."""
