"""From the best choice of a search to a plan."""

from dataclasses import replace

from penjing.cost.interval import Metric
from penjing.cost.memory import usable_bytes
from penjing.cost.roofline import Bound, Hardware, Timing
from penjing.cost.serving import (
    Instance,
    Traffic,
    decode_step_s,
    decode_timings,
    prefill_latency_s,
    prefill_request_s,
    prefill_timings,
    steady_state,
    token_s,
)
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.plan.bottleneck import MORE, RATES, operator_classes
from penjing.plan.job import Objective, ServeJob
from penjing.plan.plan import (
    Alternative,
    Basis,
    MemoryUse,
    OperatorClass,
    Plan,
    Predicted,
    ServeFigures,
    ServingGroup,
)
from penjing.plan.predicted import basis_of, inverse, predicted, provenance, times
from penjing.plan.price import Price, price_line
from penjing.plan.serving.apart import MOST_BUSY
from penjing.plan.serving.choice import Choice, Group, Role, score
from penjing.plan.serving.search import Found, traffic_of
from penjing.units import format_seconds

ALTERNATIVES = 5


def serving_plan(
    job: ServeJob,
    budget: Budget,
    found: Found,
    prices: dict[Chip, Price],
    notes: tuple[str, ...],
) -> Plan:
    """The plan of the best choice; ``found`` has at least one."""
    best, traffic = found.choices[0], traffic_of(job)
    hardware = [group.sweep.pool.hardware for group in best.groups]
    figures = _figures(best, budget, traffic, prices, basis_of(hardware))
    return Plan(
        job=job,
        budget=str(budget),
        chips=budget.chips,
        groups=tuple(_group(group) for group in best.groups),
        figures=figures,
        gains={str(rate): gain(best, traffic, rate) for rate in RATES},
        operators=tuple(row for group in best.groups for row in _operators(group, traffic)),
        alternatives=alternatives(found, job, prices),
        layouts_tried=found.layouts,
        points_tried=found.points,
        infeasible=dict(found.infeasible.most_common()),
        reasons=notes + _limits_said(job, figures) + _reasons(best, budget, prices),
        provenance=provenance(hardware),
    ).sealed()


def describe(choice: Choice) -> str:
    """A choice in one line, without its batch."""
    return " + ".join(_describe_group(group) for group in choice.groups)


def _describe_group(group: Group) -> str:
    role = "" if group.role is Role.SERVE else f"{group.role} "
    drafts = f", {group.depth} drafted" if group.depth else ""
    storage = group.sweep.storage
    return (
        f"{role}{group.count} x [{group.sweep.layout}] on {group.chips} {group.chip.name} "
        f"{storage.weights}/{storage.cache}{drafts}"
    )


def alternatives(found: Found, job: ServeJob, prices: dict[Chip, Price]) -> tuple[Alternative, ...]:
    """The next best that differ in what is run, not merely in its batch."""
    traffic, best = traffic_of(job), found.choices[0]
    top = score(best, job.objective, traffic, prices)
    seen = {describe(best)}
    rows: list[Alternative] = []
    for choice in found.choices[1:]:
        name = describe(choice)
        if name in seen:
            continue
        seen.add(name)
        worth = score(choice, job.objective, traffic, prices)
        rows.append(
            Alternative(
                layout=name,
                tokens_per_s=choice.tokens_per_s,
                tpot_s=choice.tpot_s,
                ttft_s=choice.ttft_s,
                behind=(top - worth) / abs(top) if worth > -float("inf") else 1.0,
            )
        )
        if len(rows) == ALTERNATIVES:
            break
    return tuple(rows)


def gain(choice: Choice, traffic: Traffic, rate: Bound) -> float:
    """Share by which throughput rises with 10 % more of ``rate`` on every chip, batches kept."""
    return _faster_rate(choice, traffic, rate) / choice.tokens_per_s - 1.0


def _faster_rate(choice: Choice, traffic: Traffic, rate: Bound) -> float:
    """Output tokens a second on the faster chips: a sum side by side, the slower side apart."""
    total, ahead, behind = 0.0, 0.0, 0.0
    for group in choice.groups:
        instance = _scaled(group.instance, rate)
        match group.role:
            case Role.SERVE:
                state = steady_state(instance, traffic, group.sequences)
                total += float(state.output_tokens_per_s) * group.count
            case Role.PREFILL:
                busy = max(MOST_BUSY, 1.0 - group.idle_share)
                each = prefill_request_s(instance, traffic.input_tokens)
                ahead += busy * group.count / each * traffic.output_tokens
            case Role.DECODE:
                each = float(token_s(instance, group.sequences, traffic.context_tokens))
                behind += group.count * group.sequences / each
    return total + min(ahead, behind)


def _scaled(instance: Instance, rate: Bound) -> Instance:
    return replace(instance, hardware=instance.hardware.scaled(rate, MORE))


def _figures(
    choice: Choice,
    budget: Budget,
    traffic: Traffic,
    prices: dict[Chip, Price],
    basis: Basis,
) -> ServeFigures:
    rate = predicted(choice.tokens_per_s, Metric.OFFLINE, basis)
    watts, usd_per_h = choice.power_w(traffic), choice.usd_per_h(prices)
    power = None if watts is None else Predicted(value=watts, basis=Basis.ASSUMED)
    joules = None
    if watts is not None:
        joules = replace(inverse(rate, watts), basis=Basis.ASSUMED)
    usd = None if usd_per_h is None else inverse(rate, usd_per_h / 3600 * 1e6)
    if usd is not None and any(prices[group.chip].is_assumed for group in choice.groups):
        usd = replace(usd, basis=Basis.ASSUMED)
    return ServeFigures(
        tokens_per_s=rate,
        tokens_per_s_per_chip=times(rate, 1.0 / budget.chips),
        requests_per_s=times(rate, 1.0 / traffic.output_tokens),
        tpot_s=predicted(choice.tpot_s, Metric.TPOT, basis),
        ttft_s=predicted(choice.ttft_s, Metric.TTFT, basis),
        transfer_s=choice.transfer_s,
        power_w=power,
        joules_per_token=joules,
        usd_per_million_tokens=usd,
    )


def _group(group: Group) -> ServingGroup:
    sweep = group.sweep
    return ServingGroup(
        role=group.role.value,
        chip=group.chip.name,
        instances=group.count,
        layout=sweep.layout,
        engine=sweep.pool.engine.name,
        weights=sweep.storage.weights,
        cache=sweep.storage.cache,
        draft_depth=group.depth,
        sequences=max(1, int(group.sequences)),
        prefill_tokens=sweep.pool.engine.prefill_tokens,
        memory=serving_memory(group),
    )


def serving_memory(group: Group) -> MemoryUse:
    """Bytes on the fullest chip with ``group.sequences`` running."""
    space, capacity = group.sweep.room, group.chip.capacity_bytes
    cached = space.sequence_bytes * group.sequences / group.sweep.layout.data
    return MemoryUse(
        capacity_bytes=capacity,
        weights_bytes=space.weights_bytes,
        cache_bytes=cached,
        activations_bytes=space.activations_bytes,
        reserved_bytes=capacity - usable_bytes(capacity),
    )


def _operators(group: Group, traffic: Traffic) -> tuple[OperatorClass, ...]:
    """Classes of the passes that the group runs."""
    instance, engine = group.instance, group.sweep.pool.engine
    hardware = group.sweep.pool.hardware
    prompts = max(1.0, engine.prefill_tokens // traffic.input_tokens)
    found: tuple[OperatorClass, ...] = ()
    if group.role is not Role.PREFILL:

        def decode(on: Hardware) -> list[Timing]:
            moved = replace(instance, hardware=on)
            return decode_timings(moved, group.sequences, traffic.context_tokens)

        step = float(decode_step_s(instance, group.sequences, traffic.context_tokens))
        found += operator_classes("decode", decode, hardware, step)
    if group.role is not Role.DECODE:

        def prefill(on: Hardware) -> list[Timing]:
            return prefill_timings(replace(instance, hardware=on), prompts, traffic.input_tokens)

        step = float(prefill_latency_s(instance, prompts, traffic.input_tokens))
        found += operator_classes("prefill", prefill, hardware, step)
    return found


def _limits_said(job: ServeJob, figures: ServeFigures) -> tuple[str, ...]:
    """How far the limits are kept."""
    unlimited = job.tpot_limit_s is None and job.ttft_limit_s is None
    if unlimited and job.objective is Objective.THROUGHPUT:
        return ("no --tpot given: the batch may be as large as memory and engine allow",)
    limits = (
        ("TPOT", job.tpot_limit_s, figures.tpot_s.high),
        ("TTFT", job.ttft_limit_s, figures.ttft_s.high),
    )
    return tuple(
        f"{name} keeps its limit as predicted, but its interval reaches {format_seconds(high)}"
        for name, limit, high in limits
        if limit is not None and high is not None and high > limit
    )


def _reasons(choice: Choice, budget: Budget, prices: dict[Chip, Price]) -> tuple[str, ...]:
    """What a reader should know before acting on the plan."""
    said: list[str] = []
    if choice.chips < budget.chips:
        said.append(f"{budget.chips - choice.chips} of {budget.chips} chips stay idle")
    for group in choice.groups:
        storage = group.sweep.storage
        if storage.weights not in ("native", "bf16"):
            said.append(
                f"{group.chip.name}: weights are converted to {storage.weights}; "
                "check the accuracy of the converted checkpoint"
            )
        if storage.cache == "fp8":
            said.append(f"{group.chip.name}: cache in fp8; --kv bf16 keeps 16 bits")
        said.append(price_line(group.chip, prices))
    return tuple(dict.fromkeys(said))
