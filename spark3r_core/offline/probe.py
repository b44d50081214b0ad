"""The sensitivity probe of Spark3R (arXiv 2605.06270): which global layers need many frames' keys and values.

All global layers keep one frame in 32; one layer at a time keeps one in 256. A layer is sensitive when the error grows
by more than a factor 1.05. Streams too short for 256 are probed at the same ratio of 8 with both factors scaled down.
Queries stay whole. The result goes into `tokens/sensitivity.py`, or into `Reduction(sensitive=...)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spark3r_core.attention.plan import Dense
from spark3r_core.attention.reduced import Reduced
from spark3r_core.errors import ImageError, Spark3rError
from spark3r_core.geometry import umeyama
from spark3r_core.geometry.pointmap import points_from_depth, valid_depth
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.offline.reconstruct import Reconstruction, encode_in_chunks, reconstruct_encoded
from spark3r_core.tokens import Reduction

BASE_FACTOR, RAISED_FACTOR, THRESHOLD = 32, 256, 1.05
MIN_FRAMES = 16


@dataclass(frozen=True)
class Geometry:
    """What a reconstruction is compared with: (S, 4, 4) world_from_camera, (S, 3, 3) intrinsics, (S, H, W) z-depth.

    Pixels and image size are those of the network input. Depth that is not finite and positive is left out.
    """

    world_from_camera: ArrayLike
    intrinsics: ArrayLike
    depth: ArrayLike


@dataclass(frozen=True)
class SensitivityTable:
    """What a probe measured; errors are means over the streams.

    errors[i], ratios[i]: with global layer i at the raised factor, absolute and over `base_error`.
    sensitive: global layers whose ratio is above the threshold, in order.
    """

    model_name: str
    frames: tuple[int, ...]
    base_factor: int
    raised_factor: int
    threshold: float
    compared_with: str  # "ground truth" or "dense"
    base_error: float
    errors: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(error / self.base_error for error in self.errors)

    @property
    def sensitive(self) -> tuple[int, ...]:
        return tuple(layer for layer, ratio in enumerate(self.ratios) if ratio > self.threshold)

    def reduction(self) -> Reduction:
        """Spark3R with this table."""
        return Reduction.spark3r().with_(sensitive=frozenset(self.sensitive))

    def as_json(self) -> str:
        """With ratios and sensitive layers spelled out for readers; `load` reads a file of it."""
        record = asdict(self) | {"ratios": self.ratios, "sensitive": self.sensitive}
        return json.dumps(record, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        Path(path).write_text(self.as_json())

    @staticmethod
    def load(path: str | Path) -> SensitivityTable:
        """Read what `save` wrote. Raises Spark3rError for anything else."""
        try:
            record = json.loads(Path(path).read_text())
            del record["ratios"], record["sensitive"]
            for name in ("frames", "errors"):
                record[name] = tuple(record[name])
            return SensitivityTable(**record)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Spark3rError(f"{path} is no sensitivity table ({error}); write one with `spark3r probe`") from error


def probe_factors(frames: int) -> tuple[int, int]:
    """Base and raised r_KV for a stream: 32 and 256, scaled down when S < 256. Raises ImageError below 16 frames."""
    if frames < MIN_FRAMES:
        raise ImageError(f"a sensitivity probe needs at least {MIN_FRAMES} frames in each stream, found {frames}")
    raised = min(RAISED_FACTOR, frames)
    return max(2, raised * BASE_FACTOR // RAISED_FACTOR), raised


def probe_sensitivity(
    model: Backbone,
    streams: Sequence[Tensor],
    truth: Sequence[Geometry] | None = None,
    *,
    threshold: float = THRESHOLD,
    frames_per_chunk: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> SensitivityTable:
    """Probe every global layer of a model.

    Args:
        streams: images (S, 3, H, W) of each stream, S >= 16; the shortest decides the factors. Several streams make
            the table less a matter of one scene.
        truth: ground truth of each stream. None compares with the model's own dense result, which is stricter: errors
            then hold nothing but what the reduction does.
        progress: called with (runs done, runs in all).

    Raises:
        ImageError: no stream, or one that is too short or unusable.
    """
    if not streams:
        raise ImageError("no stream was given; a sensitivity probe needs at least one")
    if truth is not None and len(truth) != len(streams):
        raise ValueError(f"{len(streams)} streams, but ground truth of {len(truth)}")
    base, raised = probe_factors(min(len(images) for images in streams))
    height, width = streams[0].shape[-2:]
    layers = sum(layer.kind == "global" for layer in model.cross_layers((height, width)))
    everything = frozenset(range(layers))
    totals = np.zeros(layers + 1)  # the last one: all layers at the base factor
    runs, done = len(streams) * (layers + 1), 0
    for index, images in enumerate(streams):
        encoded = encode_in_chunks(model, images, frames_per_chunk)
        target = _geometry(_run(model, encoded, None, frames_per_chunk)) if truth is None else truth[index]
        for layer in range(layers + 1):
            reduction = Reduction(
                query_factor=1,
                kv_factor=base,
                insensitive_multiplier=max(1, raised // base),
                sensitive=everything - {layer},
            )
            totals[layer] += point_error(_geometry(_run(model, encoded, reduction, frames_per_chunk)), target)
            done += 1
            if progress is not None:
                progress(done, runs)
    errors = totals / len(streams)
    return SensitivityTable(
        model.name,
        tuple(len(images) for images in streams),
        base,
        max(1, raised // base) * base,
        threshold,
        "dense" if truth is None else "ground truth",
        float(errors[-1]),
        tuple(errors[:-1].tolist()),
    )


def point_error(estimate: Geometry, target: Geometry, pixel_stride: int = 6) -> float:
    """Mean distance between the points of equal pixels after one Sim(3), over the spread of the target's points.

    Poses, depth and intrinsics all move points, so this is one number for all of them. Every `pixel_stride`-th pixel of
    every frame counts. Raises GeometryError when the points do not determine a similarity.
    """
    found, expected = (_world_points(geometry, pixel_stride) for geometry in (estimate, target))
    usable = np.isfinite(found).all(1) & np.isfinite(expected).all(1)
    found, expected = found[usable], expected[usable]
    aligned = umeyama(found, expected).apply_to_points(found)
    spread = np.sqrt(np.mean(np.sum((expected - expected.mean(0)) ** 2, 1)))
    return float(np.linalg.norm(aligned - expected, axis=1).mean() / spread)


def _world_points(geometry: Geometry, pixel_stride: int) -> NDArray[np.float64]:
    """(n, 3); pixels without depth become NaN so that two geometries keep their correspondence."""
    offset = pixel_stride // 2
    pick = (slice(offset, None, pixel_stride),) * 2
    points = []
    for pose, camera, depth in zip(
        np.asarray(geometry.world_from_camera),
        np.asarray(geometry.intrinsics),
        np.asarray(geometry.depth, np.float64),
        strict=True,
    ):
        clean = np.where(valid_depth(depth), depth, np.nan)
        points.append(points_from_depth(clean, camera, pose)[pick].reshape(-1, 3))
    return np.concatenate(points)


def _run(model: Backbone, encoded: Encoded, reduction: Reduction | None, frames_per_chunk: int) -> Reconstruction:
    plan = Dense() if reduction is None else Reduced(reduction)
    return reconstruct_encoded(model, encoded, plan, frames_per_chunk=frames_per_chunk)


def _geometry(result: Reconstruction) -> Geometry:
    return Geometry(result.world_from_camera, result.intrinsics, result.depth)
