"""How the tokens of a batch share its loss: a weight for each, so that any split of it adds up."""

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

import torch
from torch import Tensor

from penjing.errors import BadQuantity


class Aggregation(StrEnum):
    """B: responses of the batch; n: tokens of a response; N: of all of them."""

    # 1 / (B n): every response counts the same. GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3
    SEQUENCE = "sequence"
    TOKEN = "token"  # 1 / N: every token counts the same. DAPO, arXiv 2503.14476, eq. 8
    # 1 / (B longest): no length is favoured. Dr. GRPO, arXiv 2503.20783, section 3.2
    CONSTANT = "constant"


def token_weights(
    lengths: Sequence[int],
    kind: Aggregation,
    *,
    longest: int | None = None,
    counts: Sequence[bool] | None = None,
) -> Tensor:
    """Of each token of each response, one behind the other, in fp32: the loss is their sum. [T]

    ``longest`` is the limit that generation had, needed by CONSTANT. ``counts`` false: a response
    is masked, such as a truncated one (DAPO's overlong filtering); its tokens weigh nothing and are
    no part of N, while B still counts it, as in TRL. Raises ``BadQuantity`` without a ``longest``.
    """
    kept = [True] * len(lengths) if counts is None else list(counts)
    total = sum(n for n, keep in zip(lengths, kept, strict=True) if keep)
    match kind:
        case Aggregation.SEQUENCE:
            shares = [1 / (len(lengths) * max(n, 1)) for n in lengths]
        case Aggregation.TOKEN:
            shares = [1 / max(total, 1)] * len(lengths)
        case Aggregation.CONSTANT:
            if longest is None:
                raise BadQuantity("the aggregation constant needs the most tokens of a response")
            shares = [1 / (len(lengths) * longest)] * len(lengths)
        case _:
            assert_never(kind)
    weights_B = torch.tensor([s * keep for s, keep in zip(shares, kept, strict=True)])
    return weights_B.to(torch.float32).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
