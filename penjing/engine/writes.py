"""Whether weights were written since one last looked, without anybody having to say so."""

import weakref
from collections.abc import Iterable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook


class Writes:
    """Torch counts writes to each tensor, but not those of fused optimizers; their steps it tells.

    Writes through ``.data`` or a pointer show in neither.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._parameters = list(parameters)
        self._known = {id(parameter) for parameter in self._parameters}
        self._num_steps = 0
        self._seen = self._count()
        listener = weakref.WeakMethod(self._hear)  # torch must not keep the weights alive

        def heard(optimizer: Optimizer, *_: object) -> None:
            hear = listener()
            if hear is not None:
                hear(optimizer)

        weakref.finalize(self, register_optimizer_step_post_hook(heard).remove)

    def are_new(self) -> bool:
        return self._count() != self._seen

    def see(self) -> None:
        """What was written up to now is new no more."""
        self._seen = self._count()

    def _count(self) -> tuple[int, int]:
        return self._num_steps, sum(parameter._version for parameter in self._parameters)

    def _hear(self, optimizer: Optimizer) -> None:
        written = (one for group in optimizer.param_groups for one in group["params"])
        self._num_steps += any(id(one) in self._known for one in written)
