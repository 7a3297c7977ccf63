"""Scores are those of the plain forward pass, to the bit, and so are their gradients."""

from collections.abc import Callable
from random import Random

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.models.packed import pack_documents
from penjing.train import scores as scores_module
from penjing.train.scores import Document, Scores, scores, shared_prompts

KINDS = ("grouped", "latent", "routed")
CPU = torch.device("cpu")
DRAWN = Random(5)
DOCUMENTS = [
    Document(ids=tuple(DRAWN.choices(range(60), k=n)), is_learnt=(False,) * 3 + (True,) * (n - 3))
    for n in (9, 4, 17)
]


def scored(model: Decoder, documents: list[Document], **given: bool) -> Scores:
    return scores(model, documents, Arithmetic(choose_kernels(CPU)), **given)


def gradients(model: Decoder) -> dict[str, torch.Tensor]:
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for p in model.parameters():
        p.grad = None
    return found


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_plain_forward(
    decoder: Callable[..., Decoder],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    recompute: bool,
) -> None:
    monkeypatch.setattr(scores_module, "LOGIT_VALUES", 64 * 4)  # four rows a chunk
    model = decoder(kind)
    packed = pack_documents([one.ids for one in DOCUMENTS])
    whole_T = model.logprobs(packed, Arithmetic(choose_kernels(CPU)))
    learnt_T = torch.tensor([flag for one in DOCUMENTS for flag in one.is_learnt])
    whole_T[learnt_T].sum().backward()
    plain = gradients(model)
    found = scored(model, DOCUMENTS, recompute=recompute)
    assert torch.equal(found.logprobs_X, whole_T[learnt_T])
    found.logprobs_X.sum().backward()
    ours = gradients(model)
    assert ours.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_sampled_is_scored_to_the_bit(engine: Callable[..., Engine], kind: str) -> None:
    made = engine(kind)
    ask = Sampling(n=3, seed=1, max_tokens=20, ignore_eos=True)
    done = made.generate([[1, 2, 3], [4] * 9], ask)
    documents = [
        Document(
            ids=one.prompt_ids + one.ids,
            is_learnt=(False,) * len(one.prompt_ids) + (True,) * len(one.ids),
        )
        for one in done
    ]
    found = scored(made.decoder, documents).logprobs_X.tolist()
    assert found == [score for one in done for score in one.logprobs]


def test_entropy(decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    packed = pack_documents([one.ids for one in DOCUMENTS])
    arithmetic = Arithmetic(choose_kernels(CPU))
    learnt_T = torch.tensor([flag for one in DOCUMENTS for flag in one.is_learnt])
    rows = learnt_T.nonzero()[:, 0] - 1
    logits_XV = model.logits(model(packed, arithmetic), arithmetic)[rows]
    wanted_X = torch.distributions.Categorical(logits=logits_XV).entropy()
    found = scored(model, DOCUMENTS)
    torch.testing.assert_close(found.entropy_X, wanted_X.detach(), rtol=1e-4, atol=1e-5)
    assert not found.entropy_X.requires_grad
    with_gradient = scored(model, DOCUMENTS, entropy_has_gradient=True)
    torch.testing.assert_close(
        torch.autograd.grad(with_gradient.entropy_X.sum(), model.norm)[0],
        torch.autograd.grad(wanted_X.sum(), model.norm)[0],
        rtol=1e-3,
        atol=1e-4,
    )


def test_documents_without_anything_to_learn(decoder: Callable[..., Decoder]) -> None:
    nothing = Document(ids=(1, 2), is_learnt=(False, False))
    found = scored(decoder(), [nothing])
    assert found.logprobs_X.tolist() == found.entropy_X.tolist() == []
    assert nothing.num_learnt == 0


def group(prompt: tuple[int, ...], *owns: int) -> list[Document]:
    return [
        Document(
            ids=(*prompt, *DRAWN.choices(range(60), k=own)),
            is_learnt=(False,) * len(prompt) + (True,) * own,
        )
        for own in owns
    ]


GROUPS = [*group((1, 2, 3), 5, 2, 9), *group((1, 2, 3, 4), 1, 1), *group((5,), 4)]


def test_neighbours_share_their_prompt_and_nothing_else() -> None:
    assert shared_prompts(GROUPS) == [0, 3, 3, 0, 4, 0]
    assert shared_prompts(GROUPS[::-1]) == [0, 0, 4, 3, 3, 3]
    assert shared_prompts([]) == []
    ends = Document(ids=(1, 2, 3), is_learnt=(False, False, True))
    assert shared_prompts([ends, ends]) == [0, 2]
    given = Document(ids=(1, 2, 3), is_learnt=(False,) * 3)
    assert shared_prompts([given, given]) == [0, 0]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_computed_once_has_the_scores_and_gradients_of_one_computed_for_each(
    decoder: Callable[..., Decoder], kind: str, recompute: bool
) -> None:
    model = decoder(kind)
    weights = torch.randn(sum(one.num_learnt for one in GROUPS)).split(
        [one.num_learnt for one in GROUPS]
    )
    alone = []
    for one, weight in zip(GROUPS, weights, strict=True):
        found = scored(model, [one]).logprobs_X
        (found * weight).sum().backward()
        alone.append(found)
    plain = gradients(model)
    together = scored(model, GROUPS, recompute=recompute).logprobs_X
    assert torch.equal(together, torch.cat(alone))
    (together * torch.cat(weights)).sum().backward()
    ours = gradients(model)
    assert ours.keys() == plain.keys()
    for name, gradient in plain.items():
        off = (ours[name] - gradient).norm() / gradient.norm()
        assert off < 5e-6, name  # sums of fp32 in another order
