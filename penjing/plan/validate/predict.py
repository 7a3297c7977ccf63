"""From a row to the number the cost model puts in its place."""

import math

from penjing.errors import PenjingError
from penjing.plan.validate.isolated import decoding, prefilling
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.reinforcement import reinforcement
from penjing.plan.validate.row import Row
from penjing.plan.validate.serving import serving
from penjing.plan.validate.setting import Setting, setting_of
from penjing.plan.validate.training import training


def predict(row: Row, *, hide_own_curves: bool = False) -> float:
    """The row's metric in the row's unit; raises ``Unmapped`` with the reason where it cannot.

    With ``hide_own_curves`` the chip's kernels are taken from its nearest measured relative.
    """
    if row.phase == "kernel":
        raise Unmapped("single kernels are what the efficiency curves were fitted to")
    try:
        value = _by_phase(row, setting_of(row, hide_own_curves=hide_own_curves))
    except PenjingError as error:
        raise Unmapped(str(error)) from None
    if not 0 < value < math.inf:
        raise Unmapped("what the row states leads to no finite prediction")
    return value


def _by_phase(row: Row, setting: Setting) -> float:
    match row.phase:
        case "serving-online" | "serving-offline":
            return serving(setting)
        case "decode-only":
            return decoding(setting)
        case "prefill-only":
            return prefilling(setting)
        case "training-pretrain" | "training-finetune":
            return training(setting)
        case "training-rl":
            return reinforcement(setting)
        case phase:
            raise Unmapped(f"phase {phase!r} is not modelled")
