"""What people write in benchmark tables, read back into quantities.

Nothing here knows a model or a chip; a text that cannot be read raises ``Unmapped`` with the
reason that the report prints.
"""

import re
from dataclasses import dataclass

from penjing.cost.layout import Layout
from penjing.cost.load import Arrivals, Burst, Clients, Load, Saturated
from penjing.cost.serving import ACCEPTED_TOKENS, Traffic
from penjing.plan.validate.number import (
    MOST_RANKS,
    MOST_REQUESTS,
    MOST_TOKENS,
    Unmapped,
    number,
    whole,
)
from penjing.plan.validate.row import Row

# Mean lengths of data sets (input, output) in tokens. Outputs: reference means of
# mlcommons/inference. Inputs: 405B 9,400, 8B 778 and R1 800 from MLCommons' articles; gpt-oss
# 5,011 from language/gpt-oss-120b/dataset_isl_distribution.png of mlcommons/inference at
# 38420392f; OpenOrca and Mixtral's mix are assumed, the rules state only the maximum.
_DATA_SETS = {
    "OpenOrca subset": (300.0, 294.45),
    "OpenOrca+GSM8K+MBXP": (300.0, 144.84),
    "CNN-DailyMail": (778.0, 128.0),
    "8,313 samples": (9400.0, 684.68),
    "4,388 samples": (800.0, 3886.2),
    "6,396 samples": (5011.0, 1278.2),
    "ShareGPT": (250.0, 200.0),
    "short": (64.0, 512.0),
}


def traffic_of(row: Row) -> Traffic:
    """Mean input and output tokens of a request."""
    return Traffic(
        input_tokens=max(1.0, _length(row.input_len, 0)),
        output_tokens=max(1.0, _length(row.output_len or row.input_len, 1)),
        varied=_is_mean(row.input_len),
    )


def _is_mean(text: str) -> bool:
    """Whether lengths vary: fixed ones are round figures (1000, 2048), means of a data set not."""
    if not re.fullmatch(r"\d+", text):
        return True
    tokens = int(text)
    return bool(tokens % 50 and tokens % 64) and tokens > 1


def input_tokens(row: Row) -> float:
    return max(1.0, _length(row.input_len, 0))


def _length(text: str, column: int) -> float:
    side = ("input", "output")[column]
    stated = re.search(r"(?:measured|ref) mean ([\d.]+)", text) or re.fullmatch(r"([\d.,]+)", text)
    stated = stated or re.search(r"avg KV ([\d,]+)", text)
    if stated:
        return number(stated[1], f"{side} length", MOST_TOKENS)
    for name, means in _DATA_SETS.items():
        if name in text:
            return means[column]
    raise Unmapped(f"{side} length not stated ({text or 'blank'})")


def load_of(row: Row, replicas: int) -> Load:
    """The load that one of ``replicas`` equal instances gets."""
    text = row.concurrency_or_batch
    if re.fullmatch(r"[\d.,]+", text):
        return Clients(concurrency=max(1.0, _requests(text) / replicas))
    rate = _rate(text)
    if rate is not None:
        count = re.match(r"(\d+) (?:prompts|requests)", text)
        return Arrivals(
            per_s=rate / replicas,
            requests=_requests(count[1]) / replicas if count else float("inf"),
        )
    burst = re.search(r"(\d+) requests, rate inf", text)
    if burst:
        peak = re.search(r"peak conc (\d+)", text)
        if peak and _requests(peak[1]) < _requests(burst[1]) // 2:
            return Clients(concurrency=max(1.0, _requests(peak[1]) / replicas))
        return Burst(requests=max(1.0, _requests(burst[1]) / replicas))
    if text.startswith(("max throughput", "offline", "Poisson", "max batch")):
        return Saturated()
    raise Unmapped(f"load not stated ({text or 'blank'})")


def _requests(text: str) -> float:
    requests = number(text, "number of requests", MOST_REQUESTS)
    if requests == 0:
        raise Unmapped("number of requests of zero")
    return requests


def _rate(text: str) -> float | None:
    """Requests a second; None where all arrive at once or nothing is said."""
    if "rate inf" in text:
        return None
    found = re.search(r"(?:target_qps |Poisson |@ ?|QPS ?)([\d.]+)|([\d.]+) ?QPS", text)
    if not found:
        return None
    rate = number(found[1] or found[2], "request rate", MOST_REQUESTS)
    if rate == 0:
        raise Unmapped("request rate of zero")
    return rate


def batch_of(row: Row, chips: int) -> float | None:
    """Sequences in flight over ``chips``; None where the row does not say."""
    text = row.concurrency_or_batch
    each = re.fullmatch(r"(\d+) per GPU", text)
    if each:
        return _requests(each[1]) * chips
    if re.fullmatch(r"\d+", text):
        return _requests(text)
    return None


# Mean time per token over its 99th percentile: median of 182 LoadGen logs of MLPerf v5.1 and v6.0.
MEAN_OF_P99 = 0.86


def latency_limit_s(row: Row) -> float | None:
    """Limit that the run met on the mean time per output token, in seconds; None: not stated."""
    found = re.search(r"(p99 )?[^;]*TPOT ?(?:<=?|of) ?(\d+)", row.notes)
    if not found:
        return None
    limit_ms = number(found[2], "limit on TPOT", 1e6)
    return limit_ms / 1e3 * (MEAN_OF_P99 if "p99" in found[0] else 1.0)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Layouts of the instances, and how many there are; ``layout`` None: not stated."""

    layout: Layout | None
    prefill_instances: int = 0  # of a disaggregated deployment
    decode_instances: int = 0
    virtual_stages: int = 1


def placement_of(text: str, *, mixture: bool) -> Placement:
    """Read ``tp8 dp8 EP dp-attention``, ``DEP4``, ``TP1PP2``, ``2P2D each tp2``, ``layer split``.

    ``mixture``: the model has experts, without which expert degrees mean nothing.
    """
    low = text.lower()
    pair = re.search(r"(\d+)p(\d+)d\b", low)
    if pair:
        found = re.search(r"tp(\d+)", low)
        if not found:
            raise Unmapped(f"layout of the instances not stated ({text})")
        return Placement(
            layout=Layout(tensor=_ranks(found[1])),
            prefill_instances=_ranks(pair[1]),
            decode_instances=_ranks(pair[2]),
        )
    if "cpu experts" in low:
        raise Unmapped("CPU and GPU share the layers, which is not modelled")
    split = re.search(r"layer split over (\d+)|(\d+)-way layer split", low)
    if split:
        return Placement(layout=Layout(pipeline=_ranks(split[1] or split[2])))
    if low.startswith("single"):
        return Placement(layout=Layout())
    return _degrees(low, mixture)


def _degrees(low: str, mixture: bool) -> Placement:
    tensor, data, pipeline = degree("tp", low), degree("dp", low), degree("pp", low)
    context, expert = degree("cp", low), degree("ep", low)
    both = re.search(r"\bdep(\d+)", low)
    if both:
        data = expert = _ranks(both[1])
    ranks = re.search(r"decode (\d+) ranks|x (\d+) gpus?|ep(\d+) \(18", low)
    if ranks and not (tensor or data or expert):
        data = expert = _ranks(ranks[1] or ranks[2] or ranks[3])
    if expert and not (tensor or data):
        data = expert  # wide expert parallelism keeps attention data parallel
    if expert and tensor == 1 and not data:
        data = expert
    if "attention" in low or "dp-attention" in low or "dp attn" in low:
        data = data or tensor or expert
        tensor = max(1, (tensor or 1) // (data or 1))
    if not any((tensor, data, pipeline, context, expert)):
        return Placement(layout=None)
    tensor, data, context = tensor or 1, data or 1, context or 1
    if not expert and re.search(r"\bep\b", low):
        expert = tensor * data
    expert = min(expert or 1, tensor * data * context) if mixture else 1
    layout = Layout(
        tensor=tensor, data=data, expert=expert, context=context, pipeline=pipeline or 1
    )
    return Placement(layout=layout, virtual_stages=degree("vp", low) or 1)


def degree(letters: str, low: str) -> int:
    """Ranks of one kind of parallelism in lower-case text; 0 where none is named."""
    found = re.search(rf"(?<![a-z]){letters}(\d+)|(?<=\d){letters}(\d+)", low)
    return _ranks(found[1] or found[2]) if found else 0


def _ranks(text: str) -> int:
    return whole(text, "degree of parallelism", MOST_RANKS)


_DEEPEST_DRAFT = len(ACCEPTED_TOKENS) - 1


def draft_depth_of(row: Row) -> int:
    """Tokens drafted a step by the model's own MTP head; other drafts are not modelled."""
    text = f"{row.parallelism} {row.notes}".lower()
    if re.search(r"eagle|suffix decoding|suffix_spec|n-?gram|medusa|speculative-draft", text):
        raise Unmapped("speculative decoding with a draft that is not the model's own MTP head")
    stated = re.search(r"mtp-?(\d)|(\d)[- ](?:mtp )?step|speculative-num-steps (\d)", text)
    if "mtp" not in text and "speculative" not in text:
        return 0
    if stated and "config" not in row.parallelism.lower():
        return whole(next(g for g in stated.groups() if g), "draft depth", _DEEPEST_DRAFT)
    return _ablation_depth(row)


def _ablation_depth(row: Row) -> int:
    """MTP named without a depth: the label's words, else two steps, SGLang's recipe for R1."""
    text = row.parallelism.lower()
    if "simulated mtp" in text or "1 mtp" in text:
        return 1
    return 3 if "3-step" in text or "larger draft" in text else 2
