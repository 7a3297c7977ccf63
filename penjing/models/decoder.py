"""The one model: packed tokens in, hidden states out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from penjing.errors import RequestError
from penjing.models.arithmetic import Arithmetic
from penjing.models.attention import make_attention
from penjing.models.cache import cache_values_per_token
from penjing.models.config import GroupedQuery, Layer, ModelConfig, MoE
from penjing.models.feed_forward import make_feed_forward
from penjing.models.packed import Packed
from penjing.models.parameter import empty
from penjing.models.rope import turns
from penjing.models.run import Run


class Block(nn.Module):
    """One layer, pre-norm: attention, then feed-forward, each added to the stream."""

    def __init__(
        self, layer: Layer, config: ModelConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self._eps = config.norm_eps
        self.attention_norm = empty(dtype, device, config.width)
        self.attention = make_attention(layer.attention, config, dtype, device)
        self.feed_forward_norm = empty(dtype, device, config.width)
        self.feed_forward = make_feed_forward(layer.feed_forward, config, dtype, device)

    def forward(self, hidden_TD: Tensor, run: Run, layer: int) -> Tensor:
        a = run.arithmetic
        normed_TD = a.rms_norm("normed", hidden_TD, self.attention_norm, self._eps)
        hidden_TD = self.attention(normed_TD, hidden_TD, run, layer)
        normed_TD = a.rms_norm("normed", hidden_TD, self.feed_forward_norm, self._eps)
        hidden: Tensor = self.feed_forward(normed_TD, hidden_TD, run)
        return hidden


class MtpLayer(nn.Module):
    """Predicts the token after the next: DeepSeek-V3 report, section 2.2."""

    def __init__(
        self, layer: Layer, config: ModelConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self._eps = config.norm_eps
        self.embedding_norm = empty(dtype, device, config.width)
        self.hidden_norm = empty(dtype, device, config.width)
        self.projection = empty(dtype, device, config.width, 2 * config.width)
        self.block = Block(layer, config, dtype, device)
        self.norm = empty(dtype, device, config.width)

    def forward(self, embedded_TD: Tensor, hidden_TD: Tensor, run: Run, layer: int) -> Tensor:
        """From the next token's embedding and this one's hidden state, before the final norm."""
        a = run.arithmetic
        pair_TX = a.join(
            "mtp_pair",
            a.rms_norm("mtp_embedding", embedded_TD, self.embedding_norm, self._eps),
            a.rms_norm("mtp_hidden", hidden_TD, self.hidden_norm, self._eps),
        )
        hidden: Tensor = self.block(a.linear("hidden", pair_TX, self.projection), run, layer)
        return hidden


class Decoder(nn.Module):
    """Every family of the union; its weights are uninitialised until a checkpoint fills them.

    Raises ``RequestError`` for a config that can be planned but has parts that do not run here.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        require_runnable(config)
        device = torch.device(device)
        self.config = config
        self.embedding = empty(dtype, device, config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(x, config, dtype, device) for x in config.layers)
        self.norm = empty(dtype, device, config.width)
        tied = config.tied_embeddings
        self.head = None if tied else empty(dtype, device, config.vocab_size, config.width)
        self.mtp = nn.ModuleList(MtpLayer(x, config, dtype, device) for x in config.mtp)
        self._turns_PR = torch.empty(0, 0)

    def forward(
        self,
        packed: Packed,
        arithmetic: Arithmetic,
        caches: Sequence[Tensor] = (),
        *,
        expand: bool = False,
    ) -> Tensor:
        """Hidden states before the final norm. [T, D]"""
        run = self.run(packed, arithmetic, caches, expand=expand)
        hidden_TD = self.embed(packed.ids_T, arithmetic)
        for index, block in enumerate(self.layers):
            hidden_TD = block(hidden_TD, run, index)
        return hidden_TD

    def run(
        self,
        packed: Packed,
        arithmetic: Arithmetic,
        caches: Sequence[Tensor] = (),
        *,
        expand: bool = False,
    ) -> Run:
        return Run(
            packed=packed,
            arithmetic=arithmetic,
            turns_PR=self._turns(),
            caches=caches,
            expand=expand,
        )

    def embed(self, ids_T: Tensor, arithmetic: Arithmetic) -> Tensor:
        return arithmetic.pick("embedded", self.embedding, ids_T)

    def logits(self, hidden_TD: Tensor, arithmetic: Arithmetic) -> Tensor:
        """In fp32, whatever the weights are. [T, V]"""
        normed_TD = arithmetic.rms_norm("normed", hidden_TD, self.norm, self.config.norm_eps)
        head_VD = self.embedding if self.head is None else self.head
        return arithmetic.linear("logits", normed_TD, head_VD, dtype=torch.float32)

    def logprobs(self, packed: Packed, arithmetic: Arithmetic) -> Tensor:
        """Of each token given those before it in its document, in nats; 0 for a first one. [T]

        The forward pass of training, and of scoring: differentiable where gradients are on.
        """
        logits_TV = self.logits(self(packed, arithmetic), arithmetic)
        lse_T, _ = arithmetic.log_sum_exp(logits_TV)
        chosen_T = logits_TV[:-1].gather(1, packed.ids_T[1:, None])[:, 0] - lse_T[:-1]
        firsts = packed.spans_B3[:, 0].to(chosen_T.device).long()
        scores_T = torch.cat((chosen_T.new_zeros(1), chosen_T))
        return scores_T.index_fill(0, firsts, 0.0)

    def limit_positions(self, num_positions: int) -> None:
        """Keeps turns for that many positions only; without, for all that the model has."""
        rope = self.config.rope
        assert rope is not None
        self._turns_PR = turns(rope, num_positions).to(self.embedding.device)

    def new_caches(self, num_slots: int) -> list[Tensor]:
        """Room for that many tokens in every layer: C + R values, or keys and values. Zeroed."""
        like = self.embedding
        return [
            torch.zeros(
                num_slots,
                cache_values_per_token(layer.attention),
                dtype=like.dtype,
                device=like.device,
            )
            for layer in self.config.layers
        ]

    def _turns(self) -> Tensor:
        if self._turns_PR.numel() == 0:
            self.limit_positions(self.config.max_positions)
        return self._turns_PR


def require_runnable(config: ModelConfig) -> None:
    """What can be planned reaches further than what runs: says which part is missing."""
    missing = [part for part, absent in _lacks(config) if absent]
    if missing:
        raise RequestError(
            f"{config.name} can be planned but not run here: it has {', '.join(missing)}; models "
            "of the families of DeepSeek-V3, Llama, Mistral, Qwen2, Qwen3 and Qwen3-MoE run"
        )


def _lacks(config: ModelConfig) -> list[tuple[str, bool]]:
    attentions = [attention for attention, _ in config.attention_counts]
    grouped = [a for a in attentions if isinstance(a, GroupedQuery)]
    blocks = [block for block, _ in config.feed_forward_counts]
    routed = [block for block in blocks if isinstance(block, MoE)]
    partial = config.rope is not None and any(a.head_dim != config.rope.dim for a in grouped)
    return [
        ("attention sinks", any(a.sinks for a in grouped)),
        ("a sparse indexer", any(getattr(a, "indexer", None) is not None for a in attentions)),
        ("a rotary embedding of part of a head", partial),
        ("learnt positions", config.rope is None),
        ("LayerNorm", config.norm != "rms"),
        (f"the activation {config.activation}", config.activation != "silu"),
        ("biases in its feed-forward blocks", any(block.bias for block in blocks)),
        ("blocks without a gate", not all(getattr(block, "gated", True) for block in blocks)),
        ("a gate on its shared expert", any(block.shared_gate for block in routed)),
        ("a bias on its router", any(block.router.bias for block in routed)),
    ]
