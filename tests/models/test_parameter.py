import pytest
import torch

from penjing.models.parameter import empty


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_parameter_has_shape_and_dtype_and_wants_a_gradient(dtype: torch.dtype) -> None:
    made = empty(dtype, torch.device("cpu"), 3, 5)
    assert isinstance(made, torch.nn.Parameter)
    assert (made.shape, made.dtype, made.requires_grad) == ((3, 5), dtype, True)


def test_on_no_device_it_takes_no_memory() -> None:
    """A trillion values, as a check of names and shapes asks for."""
    made = empty(torch.bfloat16, torch.device("meta"), 10**6, 10**6)
    assert made.is_meta
    assert made.numel() == 10**12
