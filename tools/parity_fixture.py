"""A tiny reference instance and the network built from it: our values for every tensor it holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan, BlockCausal, Dense
from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import CheckpointError
from spark3r_core.memory.budget import allocate
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.memory.policy import spread_victim
from spark3r_core.models.checkpoint import dropped, load_into, tensors_in_memory
from spark3r_core.models.da3 import DA3
from spark3r_core.models.da3_parts import DA3Config
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.models.pi3 import Pi3Config
from spark3r_core.models.pi3x import Pi3X, Pi3XConfig
from spark3r_core.models.registry import FAMILIES
from spark3r_core.models.vggt import VGGT, VGGTConfig
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig

CONFIGS = {"vggt": VGGTConfig, "pi3": Pi3Config, "pi3x": Pi3XConfig, "vggt_omega": VGGTOmegaConfig}


def build(family: str, constructor: dict) -> Backbone:
    """A network of the fixture's sizes, on torch's current default device."""
    if family.startswith("da3"):
        return DA3(da3_config(constructor))
    sizes = {field.name for field in dataclasses.fields(CONFIGS[family])} & constructor.keys()
    return FAMILIES[family](CONFIGS[family](**{name: constructor[name] for name in sizes}))


def da3_config(constructor: dict) -> DA3Config:
    """Our config from the arguments of the reference's constructors."""
    starts = {constructor[name] for name in ("alt_start", "qknorm_start", "rope_start") if name in constructor}
    if len(starts) != 1 or not constructor.get("cat_token", True):
        raise CheckpointError(
            "only DA3s whose q/k-norm and RoPE start with the alternation, with cat_token, exist here"
        )
    return DA3Config(
        embed_dim=constructor["embed_dim"],
        depth=constructor["depth"],
        num_heads=constructor["num_heads"],
        alt_start=constructor["alt_start"],
        out_layers=constructor["out_layers"],
        head_features=constructor["head_features"],
        head_out_channels=constructor["head_out_channels"],
        img_size=constructor["img_size"],
        patch_size=constructor.get("patch_size", 14),
        ffn="gated" if "swiglu" in constructor["ffn_layer"] else "mlp",
        cam_enc_heads=constructor["cam_enc_heads"],
        cam_enc_depth=constructor["cam_enc_trunk"],
    )


class Recording:
    """Dense attention that keeps q, k, v and the output of the first layer of kind "global"."""

    def __init__(self) -> None:
        self.inner = Dense()
        self.layer = 0
        self.recorded: dict[str, Tensor] = {}

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        self.layer = next(i for i, layer in enumerate(cross_layers) if layer.kind == "global")
        self.inner.begin(frames, cross_layers)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        out = self.inner.attend(layer, q, k, v, q_unrotated=q_unrotated)
        if layer == self.layer:
            self.recorded = {"q": q, "k": k, "v": v, "out": out}
        return out


class Fixture:
    """One tiny reference with the network built from it."""

    def __init__(self, stem: Path) -> None:
        for suffix in (".json", ".safetensors"):
            if not stem.with_name(stem.name + suffix).is_file():
                raise CheckpointError(f"no fixture {stem}{suffix}; give the stem of a .json and a .safetensors file")
        about = json.loads(stem.with_name(stem.name + ".json").read_text())
        self.name = stem.name
        self.tensors = load_file(stem.with_name(stem.name + ".safetensors"))
        with torch.device("meta"):
            self.model = build(about["model"], about["constructor"])
        state = self.named("state.")
        load_into(self.model, tensors_in_memory(state), f"{stem.name}.safetensors")
        self.model.eval().requires_grad_(False)
        self.skipped_keys = {key: why for key in state if (why := dropped(self.model, key)) is not None}
        self.images = self.tensors["input.images"]
        self.frames = self.images.shape[1]

    def named(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def modes(self) -> list[str]:
        """Prefixes of output tensors: "output", "output_single", …"""
        return sorted({key.split(".")[0] for key in self.tensors if key.startswith("output")})

    def encode(self, images: Tensor) -> Encoded:
        # the reference of DA3 is given normalised images, those of the others normalise inside
        return self.model.encode_normalised(images) if isinstance(self.model, DA3) else self.model.encode(images)

    def decode(self, images: Tensor, mode: str, plan: AttentionPlan) -> Decoded:
        if not isinstance(self.model, DA3):
            return self.model.decode(self.encode(images), plan)
        posed = None
        if mode == "output_posed":
            posed = (self.tensors["input.posed_extrinsics"], self.tensors["input.posed_intrinsics"])
        strategy = "saddle_balanced" if mode == "output" else "first"
        return self.model.decode(self.encode(images), plan, strategy, posed)

    def outputs(self, mode: str) -> dict[str, Tensor]:
        """Our values for every tensor of one mode."""
        images = self.images[:, :1] if mode == "output_single" else self.images
        plan = BlockCausal([1] * self.frames) if mode == "output_causal" else Dense()
        return self.raw(self.decode(images, mode, plan))

    def streamed(self) -> dict[str, Tensor]:
        """Frame by frame through a memory that loses nothing."""
        layers = self.model.cross_layers((self.images.shape[-2], self.images.shape[-1]))
        sizes = [layer.page_bytes(self.images.dtype) for layer in layers]
        memory = KVMemory(layers, allocate(sizes, [True] * len(layers), 1, None, max_pages=self.frames + 1))
        windows = []
        for frame in range(self.frames):
            memory.begin([frame])
            encoded = self.encode(self.images[:, frame : frame + 1])
            windows.append(self.model.decode(encoded, Streaming(memory), reference=0 if frame == 0 else None))
            memory.commit({frame}, lambda layer, held: spread_victim(held, {0}))
        taps = tuple(torch.cat(parts, 1) for parts in zip(*(window.taps for window in windows), strict=True))
        return self.raw(Decoded(taps, torch.cat([window.pose for window in windows], 1), windows[0].image_hw))

    def raw(self, decoded: Decoded) -> dict[str, Tensor]:
        raw = dict(self.predict(decoded).raw)
        if "reference" in decoded.extras:
            raw["reference_view"] = decoded.extras["reference"]
        return raw

    def predict(self, decoded: Decoded) -> Prediction:
        """All that the reference reports; some of it comes on request only."""
        if isinstance(self.model, DA3):
            return self.model.predict(decoded, rays=True)
        if isinstance(self.model, VGGT):
            return self.model.predict(decoded, points=True)
        if isinstance(self.model, Pi3X):
            return self.model.predict(decoded, metric=self.model.metric_scale(decoded))
        return self.model.predict(decoded)

    def intermediate(self) -> dict[str, Tensor]:
        """Our values for the `mid.*` tensors, frames and tokens joined as they come."""
        plan, hooks = Recording(), []
        found: dict[str, Tensor] = {}
        for name, module in self._observed().items():
            hooks.append(module.register_forward_hook(_keep(found, name)))
        try:
            decoded = self.decode(self.images, "output", plan)
            self.predict(decoded)
        finally:
            for hook in hooks:
                hook.remove()
        layers = self.model.cross_layers((self.images.shape[-2], self.images.shape[-1]))
        number = layers[plan.layer].name.rsplit(".", 1)[-1]
        found |= {f"global_attn.{number}.{name}": value for name, value in plan.recorded.items()}
        if "pose_enc_passes" in decoded.extras:
            found |= {f"pose_enc_iter.{i}": t for i, t in enumerate(decoded.extras["pose_enc_passes"].unbind(1))}
        return _da3_order(self.model, found, decoded) if isinstance(self.model, DA3) else found

    def _observed(self) -> dict[str, nn.Module]:
        """Module by the name that its output has among the `mid.*` tensors."""
        model: Any = self.model
        if isinstance(model, DA3):
            vit = model.model.backbone.pretrained
            return {"patch_embed": vit.patch_embed, **_numbered("block", vit.blocks)}
        if isinstance(model, (VGGT, VGGTOmega)):
            across = "global_block" if isinstance(model, VGGT) else "inter_frame_block"
            return {
                "patch_tokens": model.aggregator.patch_embed,
                **_numbered("frame_block", model.aggregator.frame_blocks),
                **_numbered(across, getattr(model.aggregator, f"{across}s")),
            }
        decoders = ("camera_decoder", "point_decoder", "conf_decoder")
        return {
            "patch_tokens": model.encoder,
            **{name: getattr(model, name) for name in decoders},
            **_numbered("decoder", model.decoder),
        }


def _da3_order(model: DA3, found: dict[str, Tensor], decoded: Decoded) -> dict[str, Tensor]:
    """DA3's reference moves its chosen view to the front before block alt_start - 1; ours stays where it is."""
    config, frames = model.config, decoded.pose.shape[1]
    chosen = int(decoded.extras["reference"])
    order = [chosen, *(i for i in range(frames) if i != chosen)]
    blocks = [found[f"block.{i}"].reshape(1, frames, -1, config.embed_dim) for i in range(config.depth)]
    result = {"patch_embed": found["patch_embed"]}
    for i, block in enumerate(blocks):
        result[f"block.{i}"] = block[:, order] if i >= config.alt_start - 1 else block
    for name, value in found.items():
        if name.startswith("global_attn."):
            result[name] = value.unflatten(2, (frames, -1))[:, :, order].flatten(2, 3)
    for tap, i in enumerate(config.out_layers):
        # after a global block the local half of a tap is the block before it
        local = (blocks[i - 1] if i % 2 else blocks[i])[:, :, 0]
        if i % 2 and i == config.alt_start:  # that block's class tokens were overwritten since
            tokens = model.model.backbone.pretrained.camera_token
            local = torch.stack([tokens[:, int(frame != chosen)] for frame in range(frames)], 1)
        result[f"camera_feat.{tap}"] = torch.cat([local, blocks[i][:, :, 0]], -1)
        result[f"feat.{tap}"] = decoded.taps[tap]
    return result


def _numbered(name: str, modules: nn.ModuleList) -> dict[str, nn.Module]:
    return {f"{name}.{i}": module for i, module in enumerate(modules)}


def _keep(found: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        # heads take many frames in chunks, (1, frames, ...) each
        found[name] = torch.cat([found[name], output], 1) if name in found else output

    return hook
