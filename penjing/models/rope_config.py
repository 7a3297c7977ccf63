"""The rotary embedding of a Hugging Face config, in both of its spellings.

Up to transformers 4 a config has ``rope_theta`` and ``rope_scaling``; from 5 on, one object
``rope_parameters`` holds both. Files saved by one and edited for the other carry the two together.
"""

from penjing.errors import BadFile, Contradiction
from penjing.models.config import LinearScaling, Llama3Scaling, Rope, RopeScaling, Yarn
from penjing.models.config_json import ConfigJson

_TYPES = ("default", "linear", "llama3", "yarn")
_MAX_POSITIONS = 10**9


def rope_from(
    config: ConfigJson,
    head_dim: int,
    *,
    default_theta: float | None = None,
    default_share: float | None = None,
) -> Rope:
    """The embedding of a head; the two spellings have to agree where both are there.

    ``default_share`` belongs to families that turn only part of a head, and is what they take
    without a ``partial_rotary_factor``; for the others that key is one they do not understand.
    """
    old, new = config.section("rope_scaling"), config.section("rope_parameters")
    dim = head_dim
    if default_share is not None:
        share = _either(config, new, "partial_rotary_factor") or default_share
        if share > 1:
            raise Contradiction(
                f"config of {config.where}: partial_rotary_factor is {share:g}; it is a share of "
                "a head, at most 1"
            )
        dim = int(head_dim * share)
    if dim < 2 or dim % 2:
        raise Contradiction(
            f"config of {config.where}: the rotary width is {dim}; it must be even, as values "
            "turn in pairs"
        )
    theta = _either(config, new, "rope_theta") or default_theta
    if theta is None:
        raise BadFile(
            f"config of {config.where}: rope_theta is missing; add it to config.json, alone or "
            "in rope_parameters"
        )
    scalings = [_scaling(section) for section in (old, new) if section]
    if len(scalings) == 2 and scalings[0] != scalings[1]:
        raise Contradiction(
            f"config of {config.where}: rope_scaling and rope_parameters disagree; keep one"
        )
    return Rope(theta=theta, dim=dim, scaling=scalings[0] if scalings else None)


def _either(config: ConfigJson, inner: ConfigJson | None, key: str) -> float | None:
    """A number that may stand at the top, inside ``rope_parameters``, or alike in both."""
    top = config.number_or_none(key)
    nested = inner.number_or_none(key) if inner else None
    if top and nested and top != nested:
        raise Contradiction(
            f"config of {config.where}: {key} is {top:g} but {nested:g} in rope_parameters; "
            "keep one"
        )
    return top or nested


def _scaling(section: ConfigJson) -> RopeScaling | None:
    kind = section.text(section.spelling("rope_type", "type"), "default")
    # Sections of mrope turn by the height and width of images; for text all turn by the position.
    section.known("rope_theta", "mrope_section", "mrope_interleaved")
    scaling: RopeScaling | None
    match kind:
        case "default":
            scaling = None
        case "linear":
            scaling = LinearScaling(factor=section.number("factor"))
        case "llama3":
            scaling = _llama3(section)
        case "yarn":
            scaling = _yarn(section)
        case _:
            raise section.unsupported("rope_type", kind, _TYPES)
    section.refuse_unread(f"{kind} rope")
    return scaling


def _original(section: ConfigJson) -> int:
    return section.integer("original_max_position_embeddings", at_most=_MAX_POSITIONS)


def _llama3(section: ConfigJson) -> Llama3Scaling:
    low, high = section.number("low_freq_factor"), section.number("high_freq_factor")
    if low >= high:
        raise Contradiction(
            f"config of {section.where}: low_freq_factor {low:g} must be below high_freq_factor "
            f"{high:g}"
        )
    return Llama3Scaling(
        factor=section.number("factor"),
        original_positions=_original(section),
        low_freq_factor=low,
        high_freq_factor=high,
    )


def _yarn(section: ConfigJson) -> Yarn:
    return Yarn(
        factor=section.number("factor"),
        original_positions=_original(section),
        beta_fast=section.number("beta_fast", 32.0),
        beta_slow=section.number("beta_slow", 1.0),
        mscale=section.number_or_none("mscale"),
        mscale_all_dim=section.number_or_none("mscale_all_dim"),
        attention_factor=section.number_or_none("attention_factor"),
        truncate=section.flag("truncate", True),
    )
