"""Every operator of one forward pass, for every variant of the model union, on one chip.

Letters follow docs/notation.md; lower-case locals are one chip's share of them.
"""

from penjing.cost.attention import attention_ops
from penjing.cost.feed_forward import feed_forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op, collective, elementwise, gemm
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import Attention, ModelConfig


def forward_ops(
    model: ModelConfig,
    layout: Layout,
    work: Pass,
    numerics: Numerics,
    *,
    stage_chips: int | None = None,
) -> list[Op]:
    """All operators of the pass through every layer and the head, as one chip of a stage sees it.

    Layers of all pipeline stages are listed: the sum of the times is a token's latency, and
    1/pipeline of it is a stage's share. Stages follow each other in rank order, ``stage_chips``
    apart: more than the layout's own where it is one of several copies in a stage.
    """
    ops = [elementwise("embedding", work.tokens * model.width)]
    ops += _norms(model.width, work, len(model.layers))
    for attention, count in model.attention_counts:
        ops += _attention(attention, model.width, layout, work, numerics, count)
    for block, count in model.feed_forward_counts:
        ops += feed_forward_ops(block, model.width, layout, work, numerics, float(count))
    if layout.pipeline > 1:
        boundary = work.tokens * model.width * 2.0 / layout.tensor
        ops.append(
            collective(
                "pipeline.send",
                Kind.SEND,
                boundary,
                layout.pipeline,
                stride=stage_chips or layout.stage_chips,
                calls=layout.pipeline - 1,
            )
        )
    return ops + head_ops(model, layout, work, numerics)


def draft_ops(model: ModelConfig, layout: Layout, work: Pass, numerics: Numerics) -> list[Op]:
    """One multi-token-prediction step: DeepSeek-V3 report, eq. 21-23."""
    d = model.width
    ops = [gemm("mtp.project", work.tokens, d / layout.tensor, 2 * d, numerics.weights.dense)]
    for layer in model.mtp[:1]:
        ops += _norms(d, work, 1)
        ops += _attention(layer.attention, d, layout, work, numerics, 1)
        ops += feed_forward_ops(layer.feed_forward, d, layout, work, numerics, 1.0)
    return ops + head_ops(model, layout, work, numerics)


def _norms(width: int, work: Pass, layers: int) -> list[Op]:
    """Two a layer, each fused with the residual."""
    return [elementwise("norm", work.tokens * width, reads=2.0, writes=2.0, calls=2.0 * layers)]


def _attention(
    attention: Attention, width: int, layout: Layout, work: Pass, numerics: Numerics, count: int
) -> list[Op]:
    """``count`` equal blocks, with the reduction that closes each."""
    ops = attention_ops(attention, width, layout, work, numerics, float(count))
    if layout.tensor == 1:
        return ops
    message, kind = work.tokens * width * 2.0, Kind.ALL_REDUCE
    reduced = collective("attention.all_reduce", kind, message, layout.tensor, calls=float(count))
    return [*ops, reduced]


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
