"""``penjing plan``: which layout, how fast, in how much memory, at what price, and why."""

import argparse
from dataclasses import replace

from penjing.cli.answer import Answer, Json, table
from penjing.cost.engine import ENGINES
from penjing.cost.training_setup import STACKS, stack_named
from penjing.errors import BadQuantity, DoesNotFit, Unpublished
from penjing.hardware.budget import Budget, parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip, Confidence, Figure, Link
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.models.format import FORMATS
from penjing.plan.explain import explain, figure_rows, group_line
from penjing.plan.job import Job, Objective, RlJob, ServeJob, TrainJob
from penjing.plan.numerics import AUTO
from penjing.plan.plan import Plan, plan_document
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import parse_prices, prices
from penjing.plan.serving.search import Limits
from penjing.units import parse_count, parse_rate, parse_seconds

NAME = "plan"
HELP = "the best layout of a model on given chips, what to expect of it, and what limits it"

_MOST_TOKENS = 10_000_000  # of one request or sequence: beyond any model's context
_MOST_TRAINED = 10**18  # tokens of a whole run
_MOST_SEQUENCES = 10_000_000  # of one step
_NETWORK_BITS_PER_S = (1e6, 1e15)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, help="a bundled model, a config.json, or the folder of one"
    )
    parser.add_argument(
        "--chips", required=True, help="16xH20, 8xH20+8x910B, or here for this machine"
    )
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=("serve", "train", "rl"),
        default="serve",
        help="what to plan (default: serve)",
    )
    parser.add_argument(
        "--objective",
        choices=[o.value for o in Objective],
        default=Objective.THROUGHPUT.value,
        help="what the best has most of: tokens a second, a dollar, a joule; or the shortest wait",
    )
    _serving_flags(parser)
    _training_flags(parser)
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="[CHIP=]USD",
        help="dollars a chip-hour, for all chips or one; repeatable (default: the catalogue's)",
    )
    parser.add_argument(
        "--network", metavar="RATE", help="link between nodes for each chip, as in 400Gb/s"
    )
    parser.add_argument(
        "--weights",
        default=AUTO,
        help=f"number format of weights: auto, native, {', '.join(FORMATS)} (default: auto)",
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="CHIPS",
        help="plan the same on other chips and set them side by side; repeatable",
    )


def _serving_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("serving, and rollout of rl")
    flags.add_argument("--input", default="4096", help="tokens in, mean (default: 4096)")
    flags.add_argument("--output", default="1536", help="tokens out, mean (default: 1536)")
    flags.add_argument("--tpot", help="limit on the mean time per output token, as in 50ms")
    flags.add_argument("--ttft", help="limit on the mean time to first token, as in 2s")
    flags.add_argument("--kv", default=AUTO, help="cache format: auto, bf16, fp8 (default: auto)")
    flags.add_argument(
        "--engine",
        default=AUTO,
        choices=(AUTO, *ENGINES),
        metavar="NAME",
        help=f"whose host time and batch limits to count: {', '.join(ENGINES)} (default: by chip)",
    )


def _training_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("training, and update of rl")
    flags.add_argument("--tokens", default="1B", help="to train on, as in 14.8T (default: 1B)")
    flags.add_argument("--sequence", default="4096", help="tokens of one (default: 4096)")
    flags.add_argument("--batch", help="sequences a step (default: 1,024 or the chips, if more)")
    flags.add_argument(
        "--stack",
        default="megatron",
        choices=tuple(STACKS),
        help="how well tuned the training software is (default: megatron)",
    )
    flags.add_argument("--prompts", default="64", help="rl: prompts a step (default: 64)")
    flags.add_argument("--group", default="16", help="rl: responses a prompt (default: 16)")
    flags.add_argument("--longest", help="rl: longest response in tokens (default: 4 x --output)")


def answer(arguments: argparse.Namespace) -> Answer:
    model = load_model(arguments.model)
    budgets = [_budget(text, arguments.network) for text in (arguments.chips, *arguments.compare)]
    every = Budget(clusters=tuple(c for budget in budgets for c in budget.clusters))
    given = parse_prices(arguments.price, every, load_catalogue())
    if len(budgets) == 1:
        plan = _plan(arguments, model, budgets[0], given)
        return Answer(document=_document(plan), text=explain(plan))
    return _compared(arguments, model, budgets, given)


def _compared(
    arguments: argparse.Namespace,
    model: ModelConfig,
    budgets: list[Budget],
    given: dict[Chip, float],
) -> Answer:
    """The first plan whole, then all side by side; a budget that cannot is a row that says so."""
    outcomes = [_try(arguments, model, budget, given) for budget in budgets]
    plans = [outcome for outcome in outcomes if isinstance(outcome, Plan)]
    document: dict[str, Json] = {
        "plans": [
            _document(o) if isinstance(o, Plan) else {"budget": str(b), "error": str(o)}
            for o, b in zip(outcomes, budgets, strict=True)
        ]
    }
    first = outcomes[0]
    text = explain(first) if isinstance(first, Plan) else str(first)
    text += "\n\n" + side_by_side(budgets, outcomes)
    return Answer(document=document, text=text, exit_status=0 if plans else 1)


def side_by_side(budgets: list[Budget], outcomes: list[Plan | DoesNotFit | Unpublished]) -> str:
    """A table with a column for each budget, then what each runs."""
    plans = [o for o in outcomes if isinstance(o, Plan)]
    columns = [{str(row[0]): str(row[1]) for row in figure_rows(plan)} for plan in plans]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows: list[list[str]] = [[name, *(c.get(name, "-") for c in columns)] for name in names]
    rows.append(["limited by", *(_limit(plan) for plan in plans)])
    lines = [f"{plan.budget}: {group_line(g)}" for plan in plans for g in plan.groups]
    lines += [f"{b}: {o}" for b, o in zip(budgets, outcomes, strict=True) if o not in plans]
    return table(["", *(plan.budget for plan in plans)], rows) + "\n\n" + "\n".join(lines)


def _limit(plan: Plan) -> str:
    """The rate that 10 % more of would help most."""
    rate, gain = max(plan.gains.items(), key=lambda item: item[1])
    return f"{rate} ({gain:+.1%} for +10%)"


def _try(
    arguments: argparse.Namespace, model: ModelConfig, budget: Budget, given: dict[Chip, float]
) -> Plan | DoesNotFit | Unpublished:
    try:
        return _plan(arguments, model, budget, given)
    except (DoesNotFit, Unpublished) as error:
        return error


def _plan(
    arguments: argparse.Namespace, model: ModelConfig, budget: Budget, given: dict[Chip, float]
) -> Plan:
    limits = Limits(weights=arguments.weights, cache=arguments.kv, engine=arguments.engine)
    terms = Terms(limits=limits, prices=prices(budget, given), stack=stack_named(arguments.stack))
    return make_plan(model, _job(arguments, model.name, budget), budget, terms)


def _job(arguments: argparse.Namespace, model: str, budget: Budget) -> Job:
    objective = Objective(arguments.objective)
    match arguments.purpose:
        case "serve":
            return ServeJob(
                model=model,
                input_tokens=_tokens(arguments.input, "--input"),
                output_tokens=_tokens(arguments.output, "--output"),
                tpot_limit_s=_limit_s(arguments.tpot, "--tpot"),
                ttft_limit_s=_limit_s(arguments.ttft, "--ttft"),
                objective=objective,
            )
        case "train":
            batch = arguments.batch or str(max(1024, budget.chips))
            return TrainJob(
                model=model,
                tokens=float(_count(arguments.tokens, "--tokens", _MOST_TRAINED)),
                sequence=_tokens(arguments.sequence, "--sequence"),
                batch=_count(batch, "--batch", _MOST_SEQUENCES),
                objective=objective,
            )
        case _:
            output = _tokens(arguments.output, "--output")
            longest = arguments.longest or str(4 * output)
            return RlJob(
                model=model,
                prompts=_count(arguments.prompts, "--prompts", _MOST_SEQUENCES),
                group=_count(arguments.group, "--group", _MOST_SEQUENCES),
                input_tokens=_tokens(arguments.input, "--input"),
                output_tokens=output,
                longest_output=_tokens(longest, "--longest"),
                objective=objective,
            )


def _tokens(text: str, flag: str) -> int:
    return _count(text, flag, _MOST_TOKENS, " tokens")


def _count(text: str, flag: str, most: int, of: str = "") -> int:
    number = parse_count(text, flag)
    if number > most:
        raise BadQuantity(f"{flag} {text!r}: more than {most:,}{of}; check the number")
    return number


def _limit_s(text: str | None, flag: str) -> float | None:
    return None if text is None else parse_seconds(text, flag)


def _budget(text: str, network: str | None) -> Budget:
    budget = parse_budget(text, load_catalogue())
    if network is None:
        return budget
    bits_per_s = parse_rate(network, "b", "--network")
    low, high = _NETWORK_BITS_PER_S
    if not low <= bits_per_s <= high:
        raise BadQuantity(f"--network {network!r}: below 1 Mb/s or above 1 Pb/s; check the number")
    figure = Figure(
        value=bits_per_s / 8,
        text=network,
        source=("given",),
        confidence=Confidence.MEASURED,
        note="",
    )
    link = Link(name=f"{network} a chip, as given", bytes_per_s=figure)
    clusters = tuple(
        replace(cluster, chip=replace(cluster.chip, network=link)) for cluster in budget.clusters
    )
    return replace(budget, clusters=clusters)


def _document(plan: Plan) -> Json:
    document: Json = plan_document(plan)  # type: ignore[assignment]
    return document
