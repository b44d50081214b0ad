"""Keyframes mapped in this process: where the work is the GPU's, and where a model is at hand already."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spark3r_core.features.rootsift import extract
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.models.facts import ModelFacts
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.joining import SMALLEST
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import opened
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_core.stream.mapper import Mapper
from spark3r_core.stream.relocalisation import TOO_LITTLE, relocalised
from spark3r_core.stream.session import StreamSession
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.writing import write_map

MOST_GIVEN_UP = 4  # maps that the present one may meet again; every keyframe is looked for in each


class LocalMapper:
    """Maps in the process of the caller: where the work is the GPU's, and where a model is at hand already."""

    def __init__(self, model: Backbone, memory: MemoryConfig, options: MapOptions | None = None) -> None:
        self.model, self.memory, self.options = model, memory, options or MapOptions()
        self._opened: KeyframeMap | None = None  # as it was then
        self._is_read_only = False
        self._mapper = Mapper(model, memory, self.options)

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    @property
    def world(self) -> KeyframeMap:
        """The present map."""
        return self._mapper.world

    def open(self, world: KeyframeMap, is_fixed: bool) -> None:
        self._opened, self._is_read_only = opened(world, is_fixed=is_fixed), is_fixed
        self._mapper = Mapper(self.model, self.memory, self.options, self._opened)

    def begin(self) -> None:
        self._mapper = Mapper(self.model, self.memory, self.options, others=self._worth_keeping())

    def map(self, request: KeyframeRequest) -> MapUpdate:
        update = self._mapper.map(request)
        if not request.lost or update.keyframe is not None:
            return update
        if update.failure == TOO_LITTLE:
            return update
        hw, features = request.sizes.picture_hw, None
        for world in self._mapper.others:  # a map that was given up, in which the camera is again
            if world.picture_hw != hw or not self.options.closes_loops:
                continue
            features = extract(request.picture) if features is None else features
            if isinstance(relocalised(world, features, hw), str):
                continue
            beside = [one for one in [self._mapper.world, *self._mapper.others] if one is not world]
            mapper = Mapper(self.model, self.memory, self.options, world, beside)
            found = mapper.map(request)
            if found.keyframe is not None:
                self._mapper = mapper
                return found
        return update

    def refine(self) -> dict[int, DenseDepth]:
        return self._mapper.refine()

    def finish(self, refine_all: bool = True, known: KnownPlaces | None = None) -> MapUpdate | None:
        return self._mapper.finish(refine_all, known, stays=self._opened)

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> int:
        if self._is_read_only:
            raise MapFileError(f"the map is only read in this run (localise), so {path} is not written")
        world = self.map_to_save()
        is_new = bool(world.keyframes) and world is not self._opened
        return write_map(path, world, facts.about(world), overwrite=overwrite) if is_new else 0

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        image = np.zeros((1, 3, *image_hw), np.uint8)
        StreamSession(self.model, self.memory, refine=False, tied=True).step(image, [0])

    def _worth_keeping(self) -> list[KeyframeMap]:
        """Maps for the next one to be joined with: those of some size, the opened one and the largest first."""
        worlds = [one for one in [self._mapper.world, *self._mapper.others] if one.keyframes]
        if not worlds:
            return []
        saved = self.map_to_save()
        others = [one for one in worlds if one is not saved and len(one.keyframes) >= SMALLEST]
        return [saved, *sorted(others, key=lambda one: -len(one.keyframes))[: MOST_GIVEN_UP - 1]]

    def map_to_save(self) -> KeyframeMap:
        """See `save_map`."""
        worlds = [self._mapper.world, *self._mapper.others]
        if self._opened is not None:
            first = self._opened.order[0]
            return next(world for world in worlds if first in world.keyframes)
        return max(worlds, key=lambda world: len(world.keyframes))

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass
