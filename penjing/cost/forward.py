"""Every operator of one forward pass, for every variant of the model union, on one chip.

Letters follow docs/notation.md; lower-case locals are one chip's share of them.
"""

from penjing.cost.attention import attention_ops
from penjing.cost.feed_forward import feed_forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op, collective, elementwise, gemm
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import Layer, ModelConfig


def forward_ops(model: ModelConfig, layout: Layout, work: Pass, numerics: Numerics) -> list[Op]:
    """All operators of the pass through every layer and the head, as one chip of a stage sees it.

    Layers of all pipeline stages are listed: the sum of the times is a token's latency, and
    1/pipeline of it is a stage's share.
    """
    ops = [elementwise("embedding", work.tokens * model.width)]
    for layer, count in model.layer_counts():
        ops += layer_ops(layer, model.width, layout, work, numerics, count)
    if layout.pipeline > 1:
        boundary = work.tokens * model.width * 2.0 / layout.tensor
        ops.append(
            collective(
                "pipeline.send",
                Kind.SEND,
                boundary,
                layout.pipeline,
                stride=layout.stage_chips,
                calls=layout.pipeline - 1,
            )
        )
    return ops + head_ops(model, layout, work, numerics)


def draft_ops(model: ModelConfig, layout: Layout, work: Pass, numerics: Numerics) -> list[Op]:
    """One multi-token-prediction step: DeepSeek-V3 report, eq. 21-23."""
    d = model.width
    ops = [gemm("mtp.project", work.tokens, d / layout.tensor, 2 * d, numerics.weights.dense)]
    for layer in model.mtp[:1]:
        ops += layer_ops(layer, d, layout, work, numerics, 1)
    return ops + head_ops(model, layout, work, numerics)


def layer_ops(
    layer: Layer, width: int, layout: Layout, work: Pass, numerics: Numerics, count: int
) -> list[Op]:
    """One decoder block, ``count`` times."""
    calls = float(count)
    ops = [elementwise("norm", work.tokens * width, reads=2.0, writes=2.0, calls=2 * calls)]
    ops += attention_ops(layer.attention, width, layout, work, numerics, calls)
    if layout.tensor > 1:
        message = work.tokens * width * 2.0
        ops.append(
            collective("attention.all_reduce", Kind.ALL_REDUCE, message, layout.tensor, calls=calls)
        )
    return ops + feed_forward_ops(layer.feed_forward, width, layout, work, numerics, calls)


def head_ops(model: ModelConfig, layout: Layout, work: Pass, numerics: Numerics) -> list[Op]:
    """Final norm, output head over a slice of the vocabulary, gathering of its logits."""
    rows = work.sequences * work.logits
    share = model.vocab_size / layout.tensor
    ops = [
        elementwise("head.norm", rows * model.width),
        gemm("head", rows, share, model.width, numerics.weights.embedding),
    ]
    if work.phase is Phase.TRAIN:  # cross-entropy in fp32: logits, maximum, sum, gradient
        ops.append(elementwise("loss", rows * share, reads=4.0, writes=2.0))
    elif layout.tensor > 1:
        logits = rows * model.vocab_size * 2.0
        ops.append(collective("head.gather", Kind.ALL_GATHER, logits, layout.tensor))
    return ops
