"""A Qwen2 checkpoint in one safetensors file as GGUF for llama.cpp, weights in bf16.

    python write_gguf.py FOLDER FILE.gguf

Needs the gguf and numpy packages. The tokenizer is a stand-in of the right size: prompts are ids.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np

BF16 = gguf.GGMLQuantizationType.BF16
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write(folder: Path, file: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(file), "qwen2")
    add_sizes(writer, config)
    add_tokenizer(writer, config["vocab_size"])
    (weights,) = folder.glob("*.safetensors")
    for name, values in stored(weights):
        add_tensor(writer, renamed(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_sizes(writer: gguf.GGUFWriter, config: dict) -> None:
    rope = config.get("rope_parameters") or config
    writer.add_name("random")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)


def add_tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * size)
    writer.add_token_merges(["t 0"])  # the loader wants one


def add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    """``values`` are bf16 in 16-bit words; llama.cpp keeps vectors in float32."""
    if values.ndim == 1:
        writer.add_tensor(name, (values.astype(np.uint32) << 16).view(np.float32))
    else:
        writer.add_tensor(name, values.view(np.uint8), raw_dtype=BF16)


def renamed(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    number, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{LAYER[part]}.{kind}"


def stored(file: Path) -> list[tuple[str, np.ndarray]]:
    """Tensors of a safetensors file, which has to hold bf16 alone, as 16-bit words."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    words = np.memmap(file, dtype=np.uint8, mode="r", offset=8 + size)
    found = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            raise SystemExit(f"{name} is {entry['dtype']}; this writes bf16 alone")
        begin, end = entry["data_offsets"]
        values = words[begin:end].view(np.uint16).reshape(entry["shape"])
        found.append((name, values))
    return found


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
