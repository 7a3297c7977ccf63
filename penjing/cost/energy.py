"""Electric power of a chip at work.

No vendor publishes power by kind of work, so this is assumed: a chip draws a fixed share of its
rated power as soon as its clocks are up, and the rest in proportion to how busy its matrix units
and its memory are. Hosts, network and cooling are not counted.
"""

from collections.abc import Iterable

import numpy as np

from penjing.cost.op import Quantity
from penjing.cost.roofline import Timing, total_seconds
from penjing.hardware.chip import Chip

# Assumed; a decode step that streams memory comes out at about two thirds of rated power, a
# prefill that fills the matrix units at nine tenths.
STANDING_SHARE = 0.35
COMPUTE_SHARE = 0.50
MEMORY_SHARE = 0.30


def pass_power_w(timings: Iterable[Timing], seconds: Quantity, chip: Chip) -> Quantity | None:
    """Mean watts of one chip over a pass that takes ``seconds``; None where no rating is known."""
    if chip.power_w is None:
        return None
    timings = list(timings)
    compute = sum_parts(t.compute_s for t in timings)
    memory = sum_parts(t.memory_s for t in timings)
    busy = np.maximum(seconds, total_seconds(timings))
    share = STANDING_SHARE + (COMPUTE_SHARE * compute + MEMORY_SHARE * memory) / busy
    watts: Quantity = chip.power_w.value * np.minimum(share, 1.0)
    return watts


def sum_parts(parts: Iterable[Quantity]) -> Quantity:
    total: Quantity = 0.0
    for part in parts:
        total = total + part
    return total
