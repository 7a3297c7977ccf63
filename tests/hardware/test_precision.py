import pytest

from penjing.hardware.precision import Precision


def test_a_precision_is_its_name() -> None:
    assert [str(p) for p in Precision] == ["fp32", "bf16", "fp8", "int8", "fp4"]
    assert Precision("fp8") is Precision.FP8


def test_half_precision_goes_by_bf16() -> None:
    with pytest.raises(ValueError, match="fp16"):
        Precision("fp16")
