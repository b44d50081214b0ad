"""`spark3r fleet`: run many cameras from one file, and ask or tell a fleet that runs."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from spark3r_stream.camera_name import working_for
from spark3r_stream.cli.stop import Interrupted, Stop
from spark3r_stream.config import ConfigError
from spark3r_stream.fleet.desk import Desk, Request, ask, running_fleets
from spark3r_stream.fleet.plan import FleetPlan, read_plan
from spark3r_stream.plain_text import cleaned

log = logging.getLogger(__name__)

PAUSE_S = 0.5


def fleet_command(what: str, camera: str | None, name: str | None, as_json: bool) -> int:
    """Exit code of a fleet: 0 when all cameras ended well or were told to, 1 when one failed."""
    if what in ("status", "add", "remove"):
        return _ask(what, camera, name or _only_one(), as_json)
    path = Path(what)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{what} is neither a .yaml file nor one of status, add and remove")
    if camera is not None or name is not None or as_json:
        raise ConfigError("a fleet is run by its file alone; cameras and its name stand in it")
    stop = Stop()
    try:
        return _run(read_plan(path), stop)
    except Interrupted:
        return stop.exit_code(is_live=False)


def _run(plan: FleetPlan, stop: Stop) -> int:
    from spark3r_stream.fleet.cluster import connected
    from spark3r_stream.fleet.fleet import started_fleet
    from spark3r_stream.fleet.status import status_of_fleet
    from spark3r_stream.running.opening import open_metrics

    desk = Desk(plan.name)
    with contextlib.ExitStack() as closing:
        closing.callback(desk.close)
        metrics = open_metrics(plan.settings, closing)
        level = logging.getLogger("spark3r_stream").getEffectiveLevel()
        with stop.on_signals(), connected(plan.ray, f"spark3r-{plan.name}"), started_fleet(plan, level) as fleet:
            log.info("fleet %s: %d cameras, %d mappers", plan.name, len(plan.cameras), plan.mappers.count)

            def answer(request: Request) -> Any:
                return _answer(fleet, request, status_of_fleet)

            if metrics is not None:
                from spark3r_stream.fleet.measured import metrics_of

                metrics.serve(lambda: metrics_of(fleet))
            while not fleet.is_over:
                fleet.look()
                desk.serve(answer)
                if stop.event.is_set():
                    fleet.end()
                    time.sleep(PAUSE_S)
                else:
                    stop.event.wait(PAUSE_S)
            failed = [one.name for one in fleet.cameras.values() if one.error or (one.beat and one.beat.error)]
            _say_how_it_went(status_of_fleet(fleet))
            if failed:
                log.error("ended by an error: %s", ", ".join(failed))
            return int(bool(failed))


def _answer(fleet: Any, request: Request, status: Any) -> Any:
    what, name = request.get("what"), request.get("camera")
    if what == "status":
        return status(fleet)
    if what == "add":
        fleet.add(name, request.get("source"))
        return f"{name} is added"
    if what == "remove":
        fleet.remove(name)
        return f"{name} is removed"
    raise ConfigError("expected status, add or remove")


def _ask(what: str, camera: str | None, name: str, as_json: bool) -> int:
    request: Request = {"what": what}
    if what == "status":
        if camera is not None:
            raise ConfigError("status is of the whole fleet; with --json it has everything of each camera")
    elif what == "add":
        camera_name, _, source = (camera or "").partition("=")
        if not source:
            raise ConfigError("add needs NAME=SOURCE, as in spark3r fleet add gate=rtsp://gate.local/stream")
        request |= {"camera": camera_name, "source": source}
    else:
        if camera is None:
            raise ConfigError("remove needs the name of a camera")
        request["camera"] = camera
    answer = ask(name, request)
    if as_json:
        print(json.dumps(answer))
    elif what == "status":
        _show(answer)
    else:
        print(cleaned(answer))
    return 0


def _only_one() -> str:
    names = running_fleets()
    if len(names) != 1:
        found = f"there are {', '.join(names)}; name one with --name" if names else "none runs on this machine"
        raise ConfigError(f"which fleet is meant: {found}")
    return names[0]


def _show(status: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    site, outlet = status["map"] or {}, status["outlet"] or {}
    console.print(
        f"{cleaned(status['name'])}: {cleaned(status['endpoint'])}, {outlet.get('subscribers', 0)} subscribers,"
        f" up {status['uptime_s']:.0f} s; map: {site.get('keyframes', 0)} keyframes,"
        f" {site.get('memory_bytes', 0) / 2**20:.0f} MiB, {site.get('restarts', 0)} restarts",
        markup=False,
    )
    table = Table(
        "camera", "state", "tracking", "fps", "p50/p95 ms", "frames", "lost", "keyframes", "late", "restarts", "MiB",
        "map", "where", box=None, pad_edge=False,
    )  # fmt: skip
    for name, one in status["cameras"].items():
        table.add_row(
            cleaned(name), one["state"], one.get("tracking") or "", f"{one.get('frames_per_second', 0):.1f}",
            f"{one.get('latency_p50_ms', 0):.0f}/{one.get('latency_p95_ms', 0):.0f}", str(one.get("frames", 0)),
            str(sum(one.get("drops", {}).values())), str(one.get("keyframes_in_map", 0)),
            str(one.get("keyframes_late", 0)), str(one["restarts"]), f"{one.get('memory_bytes', 0) / 2**20:.0f}",
            cleaned(one.get("map", "")), cleaned(f"{one.get('node', '')} {one['place']}".strip()),
        )  # fmt: skip
    console.print(table)
    for name, one in status["cameras"].items():
        if one["error"]:
            console.print(f"{cleaned(name)}: {cleaned(one['error'])}", markup=False)


def _say_how_it_went(status: dict[str, Any]) -> None:
    for name, one in status["cameras"].items():
        with working_for(name):
            log.info(
                "%d frames, %d keyframes in %s; lost: %d frames, %d keyframes, %d messages; started again %d times",
                one.get("frames", 0), one.get("keyframes_in_map", 0), one.get("map") or "no map",
                sum(one.get("drops", {}).values()), one.get("keyframes_lost", 0), one.get("messages_dropped", 0),
                one["restarts"],
            )  # fmt: skip
