"""What every backbone family offers. See docs/architecture.md for why the forward pass is cut in three.

Shapes: B batch, S frames, T tokens per frame (special tokens first, then patches row by row), C width, H x W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.digest import file_sha256
from spark3r_core.models.facts import Capabilities, ModelFacts
from spark3r_core.models.layers import trunk_linears


@dataclass(frozen=True)
class CrossLayer:
    """One attention layer across frames: what a memory must hold for it.

    kind is "global" (all tokens), "register" (special tokens only) or "camera" (a camera head's trunk).
    """

    name: str
    kind: str
    tokens_per_frame: int
    special_tokens: int
    num_heads: int
    head_dim: int

    def page_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one frame's keys and values in this layer."""
        return 2 * self.tokens_per_frame * self.num_heads * self.head_dim * dtype.itemsize


@dataclass(frozen=True)
class Encoded:
    """Tokens of each frame before any frame has seen another; may be kept and decoded again."""

    tokens: Tensor  # (B, S, T, C)
    image_hw: tuple[int, int]
    selector: Tensor | None = None  # (B, S, C): DA3's cls tokens, read by its reference-view selection only

    def frames(self, index: slice | Sequence[int]) -> Encoded:
        idx = index if isinstance(index, slice) else list(index)
        return Encoded(self.tokens[:, idx], self.image_hw, None if self.selector is None else self.selector[:, idx])

    @property
    def nbytes(self) -> int:
        """Bytes these tokens take on their device."""
        parts = [self.tokens] if self.selector is None else [self.tokens, self.selector]
        return sum(part.numel() * part.element_size() for part in parts)

    @staticmethod
    def cat(parts: Sequence[Encoded]) -> Encoded:
        """Join along the frame axis; all parts must have the same image size."""
        if len({part.image_hw for part in parts}) != 1:
            raise ValueError(f"frames of different sizes in one window: {sorted({p.image_hw for p in parts})}")
        if len(parts) == 1:
            return parts[0]
        selectors = [part.selector for part in parts if part.selector is not None]
        selector = torch.cat(selectors, 1) if len(selectors) == len(parts) else None
        return Encoded(torch.cat([part.tokens for part in parts], 1), parts[0].image_hw, selector)


@dataclass(frozen=True)
class Decoded:
    """What the heads read, for every frame of the window."""

    taps: tuple[Tensor, ...]  # each (B, S, T or P, D)
    pose: Tensor  # (B, S, ...): raw pose output in the family's own encoding
    image_hw: tuple[int, int]
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """Geometry of some frames.

    world_from_camera: (B, S, 4, 4); intrinsics: (B, S, 3, 3) in pixels of the network input;
    depth: (B, S, H, W) z-depth, model units; confidence: (B, S, H, W) in (0, 1), the sigmoid of the network's raw
    confidence (1 - 1/c for families that report c = 1 + exp(x)). raw holds the reference's own outputs by its names.
    """

    world_from_camera: Tensor
    intrinsics: Tensor
    depth: Tensor
    confidence: Tensor
    raw: dict[str, Tensor] = field(default_factory=dict)


class Backbone(nn.Module):
    """Base of all families; subclasses are readable from top to bottom in one file each."""

    family: str
    patch_size: int
    capabilities: Capabilities
    dropped_keys: tuple[tuple[str, str], ...] = ()  # (regular expression, why): keys of released files left unread
    dropped_outputs: tuple[str, ...] = ()  # outputs of the reference that need dropped weights
    # key that released files may lack → key of the same tensor in them
    tied_keys: ClassVar[Mapping[str, str]] = {}
    frames_per_chunk: int | None = None  # frames at a time through layers that do not mix frames; None: all
    name: str = ""  # the registry's name, set by load_model; finds the sensitivity table
    weights_path: Path | None = None  # the file that load_model read; None for random weights
    trunk_prefixes: tuple[str, ...]  # names of modules that compute in the trunk's dtype; heads stay float32

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        raise NotImplementedError

    def encode(self, images: Tensor) -> Encoded:
        """images: (B, S, 3, H, W) in [0, 1], H and W multiples of `patch_size`."""
        raise NotImplementedError

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:
        """Everything where frames see each other.

        reference: index in this window of the frame with the first-frame tokens; None when it is not in the window.
        """
        raise NotImplementedError

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        """Poses and dense maps of the chosen frames (None: all)."""
        raise NotImplementedError

    def after_random_init(self) -> None:
        """Called by `random_init`: set the few values that keep random outputs sane (a field of view above zero)."""

    def poses(self, decoded: Decoded) -> Tensor:
        """world_from_camera (B, S, 4, 4) of every frame of the window, without any dense map where a family can."""
        return self.predict(decoded).world_from_camera

    @cached_property
    def weights_sha256(self) -> str | None:
        """sha256 of the weights file in hexadecimal, for records of a run; None for random weights."""
        return None if self.weights_path is None else file_sha256(self.weights_path)

    @property
    def attention_dtype(self) -> torch.dtype:
        """Of q, k and v in cross-frame layers: what `set_compute_dtype` gave the trunk's linears."""
        return next(iter(trunk_linears(self).values())).weight.dtype

    @property
    def facts(self) -> ModelFacts:
        device, dtype = str(next(self.parameters()).device), str(self.attention_dtype).removeprefix("torch.")
        known = self.__dict__.get("weights_sha256")  # if it was computed already: it may take seconds
        return ModelFacts(self.name, self.patch_size, self.capabilities, device, dtype, self.weights_path, known)
