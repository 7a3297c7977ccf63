from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.energy import COMPUTE_SHARE, MEMORY_SHARE, STANDING_SHARE, pass_power_w
from penjing.cost.op import elementwise, gemm
from penjing.cost.roofline import Hardware, Timing, time_ops, total_seconds
from penjing.cost.serving import Instance, decode_step_s, decode_timings, prefill_timings
from penjing.hardware.catalogue import load_catalogue

H20 = load_catalogue().find("H20").chip  # rated at 400 W


def timing(seconds: float, compute_s: float = 0.0, memory_s: float = 0.0) -> Timing:
    return Timing(op=elementwise("x", 1.0), seconds=seconds, compute_s=compute_s, memory_s=memory_s)


def test_an_idle_pass_draws_the_standing_share() -> None:
    assert pass_power_w([], 1.0, H20) == pytest.approx(400 * STANDING_SHARE)


def test_power_by_hand() -> None:
    """Matrix units busy for half of two seconds, memory for a quarter."""
    found = pass_power_w([timing(1.0, compute_s=1.0), timing(0.5, memory_s=0.5)], 2.0, H20)
    assert found == pytest.approx(400 * (STANDING_SHARE + COMPUTE_SHARE / 2 + MEMORY_SHARE / 4))


def test_no_chip_draws_more_than_its_rating() -> None:
    busy = [timing(1.0, compute_s=1.0, memory_s=1.0)]
    assert STANDING_SHARE + COMPUTE_SHARE + MEMORY_SHARE > 1
    assert pass_power_w(busy, 1.0, H20) == 400.0


def test_kernels_that_outlast_the_pass_set_its_length() -> None:
    """Overlapped passes are shorter than the sum of their kernels."""
    kernels = [timing(2.0, compute_s=1.0)]
    assert pass_power_w(kernels, 1.0, H20) == pass_power_w(kernels, 2.0, H20)


def test_no_rating_no_watts() -> None:
    assert pass_power_w([timing(1.0)], 1.0, replace(H20, power_w=None)) is None


def test_an_iterator_is_read_once() -> None:
    kernels = [timing(1.0, compute_s=0.5, memory_s=0.2)]
    assert pass_power_w(iter(kernels), 1.0, H20) == pass_power_w(kernels, 1.0, H20)


@given(
    seconds=st.floats(min_value=0.1, max_value=10),
    compute=st.floats(min_value=0, max_value=1),
    memory=st.floats(min_value=0, max_value=1),
)
def test_power_lies_between_standing_and_rated(
    seconds: float, compute: float, memory: float
) -> None:
    kernels = [timing(seconds, compute * seconds, memory * seconds)]
    watts = pass_power_w(kernels, seconds, H20)
    assert watts is not None
    assert 400 * STANDING_SHARE * (1 - 1e-9) <= watts <= 400


def test_a_decode_step_streams_memory_and_a_prefill_fills_the_matrix_units(small: Instance) -> None:
    """About two thirds of the rating and nine tenths, as the shares were set."""
    prefill, decode = prefill_timings(small, 1.0, 8192.0), decode_timings(small, 64.0, 4096.0)
    filled = pass_power_w(prefill, total_seconds(prefill), H20)
    streamed = pass_power_w(decode, decode_step_s(small, 64.0, 4096.0), H20)
    assert filled is not None
    assert streamed is not None
    assert 0.8 * 400 < filled <= 400
    assert 0.4 * 400 < streamed < filled


def test_arrays_of_passes_draw_what_each_does() -> None:
    rows = np.array([1.0, 64.0, 4096.0])
    kernels = time_ops([gemm("x", rows, 4096, 4096)], Hardware.of(H20))
    together = pass_power_w(kernels, kernels[0].seconds, H20)
    for i, m in enumerate(rows):
        (alone,) = time_ops([gemm("x", float(m), 4096, 4096)], Hardware.of(H20))
        assert np.asarray(together)[i] == pytest.approx(pass_power_w([alone], alone.seconds, H20))
