"""The Ray that a fleet runs on, and the options of its actors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from spark3r_stream.config import ConfigError
from spark3r_stream.fleet.plan import FleetPlan, RayPlan

log = logging.getLogger(__name__)

REACH_S = 5.0
STORE_BYTES = 256 << 20  # of a Ray of our own: what travels are keyframes, a megabyte each
_TOUCH = 0.001  # of a resource that stands for a place: any number of actors may be there
OUTLET, SITE = "outlet", "map"  # names of actors, which stay when they are started again
_QUICK = {"quick": 2}  # threads beside the one that works, for calls that must not wait for it


@contextlib.contextmanager
def connected(plan: RayPlan, namespace: str) -> Iterator[None]:
    """Inside, this process is part of a Ray: of its own, which ends with the block, or of one that runs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_worker_niceness", "0")  # else actors run at 15, and give way to everything else there is
    if plan.address:
        _check_reachable(plan.address)
    else:
        _stay_on_this_machine()
    import ray

    quiet: dict[str, Any] = {
        "namespace": namespace, "log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False,
    }  # fmt: skip
    try:
        if plan.address:
            ray.init(address=plan.address, **quiet)
        else:
            ray.init(
                address="local", num_cpus=plan.cpus or os.cpu_count(), include_dashboard=False,
                object_store_memory=STORE_BYTES, **quiet,
            )  # fmt: skip
    except (ConnectionError, ValueError, OSError) as error:
        where = f"the Ray at {plan.address}" if plan.address else "a Ray of its own"
        raise ConfigError(f"{where} cannot be used: {' '.join(str(error).split())[:300]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises ConfigError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():  # auto, or a name that Ray knows
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"the Ray at {address} cannot be used: {error}") from None


def _stay_on_this_machine() -> None:
    """Ray's ports are on the loopback address then, as they are where it makes no clusters; else anybody can reach
    them."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for its processes, and for ours if it is not loaded yet
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False


def check_room(plan: FleetPlan) -> None:
    """Raises ConfigError where Ray has less than the fleet asks for: its actors would wait for ever."""
    import ray

    asked: dict[str, float] = {
        "CPU": plan.mappers.count * plan.mappers.cpus,
        "GPU": plan.mappers.count * plan.mappers.gpus,
    }
    places = {plan.mappers.place} - {""}
    for camera in plan.cameras:
        asked["CPU"] += camera.cpus
        places |= {camera.place} - {""}
    has = ray.cluster_resources()
    for name, amount in asked.items():
        if amount > has.get(name, 0.0) + 1e-6:
            raise ConfigError(
                f"the fleet asks for {amount:g} {name}s and Ray has {has.get(name, 0.0):g}; lower cpus or gpus of"
                " cameras and mappers in the file, or start Ray on more machines"
            )
    for place in sorted(places):
        if place not in has:
            raise ConfigError(
                f"no machine of this Ray is the place {place}; start its node with"
                f""" ray start --resources '{{"{place}": 1}}'"""
            )


def actor(kind: type, *arguments: Any, name: str | None = None, cpus: float, gpus: float = 0.0, place: str = "",
          here: bool = False, restarts: bool = True) -> Any:  # fmt: skip
    """The handle of a new actor. name: by which others find it. place: a resource of its machine. here: on this one.
    Raises ConfigError where the name is taken."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options: dict[str, Any] = {
        "num_cpus": cpus, "num_gpus": gpus, "name": name, "max_restarts": -1 if restarts else 0, "max_task_retries": 0,
        "resources": {place: _TOUCH} if place else {},
    }  # fmt: skip
    if here:
        node = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    remote: Any = ray.remote  # its stubs do not know of groups
    try:
        return remote(concurrency_groups=_QUICK)(kind).options(**options).remote(*arguments)
    except ValueError as error:  # of a name that is taken
        raise ConfigError(
            f"a fleet of this name runs in this Ray already: {' '.join(str(error).split())[:200]}"
        ) from None


def found(name: str) -> Any:
    """The handle of the actor of this fleet that has this name; inside an actor of it."""
    import ray

    return ray.get_actor(name)


def mapper_name(number: int) -> str:
    return f"mapper {number}"


def quickly(method: Any) -> Any:
    """The method of a handle, answered while the actor does something else."""
    return method.options(concurrency_group="quick")
