import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from penjing.models.provenance import configs_folder

Raw = dict[str, Any]


@pytest.fixture(scope="session")
def bundled() -> Callable[[str], Raw]:
    """The bundled config.json of that name, a fresh copy each time."""
    cache: dict[str, Raw] = {}

    def read(name: str) -> Raw:
        if name not in cache:
            cache[name] = json.loads((configs_folder() / f"{name}.json").read_text("utf-8"))
        return copy.deepcopy(cache[name])

    return read


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a new folder: text as it is, objects as JSON, a tokenizer as its own."""

    def write(files: Mapping[str, object]) -> Path:
        folder = Path(mkdtemp(dir=tmp_path))
        for name, content in files.items():
            match content:
                case str():
                    text = content
                case tokenizers.Tokenizer():
                    text = content.to_str()
                case _:
                    text = json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def bytelevel() -> Callable[..., tokenizers.Tokenizer]:
    """A byte-level BPE trained on a few words, with the special tokens given at its end."""

    def train(*special: str) -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(BPE())
        made.pre_tokenizer = ByteLevel(add_prefix_space=False)
        made.decoder = ByteLevelDecoder()
        letters = ByteLevel.alphabet()
        trainer = BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=letters)
        made.train_from_iterator(["the quick brown fox thinks, then answers"] * 4, trainer)
        made.add_special_tokens(list(special))
        return made

    return train
