"""FP8 weights of DeepSeek: e4m3 values and one float32 scale for each block of 128 x 128.

DeepSeek-V3, README_WEIGHTS.md. The scale is stored as ``weight_scale_inv``, but it multiplies.
"""

import torch

BLOCK = 128
SCALE_SUFFIX = "_scale_inv"


def scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks of a matrix: those at its edges may be partial."""
    return tuple(-(-n // BLOCK) for n in shape)


def dequantised(weight_RC: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weight in float32; ``scale`` has one value a block.

    Block row by block row, so that the scales are never spread out to the size of the weight.
    """
    assert tuple(scale.shape) == scale_shape(tuple(weight_RC.shape))
    num_rows, num_columns = weight_RC.shape
    wide_RC = weight_RC.float()
    for i, start in enumerate(range(0, num_rows, BLOCK)):
        scale_C = scale[i].float().repeat_interleave(BLOCK)[:num_columns]
        wide_RC[start : start + BLOCK] *= scale_C
    return wide_RC
