"""Many cameras, on one machine or several: actors of Ray that track, map, join maps and publish (docs/fleet.md)."""
