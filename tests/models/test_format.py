import pytest

from penjing.errors import UnknownName
from penjing.hardware.precision import Precision
from penjing.models.format import FORMATS, format_named


@pytest.mark.parametrize(
    ("name", "bits_of_128"),
    [
        ("bf16", 128 * 16),
        ("fp8", 128 * 8),
        ("int4", 128 * 4 + 16 + 4),  # GPTQ: a 16-bit scale and a 4-bit zero a group
        ("int4-g32", 128 * 4 + 4 * 16),
        ("int8-weight", 128 * 8 + 16 + 8),
        ("mxfp4", 128 * 4 + 4 * 8),  # OCP Microscaling: one byte for each 32
        ("nvfp4", 128 * 4 + 8 * 8),  # one byte for each 16
        ("mxfp8", 128 * 8 + 4 * 8),
        ("q8_0", 128 * 8 + 4 * 16),  # ggml: an fp16 scale for each 32
    ],
)
def test_bytes_include_the_scales(name: str, bits_of_128: int) -> None:
    assert format_named(name).bytes_per_value * 128 * 8 == pytest.approx(bits_of_128)


def test_block_fp8_has_one_fp32_scale_a_block() -> None:
    assert format_named("fp8-block").bytes_per_value * 128**2 == pytest.approx(128**2 + 4)


def test_names_are_their_keys_and_ignore_case() -> None:
    assert all(format_named(name.upper()).name == name for name in FORMATS)


def test_every_format_can_run_on_a_chip_with_bf16_alone() -> None:
    assert all(Precision.BF16 in f.compute for f in FORMATS.values())


def test_weight_only_formats_multiply_wide() -> None:
    assert format_named("int8-weight").compute == (Precision.BF16,)
    assert format_named("int8").compute[0] is Precision.INT8


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="mxfp4"):
        format_named("mxfp-4b")
