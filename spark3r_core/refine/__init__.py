"""Photometric refinement: poses that the pixels agree with, from a network's depth (see README.md here)."""

from spark3r_core.refine.refiner import PhotometricRefiner

__all__ = ["PhotometricRefiner"]
