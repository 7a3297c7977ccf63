"""The number formats that matrix units multiply in."""

from enum import StrEnum


class Precision(StrEnum):
    """Operand format of a dense matrix product; BF16 and FP16 run at one rate and share a name."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
