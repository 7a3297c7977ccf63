"""``generate`` of Hugging Face's transformers: one batch of prompts and answers of one length."""

from answer import Generate, Requests, Setup, answer


def load(setup: Setup) -> tuple[str, Generate]:
    import torch
    import transformers

    torch.set_num_threads(setup["threads"])
    dtype = getattr(torch, setup["dtype"])
    model = transformers.AutoModelForCausalLM.from_pretrained(setup["model"], dtype=dtype).eval()
    model.generation_config.eos_token_id = None  # nothing ends an answer early
    model.generation_config.pad_token_id = 0  # never used: all rows are of one length

    def generate(requests: Requests) -> list[list[int]]:
        prompts = torch.tensor([ids for ids, _ in requests])  # refuses what is ragged
        (tokens,) = {tokens for _, tokens in requests}
        found = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=tokens,
            do_sample=False,
        )
        return found[:, prompts.shape[1] :].tolist()

    return f"transformers {transformers.__version__}", generate


if __name__ == "__main__":
    answer(load)
