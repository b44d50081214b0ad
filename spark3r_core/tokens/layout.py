"""Where the tokens of a window sit in a cross-frame layer, and which of them a stride over frames keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenLayout:
    """S frames of T tokens each, frame by frame; the first `special_tokens` of each frame are not patches.

    Special tokens (camera, registers, cls) are addressed by this number only: families differ in it (1, 5, 17).
    """

    frames: int
    tokens_per_frame: int
    special_tokens: int

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"a window needs at least one frame, found {self.frames}")
        if not 0 <= self.special_tokens <= self.tokens_per_frame:
            raise ValueError(f"{self.special_tokens} special tokens do not fit in {self.tokens_per_frame} per frame")

    @property
    def num_tokens(self) -> int:
        return self.frames * self.tokens_per_frame

    @property
    def patches_per_frame(self) -> int:
        return self.tokens_per_frame - self.special_tokens

    def patches(self, x: Tensor) -> Tensor:
        """(B, S*T, C) → (B, S, P, C), a view."""
        return x.unflatten(1, (self.frames, self.tokens_per_frame))[:, :, self.special_tokens :]

    def special_index(self, frames: Iterable[int] | None = None, device: torch.device | None = None) -> Tensor:
        """Token indices of the special tokens of some frames (None: all), (n,) int64, ascending."""
        first = self._first_token(frames, device)
        return (first[:, None] + torch.arange(self.special_tokens, device=device)).flatten()

    def patch_index(self, frames: Iterable[int] | None = None, device: torch.device | None = None) -> Tensor:
        """Token indices of the patch tokens of some frames (None: all), (n,) int64, ascending."""
        first = self._first_token(frames, device)
        return (first[:, None] + torch.arange(self.special_tokens, self.tokens_per_frame, device=device)).flatten()

    def kept_index(
        self, frames: Iterable[int], all_special: bool = False, device: torch.device | None = None
    ) -> Tensor:
        """Token indices of whole frames, and with `all_special` the special tokens of every frame; (n,), ascending."""
        special = self.special_index(None if all_special else frames, device)
        return torch.cat([special, self.patch_index(frames, device)]).sort().values

    def _first_token(self, frames: Iterable[int] | None, device: torch.device | None) -> Tensor:
        if frames is None:
            chosen = torch.arange(self.frames, device=device)
        else:
            chosen = torch.tensor(sorted(set(frames)), dtype=torch.int64, device=device)
            if chosen.numel() and (int(chosen[0]) < 0 or int(chosen[-1]) >= self.frames):
                raise ValueError(f"frames {chosen.tolist()} are not all within 0..{self.frames - 1}")
        return chosen * self.tokens_per_frame


def stride_frames(frames: int, factor: int, always: Iterable[int] = ()) -> list[int]:
    """Frames whose K/V stay: 0, r, 2r, ... and those of `always` that exist (Spark3R's temporal stride).

    A factor beyond the number of frames keeps frame 0 alone.
    """
    if factor < 1:
        raise ValueError(f"a reduction factor is at least 1, found {factor}")
    return sorted({*range(0, frames, factor), *(frame for frame in always if 0 <= frame < frames)})
