"""The rig that several cameras of a run are on, from the settings."""

from __future__ import annotations

from collections.abc import Sequence

from spark3r_core.geometry.rig_file import read_rig
from spark3r_core.user_paths import expand_home
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.engine.rig_watch import Relate, RigWatch


def rig_of(config: RunConfig, names: Sequence[str], relate: Relate) -> RigWatch | None:
    """None without one. names: of the cameras, by number. Raises GeometryError for a file that is none, ConfigError
    where it is of other cameras."""
    if config.rig is None:
        return None
    rig = read_rig(expand_home(config.rig))
    unknown = sorted(rig.keys() - set(names))
    here = {number: rig[name] for number, name in enumerate(names) if name in rig}
    if unknown or len(here) < 2:
        raise ConfigError(
            f"the rig {config.rig} has {', '.join(sorted(rig))}, and the sources are named {', '.join(names)}; give"
            " sources as NAME=SOURCE with the names of the rig"
        )
    return RigWatch(here, dict(enumerate(names)), relate)
