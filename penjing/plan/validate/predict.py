"""From a row to the number the cost model puts in its place."""

from penjing.errors import PenjingError
from penjing.plan.validate.isolated import decoding, prefilling
from penjing.plan.validate.labels import Unmapped
from penjing.plan.validate.reinforcement import reinforcement
from penjing.plan.validate.row import Row
from penjing.plan.validate.serving import serving
from penjing.plan.validate.setting import setting_of
from penjing.plan.validate.training import training


def predict(row: Row) -> float:
    """The row's metric in the row's unit; raises ``Unmapped`` with the reason where it cannot."""
    if row.phase == "kernel":
        raise Unmapped("single kernels are what the efficiency curves were fitted to")
    try:
        return _by_phase(row)
    except PenjingError as error:
        raise Unmapped(str(error)) from None


def _by_phase(row: Row) -> float:
    setting = setting_of(row)
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
