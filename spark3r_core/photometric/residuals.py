"""Photometric residuals of a keyframe's pixels in other frames, and how they change with what is solved for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.photometric.assumed import DEPTH_SIGMA, HUBER, INTENSITY_SIGMA, MIN_Z
from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.keyframe import Points

POSE, GAIN, BIAS = slice(0, 6), 6, 7  # columns of the Jacobian: twist [rho, phi] from the left, brightness,
NODE = slice(8, 8 + NODES)  # depth correction,
FOCAL = 8 + NODES  # log focal length; a last column holds the residual itself
COLUMNS = 9 + NODES


@dataclass(frozen=True)
class Linearised:
    """jacobian: (n, N, COLUMNS + 1), the residual as its last column; weight: (n, N) of squares, zero where not
    visible; error: (n, N) residuals in sigmas; visible: (n, N); intensity: (n, N) of the frames there."""

    jacobian: Tensor
    weight: Tensor
    error: Tensor
    visible: Tensor
    intensity: Tensor

    def squares(self) -> Tensor:
        """(n, COLUMNS + 1, COLUMNS + 1): normal equations, gradient and cost of each frame in one product."""
        scaled = self.jacobian * self.weight.sqrt()[..., None]
        return scaled.transpose(1, 2) @ scaled


def linearise(
    points: Points, images: Tensor, camera_from_key: Tensor, brightness: Tensor, nodes: Tensor, log_focal: float
) -> Linearised:
    """Residual I(pi(T X)) - (gain * I_key + bias) of every point in every frame, and its derivatives.

    Args:
        points: N of the keyframe, of the level of `images`.
        images: (n, 3, h, w) intensity and gradients (`grey_pyramid`).
        camera_from_key: (n, 4, 4).
        brightness: (n, 2) gain and bias of each frame against the keyframe.
        nodes: (NODES,) log depth correction; log_focal: of both cameras, against the points' own focal length.

    A point's noise is that of intensities and, along its epipolar line, that of its depth; so pixels whose gradient
    lies across the line count most (marginalised depth, as in Engel et al., Direct Sparse Odometry, 2016).
    """
    height, width = points.size_hw
    wider = math.exp(log_focal)
    fx, fy = points.focal_xy[0] * wider, points.focal_xy[1] * wider
    cx, cy = points.centre_xy
    key = points.camera_points(nodes, log_focal)
    rotation = camera_from_key[:, :3, :3].transpose(1, 2)
    turned = key @ rotation
    seen = turned + camera_from_key[:, None, :3, 3]
    x, y, z = seen.unbind(-1)
    ahead = z > MIN_Z
    per_z = 1 / torch.where(ahead, z, 1.0)
    u, v = fx * x * per_z + cx - 0.5, fy * y * per_z + cy - 0.5  # in units of pixel centres
    visible = ahead & (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
    place = torch.stack([(u + 0.5) * (2 / width) - 1, (v + 0.5) * (2 / height) - 1], -1)
    sampled = F.grid_sample(images, place[:, None], padding_mode="border", align_corners=False)[:, :, 0]

    du, dv = sampled[:, 1] * (fx * per_z), sampled[:, 2] * (fy * per_z)
    along_ray = du * x + dv * y
    by_point = torch.stack([du, dv, -along_ray * per_z], -1)  # d intensity / d seen point
    by_log_depth = (by_point * turned).sum(-1)
    jacobian = images.new_empty(*u.shape, COLUMNS + 1)
    jacobian[..., :3] = by_point
    jacobian[..., 3:6] = torch.linalg.cross(seen, by_point, dim=-1)
    jacobian[..., GAIN] = -points.intensity
    jacobian[..., BIAS] = -1
    torch.mul(by_log_depth[..., None], points.basis, out=jacobian[..., NODE])
    # a longer focal length moves the projection outwards and the keyframe's points inwards
    inwards = (key * key.new_tensor([1.0, 1.0, 0.0])) @ rotation
    jacobian[..., FOCAL] = along_ray - (by_point * inwards).sum(-1)
    residual = sampled[:, 0] - (brightness[:, :1] * points.intensity + brightness[:, 1:])
    jacobian[..., -1] = residual
    variance = INTENSITY_SIGMA**2 + (by_log_depth * DEPTH_SIGMA).square()
    error = residual.abs() * variance.rsqrt()
    weight = HUBER / error.clamp_min(HUBER) / variance * visible
    return Linearised(jacobian, weight, error, visible, sampled[:, 0])
