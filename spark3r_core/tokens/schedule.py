"""How much is reduced, where: Spark3R's length- and layer-adaptive factors as one small frozen config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from spark3r_core.tokens.sensitivity import sensitive_layers

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer

KV_FRAMES = 40  # frames' worth of keys and values that the published rule keeps, whatever S is


def adaptive_query_factor(frames: int) -> int:
    """r_Q by stream length, as published: 1 (S <= 100), 2 (<= 300), 3 (<= 500), 4 beyond."""
    return 1 + (frames > 100) + (frames > 300) + (frames > 500)


def adaptive_kv_factor(frames: int) -> int:
    """r_KV by stream length, as published: 1 (S <= 100), else ceil(S / 40), which keeps about 40 frames."""
    return 1 if frames <= 100 else math.ceil(frames / KV_FRAMES)


@dataclass(frozen=True)
class LayerReduction:
    """What happens in one layer: queries merged by `query_factor`, K/V of one frame in `kv_factor` kept."""

    query_factor: int
    kv_factor: int


@dataclass(frozen=True)
class Reduction:
    """Token reduction of the global attention layers (arXiv 2605.06270). `Reduction.spark3r()` is as published.

    query_factor: r_Q; None follows the length of the stream.
    kv_factor: r_KV in sensitive layers; None follows the length of the stream.
    insensitive_multiplier: r_KV grows by this in layers that the table calls insensitive (published: 3); 1 = the same
        factor in every layer.
    sensitive: indices among the full global layers; None reads the table of the model (no entry: all sensitive).
    group_frames: G, frames within which queries are matched.
    kv_mode: "prune" drops the K/V of the other frames; "merge" averages them into the most similar token of the kept
        frame before them (only there for the ablation: the paper finds that it adds nothing).
    all_special_kv: keep the special tokens of every frame in K/V, not only those of the kept frames.
    always_kept: frames whose K/V stay whatever the stride; the reference frame is one of them.
    """

    query_factor: int | None = None
    kv_factor: int | None = None
    insensitive_multiplier: int = 3
    sensitive: frozenset[int] | None = None
    group_frames: int = 20
    kv_mode: Literal["prune", "merge"] = "prune"
    all_special_kv: bool = False
    always_kept: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("query_factor", "kv_factor", "insensitive_multiplier", "group_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1 (1 = nothing is reduced)")
        if self.kv_mode not in ("prune", "merge"):
            raise ValueError(f'kv_mode is {self.kv_mode!r}; it must be "prune" or "merge"')
        if self.kv_mode == "merge" and set(self.always_kept) - {0}:
            raise ValueError('kv_mode "merge" protects frame 0 only; leave always_kept at (0,) or use "prune"')

    @staticmethod
    def spark3r() -> Reduction:
        """The published method: length-adaptive r_Q and r_KV, 3 r_KV in insensitive layers, groups of 20 frames."""
        return Reduction()

    @staticmethod
    def dense() -> Reduction:
        """No reduction: the same result as the model alone, bit for bit."""
        return Reduction.fixed(1, 1)

    @staticmethod
    def fixed(query_factor: int, kv_factor: int) -> Reduction:
        """The same factors in every global layer, whatever the length."""
        return Reduction(query_factor=query_factor, kv_factor=kv_factor, insensitive_multiplier=1)

    @staticmethod
    def kv_stride_only() -> Reduction:
        """Baseline: queries whole, the length-adaptive stride on keys and values, the same in every layer."""
        return Reduction(query_factor=1, insensitive_multiplier=1)

    def with_(self, **changes: object) -> Reduction:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def layers(
        self, frames: int, cross_layers: Sequence[CrossLayer], model_name: str | None = None
    ) -> list[LayerReduction]:
        """Factors of every cross-frame layer for a stream of `frames`.

        Only full global layers are reduced; register and camera layers hold one or a few tokens per frame.
        """
        query = adaptive_query_factor(frames) if self.query_factor is None else self.query_factor
        kv = adaptive_kv_factor(frames) if self.kv_factor is None else self.kv_factor
        plan = []
        for layer, sensitive in zip(
            cross_layers, sensitive_layers(model_name, cross_layers, self.sensitive), strict=True
        ):
            factor = kv if sensitive else kv * self.insensitive_multiplier
            plan.append(LayerReduction(query, factor) if layer.kind == "global" else LayerReduction(1, 1))
        return plan
