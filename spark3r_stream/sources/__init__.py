"""Where frames come from: one URI each. `open_source` is the door; everything behind it is imported when needed."""

from __future__ import annotations

from spark3r_stream.sources.base import InputPacket as InputPacket
from spark3r_stream.sources.base import Source as Source
from spark3r_stream.sources.base import SourceInfo as SourceInfo
from spark3r_stream.sources.base import SourceKind as SourceKind
from spark3r_stream.sources.base import SourceState as SourceState
from spark3r_stream.sources.open import open_source as open_source
from spark3r_stream.sources.options import CameraOptions as CameraOptions
from spark3r_stream.sources.options import Pace as Pace
from spark3r_stream.sources.options import ReconnectOptions as ReconnectOptions
from spark3r_stream.sources.options import RtspTransport as RtspTransport
from spark3r_stream.sources.options import SourceOptions as SourceOptions
