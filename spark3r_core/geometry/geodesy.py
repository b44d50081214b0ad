"""Places on the Earth as metres east, north and up of one of them.

The ellipsoid is WGS-84's (NIMA TR8350.2, third edition, 2000, table 3.1). A place of geodetic latitude, longitude and
height is taken to the Earth's centred frame (ibid., equation 4-14), and from there turned into the axes of the local
tangent plane (Misra, Enge, *Global Positioning System*, 2011, chapter 4). Both are exact; a plane is not the Earth, so
"up" is that of the origin, and leans by 0.01 degrees per kilometre from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spark3r_core.geometry.rotation import Array

EQUATOR_M, FLATTENING = 6_378_137.0, 1 / 298.257223563
_SQUARED_ECCENTRICITY = FLATTENING * (2 - FLATTENING)


@dataclass(frozen=True)
class LocalFrame:
    """East, north, up in metres about a place: degrees, and metres over the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float

    def enu(self, geodetic: ArrayLike) -> Array:
        """(..., 3) metres east, north, up of places (..., 3): latitude and longitude in degrees, height in metres."""
        origin = (self.latitude_deg, self.longitude_deg, self.altitude_m)
        latitude, longitude = np.radians(origin[:2])
        (sin_lat, cos_lat), (sin_lon, cos_lon) = ((np.sin(one), np.cos(one)) for one in (latitude, longitude))
        enu_from_earth = np.array(
            [
                [-sin_lon, cos_lon, 0.0],
                [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
                [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
            ]
        )
        return np.asarray((earth_centred(geodetic) - earth_centred(origin)) @ enu_from_earth.T, np.float64)


def earth_centred(geodetic: ArrayLike) -> Array:
    """(..., 3) metres in the Earth's centred, fixed frame; of places as for `LocalFrame.enu`."""
    places = np.asarray(geodetic, np.float64)
    latitude, longitude, height = np.radians(places[..., 0]), np.radians(places[..., 1]), places[..., 2]
    across = EQUATOR_M / np.sqrt(1 - _SQUARED_ECCENTRICITY * np.square(np.sin(latitude)))  # radius of curvature
    out = (across + height) * np.cos(latitude)
    along = (across * (1 - _SQUARED_ECCENTRICITY) + height) * np.sin(latitude)
    return np.stack([out * np.cos(longitude), out * np.sin(longitude), along], -1)
