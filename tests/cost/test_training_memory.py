from dataclasses import replace

import pytest

from penjing.cost.layout import Layout
from penjing.cost.memory import usable_bytes
from penjing.cost.training_memory import (
    Held,
    TrainMemory,
    held_parameters,
    recomputations,
    train_memory,
)
from penjing.cost.training_setup import Recompute, TrainSetup, Zero
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.models.parameters import attention_parameters, count_parameters

LLAMA = load_model("Llama-3.1-8B")
GPT3 = load_model("GPT-3-175B")
V3 = load_model("DeepSeek-V3")
MIXTRAL = load_model("Mixtral-8x7B")
H800 = load_catalogue().find("H800 SXM").chip
GIB = 2.0**30
PLAIN = TrainSetup(layout=Layout(data=8), sequence=4096, global_batch=64)


def memory_of(setup: TrainSetup) -> TrainMemory:
    return train_memory(LLAMA, setup, H800)


def test_one_chip_holds_all_parameters() -> None:
    held = held_parameters(LLAMA, Layout())
    # All but the final norm.
    assert held == Held(dense=count_parameters(LLAMA).total - 4096, experts=0.0)


def test_tied_tables_are_held_once() -> None:
    tied = load_model("Qwen2.5-1.5B")
    assert held_parameters(tied, Layout()).total == count_parameters(tied).total - 1536


@pytest.mark.parametrize("tensor", [2, 8])
def test_tensor_ranks_share_what_they_hold_but_for_norms(tensor: int) -> None:
    norms = 32 * 2 * 4096
    whole, share = (held_parameters(LLAMA, Layout(tensor=n)).dense - norms for n in (1, tensor))
    assert share * tensor == whole


def test_stages_share_layers_and_have_one_table_each() -> None:
    """Llama-3.1-8B on four stages: 8 of 32 layers and the embedding."""
    table = 128256 * 4096
    layers = held_parameters(LLAMA, Layout()).dense - 2 * table
    assert held_parameters(LLAMA, Layout(pipeline=4)).dense == layers / 4 + table


@pytest.mark.parametrize("expert", [1, 2, 8])
def test_expert_ranks_share_whole_experts(expert: int) -> None:
    """Mixtral: 32 layers of 8 experts of 176 M."""
    held = held_parameters(MIXTRAL, Layout(data=8, expert=expert))
    assert held.experts == pytest.approx(32 * 8 / expert * 3 * 4096 * 14336, rel=1e-7)


def test_all_experts_of_v3_over_a_stage() -> None:
    """16 stages of up to 4 layers, 64 expert ranks: 4 experts a layer on each chip."""
    held = held_parameters(V3, Layout(data=128, expert=64, pipeline=16))
    assert held.experts == pytest.approx(4 * 4 * 3 * 7168 * 2048, rel=1e-7)


def test_the_fullest_stage_of_v3_by_hand() -> None:
    """The three dense layers and one with experts; the most experts are elsewhere, but both count.

    A stage of four: 187.1 M of attention each, 396.4 M thrice or 44.0 M shared and a router.
    """
    held = held_parameters(V3, Layout(data=128, expert=64, pipeline=16))
    attention = attention_parameters(V3.layers[0].attention, 7168)
    dense = 4 * (attention + 2 * 7168) + 3 * 3 * 7168 * 18432 + 3 * 7168 * 2048 + 256 * 7169
    assert held.dense == dense + 129280 * 7168
    assert held.total == held.dense + held.experts


@pytest.mark.parametrize("tensor", [2, 8])
def test_tensor_ranks_do_not_split_experts(tensor: int) -> None:
    """Expert ranks alone do; the others hold copies of whole ones."""
    held = held_parameters(MIXTRAL, Layout(tensor=tensor, data=8, expert=8))
    assert held.experts == pytest.approx(32 * 3 * 4096 * 14336, rel=1e-7)


def test_bytes_a_parameter_as_in_megatron() -> None:
    """Megatron Core guide, distributed optimizer: 18 bytes, or 6 + 12/d with it on d ranks."""
    held = held_parameters(LLAMA, Layout()).total
    for zero, expected in ((Zero.NONE, 18.0), (Zero.OPTIMIZER, 6 + 12 / 8)):
        found = memory_of(replace(PLAIN, zero=zero))
        state = found.weights_bytes + found.gradients_bytes + found.optimizer_bytes
        assert state / held == pytest.approx(expected)


def test_zero_stages_save_memory_in_order() -> None:
    """arXiv 1910.02054, figure 1: optimizer, then gradients, then parameters are split."""
    states = [memory_of(replace(PLAIN, zero=z)) for z in Zero]
    totals = [s.total_bytes for s in states]
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == 4
    none, optimizer, gradients, parameters = states
    assert optimizer.optimizer_bytes == none.optimizer_bytes / 8
    assert gradients.gradients_bytes == none.gradients_bytes / 8
    assert parameters.weights_bytes == none.weights_bytes / 8
    held = held_parameters(LLAMA, Layout()).total
    assert parameters.total_bytes - parameters.activations_bytes == pytest.approx(18 * held / 8)


def test_experts_are_split_over_their_copies_alone() -> None:
    """Mixtral, 8 expert ranks of 16 data ranks: two copies of each expert share its state."""
    setup = TrainSetup(layout=Layout(data=16, expert=8), sequence=4096, global_batch=16)
    held = held_parameters(MIXTRAL, setup.layout)
    found = train_memory(MIXTRAL, replace(setup, zero=Zero.PARAMETERS), H800)
    assert found.weights_bytes == pytest.approx(2 * (held.dense / 16 + held.experts / 2))


def test_context_ranks_split_state_as_data_ranks_do() -> None:
    data, context = (
        train_memory(LLAMA, replace(PLAIN, layout=x), H800).optimizer_bytes
        for x in (Layout(data=8), Layout(data=4, context=2))
    )
    assert data == context


def test_offload_moves_the_optimizer_to_the_host() -> None:
    here, there = memory_of(PLAIN), memory_of(replace(PLAIN, offload=True))
    assert there.optimizer_bytes == 0.0
    assert there.host_bytes == here.optimizer_bytes > 0
    assert here.host_bytes == 0.0
    assert there.total_bytes == here.total_bytes - here.optimizer_bytes
    assert there.weights_bytes == here.weights_bytes


def test_activations_of_gpt3_as_published() -> None:
    """arXiv 2205.05198, eq. 6: 34 s b h L / t bytes with sequence parallelism and selective
    recomputation, of which two are dropout masks that nobody keeps today.
    """
    setup = TrainSetup(
        layout=Layout(tensor=8, pipeline=8),
        sequence=2048,
        global_batch=64,
        recompute=Recompute.SELECTIVE,
    )
    found = train_memory(GPT3, setup, H800).activations_bytes
    assert found == pytest.approx(32 * 2048 * 12288 * 96 / 8, rel=0.01)
    assert found == pytest.approx(34 * 2048 * 12288 * 96 / 8, rel=0.10)


def test_recompute_saves_memory_in_order() -> None:
    none, some, full = (memory_of(replace(PLAIN, recompute=r)).activations_bytes for r in Recompute)
    assert none > some > full
    # A layer's input alone is kept, and one layer in full while it is recomputed.
    one_layer = 4096 * 2 * (4 * 4096 + (2 * 32 + 2 * 8) * 128 + 3 * 14336)
    logits = 6 * 4096 * 128256
    assert full == 4096 * 2 * 32 * 4096 + one_layer + logits
    assert none == 32 * one_layer + logits


def test_what_v3_keeps_for_backward_by_hand() -> None:
    """16-bit values a token: norms, latents, heads, and of experts their inputs and outputs too."""
    attention = 4 * 7168 + 2 * (1536 + 576) + 128 * (2 * 192 + 2 * 128)
    dense = attention + 3 * 18432
    experts = attention + 3 * (8 * 2048 + 2048) + 2 * 8 * 7168
    logits = 6 * 4096 * 129280
    setup = replace(PLAIN, layout=Layout())
    kept = {
        Recompute.NONE: 3 * dense + 58 * experts,
        Recompute.SELECTIVE: 3 * (dense - 18432) + 58 * (experts - (8 * 2048 + 2048)),
        Recompute.FULL: 61 * 7168 + experts,
    }
    for recompute, values in kept.items():
        found = train_memory(V3, replace(setup, recompute=recompute), H800).activations_bytes
        assert found == 4096 * 2 * values + logits


def test_recompute_leaves_the_state_alone() -> None:
    none, full = memory_of(PLAIN), memory_of(replace(PLAIN, recompute=Recompute.FULL))
    assert none.optimizer_bytes == full.optimizer_bytes
    assert none.weights_bytes == full.weights_bytes


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "DeepSeek-V3", "GPT-OSS-120B", "GPT-3-175B"])
def test_recompute_saves_memory_for_every_architecture(name: str) -> None:
    model = load_model(name)
    kept = [
        train_memory(model, replace(PLAIN, recompute=r), H800).activations_bytes for r in Recompute
    ]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 3


def test_activations_grow_with_the_micro_batch_and_are_cut_by_context_and_tensor_ranks() -> None:
    base = memory_of(PLAIN).activations_bytes
    assert memory_of(replace(PLAIN, micro_batch=2)).activations_bytes == 2 * base
    for layout in (Layout(data=4, context=2), Layout(data=4, tensor=2)):
        assert memory_of(replace(PLAIN, layout=layout)).activations_bytes == base / 2


def test_the_head_is_shared_by_the_micro_batches_in_flight() -> None:
    """It is on the last stage, where one micro-batch is alive at a time."""
    for stages in (2, 4):
        setup = replace(PLAIN, layout=Layout(pipeline=stages))
        wide = replace(LLAMA, vocab_size=2 * LLAMA.vocab_size)
        one, two = (train_memory(m, setup, H800).activations_bytes for m in (LLAMA, wide))
        assert two - one == 6 * 4096 * 128256 / stages


def test_a_pipeline_keeps_as_many_micro_batches_as_it_has_stages() -> None:
    """1F1B: the first stage has a p-th of the layers and p micro-batches of them."""
    layout = Layout(data=2, pipeline=4)
    one, many = (
        memory_of(replace(PLAIN, layout=layout, global_batch=b)).activations_bytes for b in (2, 64)
    )
    logits = 6.0 * 4096 * 128256
    assert many - logits / 4 == pytest.approx(4 * (one - logits))
    whole = memory_of(replace(PLAIN, layout=Layout(data=8))).activations_bytes
    assert many - logits / 4 == pytest.approx(whole - logits)


@pytest.mark.parametrize(("stages", "virtual"), [(4, 2), (8, 4)])
def test_virtual_stages_cost_memory(stages: int, virtual: int) -> None:
    """arXiv 2205.05198, section 4.2.3: 1 + (p - 1) / (p v) times as much."""
    setup = replace(PLAIN, layout=Layout(pipeline=stages))
    plain, interleaved = (
        memory_of(replace(setup, virtual_stages=v)).activations_bytes for v in (1, virtual)
    )
    logits = 6.0 * 4096 * 128256 / stages
    factor = 1 + (stages - 1) / (stages * virtual)
    assert interleaved - logits == pytest.approx(factor * (plain - logits))


def test_full_recomputation_of_a_part_of_the_layers_keeps_the_rest() -> None:
    """From the input alone of every layer to everything, in a straight line."""
    full = replace(PLAIN, recompute=Recompute.FULL)
    shares = [0.0, 0.5, 1.0]
    none, half, whole = (
        memory_of(replace(full, recompute_share=s)).activations_bytes for s in shares
    )
    assert half == pytest.approx((none + whole) / 2)
    assert none > memory_of(PLAIN).activations_bytes  # and one layer alive while it is recomputed


def test_no_more_is_recomputed_than_must_be() -> None:
    """Selective where that fits, and of full recomputation as few layers as do."""
    setup = replace(PLAIN, zero=Zero.PARAMETERS)

    def ways(longest: int) -> list[TrainSetup]:
        return recomputations(LLAMA, setup, H800, longest)

    (bare,) = ways(4096)
    assert bare.recompute is Recompute.NONE
    tight = ways(20_000)
    assert {w.recompute for w in tight} <= {Recompute.SELECTIVE, Recompute.FULL}
    (full,) = [w for w in tight if w.recompute is Recompute.FULL]
    one_less = replace(full, recompute_share=full.recompute_share - 1 / 32, sequence=20_000)
    assert 1 / 32 < full.recompute_share < 1
    assert train_memory(LLAMA, replace(full, sequence=20_000), H800).shortfall_bytes == 0
    assert train_memory(LLAMA, one_less, H800).shortfall_bytes > 0
    assert ways(10_000_000) == []


def test_stages_recompute_a_number_of_their_own_layers() -> None:
    """Eight layers a stage: the share is so many eighths, from one to all."""
    setup = replace(PLAIN, layout=Layout(data=8, pipeline=4), zero=Zero.PARAMETERS)
    shares = {
        way.recompute_share
        for longest in range(16_384, 200_000, 2048)
        for way in recomputations(LLAMA, setup, H800, longest)
        if way.recompute is Recompute.FULL
    }
    assert shares == {n / 8 for n in range(1, 9)}


def test_adapters_have_no_gradients_of_the_model() -> None:
    """LoRA, arXiv 2106.09685: its own few are not counted."""
    whole, adapters = memory_of(PLAIN), memory_of(replace(PLAIN, adapters=True))
    assert adapters.weights_bytes == whole.weights_bytes
    assert adapters.gradients_bytes == adapters.optimizer_bytes == adapters.host_bytes == 0.0
    assert adapters.activations_bytes == whole.activations_bytes


def test_what_does_not_fit_says_what_is_missing() -> None:
    """18 bytes for each of 8 B parameters on an 80 GiB chip."""
    found = memory_of(replace(PLAIN, zero=Zero.NONE, layout=Layout(), global_batch=8))
    assert found.usable_bytes == usable_bytes(80 * GIB)
    assert found.shortfall_bytes == found.total_bytes - found.usable_bytes > 60 * GIB
    fits = memory_of(replace(PLAIN, zero=Zero.PARAMETERS, recompute=Recompute.FULL))
    assert fits.shortfall_bytes == 0.0


def test_total_is_the_sum_of_its_kinds() -> None:
    found = TrainMemory(
        weights_bytes=1.0,
        gradients_bytes=2.0,
        optimizer_bytes=4.0,
        activations_bytes=8.0,
        usable_bytes=10.0,
    )
    assert found.host_bytes == 0.0
    assert found.total_bytes == replace(found, host_bytes=16.0).total_bytes == 15.0
    assert found.shortfall_bytes == 5.0


def test_v3_fits_its_2048_chips_with_full_recomputation() -> None:
    """DeepSeek-V3 report, section 3.2: 16 stages, 64 expert ranks, no tensor parallelism."""
    setup = TrainSetup(
        layout=Layout(data=128, expert=64, pipeline=16),
        sequence=4096,
        global_batch=15360,
        recompute=Recompute.FULL,
    )
    assert train_memory(V3, setup, H800).shortfall_bytes == 0.0
