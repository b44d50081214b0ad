"""A small network that remembers and attends as any does, but says the truth about the orbit's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Decoded, Encoded, Prediction
from spark3r_core.stream.camera_sizes import CameraSizes
from tests.core.attention.tiny_da3 import tiny_da3
from tests.core.stream import orbit

STEP = 4  # pixels of the picture per pixel of the network


class TruthfulDA3(DA3):
    """Call `shows` with the orbit's pictures that it will be given.

    fault: "encode", "decode" or "predict" raises, "nan" gives depth that is no number. focal, unit: factors of what it
    says of the focal length and of all distances.
    """

    fault = ""
    focal = 1.0
    unit = 1.0

    @staticmethod
    def make(indices: Sequence[int], focal: float = 1.0, unit: float = 1.0) -> TruthfulDA3:
        tiny = tiny_da3()
        model = TruthfulDA3(tiny.config)
        model.load_state_dict(tiny.state_dict())
        model.focal, model.unit = focal, unit
        sizes = CameraSizes.fit(orbit.HW, model.facts, None)
        model.by_image = {sizes.for_network(orbit.picture(i))[0].transpose(2, 0, 1).tobytes(): i for i in indices}
        model.by_tokens = {}
        return model.eval()

    def encode(self, images: Tensor) -> Encoded:
        self._raise_in("encode")
        encoded = super().encode(images)
        for image, tokens in zip(images[0], encoded.tokens[0], strict=True):
            key = (image * 255).round().to(torch.uint8).numpy().tobytes()
            self.by_tokens[tokens.numpy().tobytes()] = self.by_image[key]
        return encoded

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:
        decoded = super().decode(encoded, plan, reference)
        self._raise_in("decode")
        shown = [self.by_tokens[tokens.numpy().tobytes()] for tokens in encoded.tokens[0]]
        return replace(decoded, extras={**decoded.extras, "shown": torch.tensor(shown)})

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        self._raise_in("predict")
        shown = decoded.extras["shown"][slice(None) if frames is None else frames].tolist()
        poses = np.stack([orbit.pose(index) for index in shown])
        poses[:, :3, 3] *= self.unit
        depth = np.stack([orbit.depth(index)[STEP // 2 :: STEP, STEP // 2 :: STEP] for index in shown]) * self.unit
        if self.fault == "nan":
            depth = depth * np.nan
        camera = np.diag([1 / STEP, 1 / STEP, 1.0]) @ orbit.INTRINSICS
        camera[[0, 1], [0, 1]] *= self.focal
        return Prediction(
            torch.from_numpy(poses)[None],
            torch.from_numpy(np.tile(camera, (1, len(shown), 1, 1))),
            torch.from_numpy(depth).float()[None],
            torch.ones(1, *depth.shape),
        )

    def _raise_in(self, place: str) -> None:
        if self.fault == place:
            raise RuntimeError(f"a fault in {place}")
