"""The model a stage starts from: a new one, or what an earlier stage left."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from penjing.engine.engine import Engine
from penjing.engine.load import plan_for, read_tokenizer
from penjing.engine.memory import EnginePlan, Limits
from penjing.errors import BadFile
from penjing.models.checkpoint import load_weights, stored_config
from penjing.models.decoder import Decoder
from penjing.models.generation_config import GenerationDefaults
from penjing.models.hub import checkpoint_folder
from penjing.models.huggingface import model_from_hf
from penjing.models.kernels.choice import Numerics
from penjing.models.tokenizer import Tokenizer
from penjing.train.contents import ModelChoice, ThinkTokens
from penjing.train.initialise import initialise
from penjing.train.recipe import tokenizer_folder
from penjing.train.think_tokens import add_think_tokens, fill_rows

MAX_SEQUENCES = 256
MAX_BATCH_TOKENS = 1024
PROMPT_ROOM = 512  # tokens of a prompt that an engine of a stage leaves room for
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE")


@dataclass(frozen=True, kw_only=True)
class Held:
    """``source`` has config.json and the tokenizer, for the checkpoint that is written."""

    decoder: Decoder
    tokenizer: Tokenizer
    defaults: GenerationDefaults
    source: Path

    @property
    def end_id(self) -> int:
        found = self.defaults.eos_ids or (self.tokenizer.eos_id,)
        assert found[0] is not None, "checked when it was loaded"
        return found[0]

    def plan(self, max_length: int, numerics: Numerics = Numerics.EXACT) -> EnginePlan:
        """``max_length`` is of a prompt and its response."""
        like = self.decoder.embedding
        limits = Limits(
            max_length=min(max_length, self.decoder.config.max_positions),
            max_sequences=MAX_SEQUENCES,
            max_batch_tokens=MAX_BATCH_TOKENS,
            expands_latents=numerics is Numerics.FAST,
        )
        return plan_for(self.decoder.config, like.dtype, like.device, limits, weights_held=True)

    def engine(self, max_length: int, numerics: Numerics = Numerics.EXACT) -> Engine:
        """On the same weights."""
        return Engine(
            self.decoder,
            tokenizer=self.tokenizer,
            defaults=self.defaults,
            plan=self.plan(max_length, numerics),
            numerics=numerics,
        )


def new_model(
    name: str,
    choice: ModelChoice,
    folder: Path,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> Held:
    """``folder`` is where its config and tokenizer are put together. Raises ``BadFile``."""
    config = model_from_hf(choice.config, name)
    _put_together(choice, folder)
    decoder = Decoder(config, dtype=dtype)
    initialise(decoder, seed)
    return _held(decoder.to(device()), folder)


def stored_model(
    name_or_path: str,
    dtype: torch.dtype = torch.float32,
    *,
    think_tokens: ThinkTokens = "need",
    scratch: Path | None = None,
) -> Held:
    """A checkpoint. Raises what the readers raise.

    ``scratch`` is where a tokenizer with added tags is kept, for ``think_tokens`` add.
    """
    folder = checkpoint_folder(name_or_path)
    config = stored_config(folder)
    decoder = Decoder(config, dtype=dtype)
    load_weights(folder, decoder, config)
    if think_tokens == "add" and not _has_tags(folder, decoder):
        assert scratch is not None, "a tokenizer with added tags needs a folder"
        fill_rows(decoder, add_think_tokens(folder, scratch, config.vocab_size))
        folder = scratch
    return _held(decoder.to(device()), folder, needs_tags=think_tokens != "spell")


def device() -> torch.device:
    """One GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _has_tags(folder: Path, decoder: Decoder) -> bool:
    tokenizer = read_tokenizer(folder, decoder.config)
    return tokenizer is None or tokenizer.thinking is not None


def _held(decoder: Decoder, folder: Path, *, needs_tags: bool = True) -> Held:
    tokenizer = read_tokenizer(folder, decoder.config)
    if tokenizer is None:
        raise BadFile(f"{folder} has no tokenizer.json, so texts cannot be learnt from; add one")
    if tokenizer.eos_id is None:
        raise BadFile(f"{folder}: the tokenizer names no eos_token, so no answer would ever end")
    if tokenizer.thinking is None and needs_tags:
        raise BadFile(
            f"{folder}: the tokenizer has no single tokens <think> and </think>; add them to its "
            "added tokens, take think_tokens = 'add' in the recipe, or another base"
        )
    defaults = GenerationDefaults.load(folder, tokenizer_eos=tokenizer.eos_id)
    return Held(decoder=decoder, tokenizer=tokenizer, defaults=defaults, source=folder)


def _put_together(choice: ModelChoice, folder: Path) -> None:
    where = tokenizer_folder(choice.tokenizer)
    if not (where / "tokenizer.json").is_file():
        raise BadFile(f"the tokenizer {choice.tokenizer} is no folder with a tokenizer.json")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TOKENIZER:
        if (where / name).is_file():
            shutil.copyfile(where / name, folder / name)
    text = json.dumps(choice.config, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
