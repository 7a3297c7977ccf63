"""The feed-forward blocks of a Hugging Face config: dense, routed, and which layer has which."""

from penjing.errors import Contradiction
from penjing.models.config import Dense, FeedForward, MoE, Router, Scoring
from penjing.models.config_json import ConfigJson

_MLP_TYPES = {"dense": True, "sparse": False}


def dense(config: ConfigJson, *, bias: bool = False) -> Dense:
    return Dense(width=config.integer("intermediate_size"), bias=bias)


def moe(
    config: ConfigJson,
    router: Router,
    *,
    width_key: str = "moe_intermediate_size",
    shared_width: int = 0,
    shared_gate: bool = False,
    bias: bool = False,
) -> MoE:
    """Routed experts, whatever the family calls them."""
    experts = config.spelling("n_routed_experts", "num_experts", "num_local_experts")
    chosen = config.spelling("num_experts_per_tok", "experts_per_token")
    block = MoE(
        num_experts=config.integer(experts),
        experts_per_token=config.integer(chosen),
        expert_width=config.integer(width_key),
        shared_width=shared_width,
        shared_gate=shared_gate,
        bias=bias,
        router=router,
    )
    _check_routing(config, block)
    return block


def shared_width(config: ConfigJson) -> int:
    """Width of the shared experts together: each is as wide as a routed one."""
    key = config.spelling("n_shared_experts", "num_shared_experts")
    return config.integer(key, 0, at_least=0) * config.integer("moe_intermediate_size")


def deepseek_v2_router(config: ConfigJson) -> Router:
    """Softmax scores; groups, where used, rank by their best expert (V2, section 2.2.2)."""
    if config.text("scoring_func", "softmax") != "softmax":
        raise config.unsupported("scoring_func", config.text("scoring_func"), ["softmax"])
    grouped = config.choice(
        "topk_method", {"greedy": False, "group_limited_greedy": True}, "greedy"
    )
    config.known("n_group", "topk_group")
    normalise = config.flag("norm_topk_prob", False)
    scale = config.number("routed_scaling_factor", 1.0)
    if normalise and scale != 1:
        raise Contradiction(
            f"config of {config.where}: norm_topk_prob is true and routed_scaling_factor "
            f"{scale:g}; DeepSeek-V2 normalises the weights or scales them, not both"
        )
    return Router(
        scoring=Scoring.SOFTMAX,
        num_groups=config.integer("n_group") if grouped else 1,
        top_groups=config.integer("topk_group") if grouped else 1,
        normalise=normalise,
        scale=scale,
    )


def deepseek_v3_router(config: ConfigJson) -> Router:
    """Sigmoid scores, a bias for choosing, groups ranked by their two best (V3, section 2.1.2)."""
    if config.text("scoring_func", "sigmoid") != "sigmoid":
        raise config.unsupported("scoring_func", config.text("scoring_func"), ["sigmoid"])
    if config.text("topk_method", "noaux_tc") != "noaux_tc":
        raise config.unsupported("topk_method", config.text("topk_method"), ["noaux_tc"])
    return Router(
        scoring=Scoring.SIGMOID,
        num_groups=config.integer("n_group"),
        top_groups=config.integer("topk_group"),
        group_score="top2-sum",
        normalise=config.flag("norm_topk_prob"),
        scale=config.number("routed_scaling_factor"),
        correction_bias=True,
    )


def first_dense(config: ConfigJson, first: FeedForward, rest: FeedForward) -> list[FeedForward]:
    """``first`` in the ``first_k_dense_replace`` leading layers, or where mlp_layer_types says."""
    num_layers = config.integer("num_hidden_layers", at_most=10_000)
    frequency = config.integer("moe_layer_freq", 1)
    if frequency != 1:
        raise config.unsupported("moe_layer_freq", frequency, ["1"])
    types = config.strings("mlp_layer_types")
    if types is None or config.has("first_k_dense_replace"):
        count = config.integer("first_k_dense_replace", at_least=0)
        if count > num_layers:
            raise Contradiction(
                f"config of {config.where}: first_k_dense_replace {count} is more than the "
                f"{num_layers} layers of num_hidden_layers"
            )
        counted = ("dense",) * count + ("sparse",) * (num_layers - count)
        if types not in (None, counted):
            raise Contradiction(
                f"config of {config.where}: mlp_layer_types and first_k_dense_replace {count} "
                "disagree; keep one"
            )
        types = counted
    return _by_type(config, types, num_layers, first, rest)


def every_layer(config: ConfigJson, block: FeedForward) -> list[FeedForward]:
    return [block] * config.integer("num_hidden_layers", at_most=10_000)


def _by_type(
    config: ConfigJson,
    types: tuple[str, ...],
    num_layers: int,
    first: FeedForward,
    rest: FeedForward,
) -> list[FeedForward]:
    unknown = next((t for t in types if t not in _MLP_TYPES), None)
    if unknown is not None:
        raise config.unsupported("mlp_layer_types", unknown, _MLP_TYPES)
    if len(types) != num_layers:
        raise Contradiction(
            f"config of {config.where}: mlp_layer_types lists {len(types)} layers, but "
            f"num_hidden_layers is {num_layers}"
        )
    return [first if _MLP_TYPES[t] else rest for t in types]


def _check_routing(config: ConfigJson, block: MoE) -> None:
    router, where = block.router, config.where
    experts, chosen = block.num_experts, block.experts_per_token
    if chosen > experts:
        raise Contradiction(
            f"config of {where}: a token goes to {chosen} experts, but there are {experts}"
        )
    if experts % router.num_groups:
        raise Contradiction(
            f"config of {where}: {experts} experts do not divide into n_group {router.num_groups}"
        )
    if router.top_groups > router.num_groups:
        raise Contradiction(
            f"config of {where}: topk_group {router.top_groups} is more than n_group "
            f"{router.num_groups}"
        )
    per_group = experts // router.num_groups
    if chosen > router.top_groups * per_group:
        raise Contradiction(
            f"config of {where}: a token goes to {chosen} experts, but the {router.top_groups} "
            f"groups it may choose from hold {router.top_groups * per_group}"
        )
    if router.num_groups > 1 and router.group_score == "top2-sum" and per_group < 2:
        raise Contradiction(
            f"config of {where}: groups rank by their two best experts, but n_group "
            f"{router.num_groups} leaves each with {per_group}"
        )
