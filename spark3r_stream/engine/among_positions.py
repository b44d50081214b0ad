"""How a map lies among positions of GPS, and what they do not say of it: for stats.json and the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spark3r_core.geometry.geodesy import LocalFrame
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.gps_fit import AGREES, LEAST_PLACES, PlacesFit
from spark3r_core.metric.measured import MOST_LEAN_STD
from spark3r_core.metric.scale import MOST_STD


@dataclass(frozen=True, eq=False)
class AmongPositions:
    """A map among positions of GPS. keyframes: with one. fit: None where they are not of one path. metres_from_all:
    from the frame of reference that is published. earth: its origin; None where positions were metres to begin with."""

    keyframes: int
    fit: PlacesFit | None
    metres_from_all: Sim3 | None
    earth: LocalFrame | None

    @property
    def lacks(self) -> str:
        """What they do not say, and why; empty where they say scale and up."""
        if self.keyframes < LEAST_PLACES:
            return f"only {self.keyframes} keyframes have a position, and {LEAST_PLACES} are needed"
        if self.fit is None:
            return "positions and the map are not of one path, or north and east are swapped"
        if self.fit.log_std > MOST_STD:
            return f"the path is too short for positions like these: they know the scale to {self.fit.log_std:.0%}"
        return "the path is too straight to say which way is up" if self.fit.up_std > MOST_LEAN_STD else ""

    def as_dict(self) -> dict[str, Any]:
        """For stats.json."""
        found: dict[str, Any] = {"keyframes": self.keyframes, "lacks": self.lacks}
        if self.earth is not None:
            place = (self.earth.latitude_deg, self.earth.longitude_deg, self.earth.altitude_m)
            found["origin"] = dict(zip(("latitude", "longitude", "altitude"), place, strict=True))
        if self.fit is not None and self.metres_from_all is not None:
            found |= {
                "agreeing": int((self.fit.weights >= AGREES).sum()),
                "rms_m": round(self.fit.rms_m, 3),
                "relative_std": float(f"{self.fit.log_std:.3g}"),
                "up_std_deg": float(f"{np.degrees(self.fit.up_std):.3g}"),
                "enu_from_map": {
                    "scale": self.metres_from_all.scale,
                    "quat_xyzw": self.metres_from_all.quat_xyzw.tolist(),
                    "translation": self.metres_from_all.translation.tolist(),
                },
            }
        return found
