"""The text beside the picture: state, rates, losses and memory as HTML.

Whatever a publisher says is shown as text: cut, cleaned and escaped, so that it can neither run in the page nor make
the page ask another host for anything.
"""

from __future__ import annotations

import html
from typing import NamedTuple

from spark3r_stream.plain_text import cleaned
from spark3r_stream.viewer.keyframe_picture import KeyframePicture
from spark3r_stream.wire.messages import FrameResult, SessionState, Status, TrackingState

SILENT_S = 3.0  # docs/wire.md: a publisher that says nothing for so long hangs or is gone
_LONGEST = 160
_GOOD, _DOUBTFUL, _BAD, _QUIET = "#37b24d", "#f08c00", "#e03131", "#868e96"
_STATE_COLOURS = {
    TrackingState.TRACKING: _GOOD,
    TrackingState.LOW_CONFIDENCE: _DOUBTFUL,
    TrackingState.LOST: _BAD,
}
_SESSION_COLOURS = {SessionState.STALLED: _DOUBTFUL, SessionState.RECONNECTING: _DOUBTFUL, SessionState.FAILED: _BAD}


class Shown(NamedTuple):
    """What the panel speaks of.

    source: endpoint or file. silent_s: since the last message, None before the first; a recording is never silent.
    paused: the picture stands still. sessions: begun by the publisher while this viewer ran. points, most_points: kept
    and allowed. poses: seen. missed: messages that did not reach this viewer.
    """

    source: str
    frame: FrameResult | None = None
    status: Status | None = None
    silent_s: float | None = None
    ended: bool = False
    paused: bool = False
    sessions: int = 0
    points: int = 0
    most_points: int = 0
    poses: int = 0
    missed: int = 0


def panel_html(shown: Shown) -> str:
    """The block that is replaced twice a second."""
    rows = [
        _row("source", cleaned(shown.source, _LONGEST)),
        _row("map", f"{shown.points:,} of {shown.most_points:,} points, {shown.poses:,} poses"),
    ]
    if shown.frame is not None:
        rows.append(_row("frame", f"{shown.frame.frame_id:,} in submap {shown.frame.submap}"))
    status = shown.status
    if status is not None:
        rate = f"{status.frames_per_second:.1f} FPS"
        rows += [
            _row("rate", rate + (f", network {status.model_ms:.0f} ms" if status.model_ms else "")),
            _row("latency", f"{status.latency_p50_ms:.0f} ms (median), {status.latency_p95_ms:.0f} ms (p95)"),
            _row("memory", f"{_mebibytes(status.memory_bytes)} of {_mebibytes(status.memory_limit_bytes)} MiB"),
            _row("lost", _losses(status, shown.missed)),
        ]
    elif shown.missed:
        rows.append(_row("lost", f"{shown.missed:,} messages on the way here"))
    if shown.sessions > 1:
        rows.append(_row("session", f"the {_ordinal(shown.sessions)} since this page began"))
    return (
        '<div style="padding:0.2em 0.8em 0.5em;font-size:0.85em;line-height:1.45">'
        + _badges(shown)
        + f'<table style="width:100%;border-collapse:collapse">{"".join(rows)}</table></div>'
    )


def picture_label(picture: KeyframePicture, newest_ns: int | None) -> str:
    """What the picture in the panel is: not the live one, which is not on the wire."""
    age_s = 0.0 if newest_ns is None else max(0.0, (newest_ns - picture.captured_ns) / 1e9)
    behind = f", {age_s:.1f} s before the newest" if 0.05 <= age_s < 3600 else ""
    return f"Newest keyframe: frame {picture.frame_id}{behind}"


def _badges(shown: Shown) -> str:
    """Where things stand, in the colour of how good that is."""
    badges = []
    if shown.ended:
        failed = shown.status is not None and shown.status.state is SessionState.FAILED
        badges.append(_badge("FAILED" if failed else "ENDED", _BAD if failed else _QUIET))
        if failed and shown.status is not None:
            badges.append(_note(shown.status.last_error))
    elif shown.silent_s is None and not shown.poses:
        badges.append(_badge("WAITING", _QUIET) + _note("nothing came yet"))
    elif shown.silent_s is not None and shown.silent_s > SILENT_S:
        badges.append(_badge("NO SIGNAL", _BAD) + _note(f"nothing came for {shown.silent_s:.0f} s; waiting"))
    else:
        badges.append(_tracking(shown))
    if shown.paused:
        badges.append(_badge("PAUSED", _QUIET))
    return f'<div style="margin-bottom:0.4em">{" ".join(badges)}</div>'


def _tracking(shown: Shown) -> str:
    badges = []
    if shown.status is not None and shown.status.state is not SessionState.RUNNING:
        name = shown.status.state.name
        badges.append(_badge(name, _SESSION_COLOURS.get(shown.status.state, _QUIET)) + _note(shown.status.last_error))
    if shown.frame is not None:
        frame = shown.frame
        if frame.valid:
            badges.append(_badge(frame.state.name, _STATE_COLOURS[frame.state]) + _note(frame.state_reason))
        else:
            badges.append(_badge("FRAME FAILED", _BAD) + _note(frame.failure_reason))
    return " ".join(badges) or _badge("CONNECTED", _QUIET)


def _losses(status: Status, missed: int) -> str:
    causes = [f"{count:,} {cleaned(cause, 40)}" for cause, count in sorted(status.drops.items())[:8] if count]
    causes += [f"{status.frames_failed:,} failed"] if status.frames_failed else []
    causes += [f"{missed:,} messages on the way here"] if missed else []
    return ", ".join(causes) or "nothing"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f}"


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"


def _row(name: str, value: str) -> str:
    cell = "padding:0 0.6em 0 0;vertical-align:top"
    return (
        f'<tr><td style="{cell};color:#868e96">{name}</td>'
        f'<td style="{cell};overflow-wrap:anywhere">{html.escape(value)}</td></tr>'
    )


def _badge(text: str, colour: str) -> str:
    style = f"background:{colour};color:#fff;border-radius:3px;padding:0.1em 0.5em;font-weight:600"
    return f'<span style="{style}">{html.escape(text)}</span>'


def _note(text: str) -> str:
    return f" <span>{html.escape(cleaned(text, _LONGEST))}</span>" if text else ""
