"""`spark3r echo`: what a robotics process would receive, as text."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from spark3r_stream.errors import StreamError, WireError
from spark3r_stream.plain_text import cleaned, without_nan
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import STATUS, TOPICS, Envelope, Message, split_topic
from spark3r_stream.wire.messages import (
    Calibration,
    Cloud,
    Content,
    DepthImage,
    FrameResult,
    MapCorrections,
    PathCorrections,
    Picture,
    PoseInFrame,
    SessionState,
    Status,
    Transform,
)
from spark3r_stream.wire.plain import frame_as_dict

WORD_AFTER_S = 3.0  # without a publisher; then the user is told what is waited for


def echo_command(
    endpoint: str,
    topic: str,
    count: int | None,
    as_json: bool,
    timeout_s: float | None,
    security: ClientSecurity | None = None,
) -> int:
    """Print messages until the session ends, `count` is reached, or nothing came for `timeout_s` (exit code 1).

    After a few seconds without a publisher a line on stderr says what is waited for.
    """
    topics = list(TOPICS) if topic == "all" else [f"/{topic.strip('/')}/"]
    only = "" if topic == "all" else split_topic(topics[0])[1]
    if STATUS not in topics:
        topics.append(STATUS)  # says when the session is over
    shown = 0
    with Subscriber(endpoint, topics, security=security) as subscriber:
        patience_s = timeout_s
        if (timeout_s is None or timeout_s > WORD_AFTER_S) and not subscriber.wait_connected(WORD_AFTER_S):
            patience_s = None if timeout_s is None else timeout_s - WORD_AFTER_S
            until = "until one comes (--timeout ends it)" if patience_s is None else f"for {patience_s:g} s more"
            print(f"spark3r: no publisher on {endpoint} yet; waiting {until}", file=sys.stderr, flush=True)
        while count is None or shown < count:
            message = subscriber.poll(patience_s)
            patience_s = timeout_s
            if message is None:
                raise StreamError(f"nothing came from {endpoint} within {timeout_s} s; is a publisher running there?")
            try:
                content = decode(message)
            except WireError as error:
                print(f"spark3r: skipped a message: {cleaned(error)}", file=sys.stderr)
                continue
            wanted = topic == "all" or topics[0] in (message.topic, message.name)
            if wanted:
                shown += 1
                line = _as_json(message, content) if as_json else cleaned(_as_text(message, content), None)
                print(line, flush=True)
            is_over = isinstance(content, Status) and content.state in (SessionState.ENDED, SessionState.FAILED)
            if is_over and message.envelope.camera in ("", only):
                break
        missed = {name: n for name, n in subscriber.missed.items() if n}
        if missed or subscriber.malformed:
            print(f"spark3r: missed {missed}, malformed {subscriber.malformed}", file=sys.stderr)
    return 0


def _as_json(message: Message, content: Content) -> str:
    fields = {"topic": message.name, **_envelope_as_dict(message.envelope), **_content_as_dict(content)}
    return json.dumps(without_nan(fields), allow_nan=False)


def _envelope_as_dict(envelope: Envelope) -> dict[str, Any]:
    """What the message itself does not say; ids, times and revisions are in those that have them.

    captured_clock: None where the publisher does not say.
    """
    return {
        "sequence": envelope.sequence,
        "session_id": str(envelope.session_id),
        "schema_version": f"{envelope.schema_major}.{envelope.schema_minor}",
        "captured_ns": envelope.captured_ns,
        "captured_clock": None if envelope.captured_clock is None else envelope.captured_clock.name,
        "published_ns": envelope.published_ns,
        "replay": envelope.replay,
        **({"camera": envelope.camera} if envelope.camera else {}),
    }


def _content_as_dict(content: Content) -> dict[str, Any]:
    match content:
        case FrameResult():
            return frame_as_dict(content)
        case PoseInFrame():
            return {"frame": content.frame_name, "pose": content.frame_from_camera.tolist()}
        case Transform():
            return {
                "parent": content.parent,
                "child": content.child,
                "parent_from_child": content.parent_from_child.tolist(),
            }
        case Calibration():
            camera = content.camera
            return {
                "frame": content.frame_name,
                "width": camera.width,
                "height": camera.height,
                "matrix": camera.matrix.tolist(),
            }
        case Picture():
            return {"frame": content.frame_name, "jpeg_bytes": len(content.jpeg)}
        case DepthImage():
            height, width = content.depth.shape
            return {
                "frame": content.frame_name,
                "width": width,
                "height": height,
                "median": _finite_median(content.depth),
            }
        case Cloud():
            low, high = (f(content.points, 0).tolist() if len(content.points) else None for f in (np.amin, np.amax))
            return {"frame": content.frame_name, "points": len(content.points), "min": low, "max": high}
        case PathCorrections():
            return {"frames": len(content.frames), "first": content.frames[0].frame_id if content.frames else None}
        case MapCorrections():
            return {
                "corrections": [
                    {
                        "submap": one.submap,
                        "revision": one.revision,
                        "map_from_submap": one.map_from_submap.matrix.tolist(),
                        "reason": one.reason,
                        "unit": one.unit.name.lower(),
                        "map_z_up": one.map_z_up,
                    }
                    for one in content.corrections
                ],
                "map_frame": content.map_frame,
            }
        case Status():
            fields = dict(vars(content))
            fields["state"], fields["unit"] = content.state.name, content.unit.name.lower()
            fields["tracking"] = None if content.tracking is None else content.tracking.name
            fields["drops"] = dict(content.drops)
            return fields


def _finite_median(depth: np.ndarray) -> float | None:
    finite = depth[np.isfinite(depth)]
    return float(np.median(finite)) if finite.size else None


def _as_text(message: Message, content: Content) -> str:
    fields = _content_as_dict(content)
    if isinstance(content, FrameResult):
        which = f"{message.envelope.camera} " if message.envelope.camera else ""
        if not content.valid:
            return f"{which}frame {content.frame_id}  {content.state.name}  FAILED: {content.failure_reason}"
        t, q = fields["translation"], fields["quat_xyzw"]
        return (
            f"{which}frame {content.frame_id}  {content.frame_name}  t [{t[0]:+.4f} {t[1]:+.4f} {t[2]:+.4f}]  "
            f"q [{q[0]:+.4f} {q[1]:+.4f} {q[2]:+.4f} {q[3]:+.4f}]  {content.state.name}  "
            f"confidence {content.confidence:.2f}  latency {content.latency_ms:.0f} ms  "
            f"memory {content.memory_bytes / 2**20:.1f} MiB  lost {sum(content.drops_since_last.values())}"
        )
    return f"{message.name} #{message.envelope.sequence} {json.dumps(without_nan(fields))}"
