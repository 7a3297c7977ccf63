"""TRL's side of grpo.py: GRPOTrainer with transformers' generation, in an interpreter that has it.

    python grpo_trl.py SETUP.json

An answer ends at its length because the end token is the only one left there, and out before. Rows
that have ended are padded until the longest has, and in training all are as long as the longest:
that is how TRL works on answers of many lengths, and what it takes is counted.
"""

import sys
import tempfile

from grpo_step import Meter, is_right, read_setup, say


def main() -> None:
    setup = read_setup(sys.argv[1])
    import torch
    import trl

    torch.set_num_threads(setup["threads"])
    meter, lengths = Meter(), []
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_of(setup, meter, lengths, scratch)
        trainer.train()
    wanted = [n for group in setup["lengths"][1] for n in group]
    assert lengths == wanted, "it generated other numbers of tokens than asked for"
    say(f"trl {trl.__version__}", meter, lengths)


def trainer_of(setup: dict, meter: Meter, found: list[int], scratch: str):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOTrainer

    # Mixed precision: weights in fp32 and products in bf16, as ours has fp32 masters of bf16.
    model = AutoModelForCausalLM.from_pretrained(setup["model"], dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(setup["model"], padding_side="left")
    force_lengths(model, tokenizer.eos_token_id, setup["lengths"], meter)

    def reward(completions, completion_ids, **_):
        found[:] = [len(ids) for ids in completion_ids]
        return [float(is_right(text)) for text in completions]

    return GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config_of(setup, scratch),
        train_dataset=Dataset.from_list(
            [{"prompt": text} for step in setup["prompts"] for text in step]
        ),
        processing_class=tokenizer,
        callbacks=[callback(meter)],
    )


def config_of(setup: dict, scratch: str):
    from trl import GRPOConfig

    answers = len(setup["prompts"][1]) * setup["group_size"]
    return GRPOConfig(
        output_dir=scratch,
        use_cpu=True,
        bf16=setup["dtype"] == "bfloat16",
        max_steps=2,
        per_device_train_batch_size=setup["trl_rows"],
        gradient_accumulation_steps=answers // setup["trl_rows"],
        num_generations=setup["group_size"],
        max_completion_length=setup["longest"],
        gradient_checkpointing=setup["recomputes"],
        shuffle_dataset=False,
        learning_rate=setup["rate"],
        lr_scheduler_type="constant",
        loss_type="grpo",
        beta=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def force_lengths(model, end_id: int, lengths: list, meter: Meter) -> None:
    """``model.generate`` is given a processor of logits, and its time is taken."""
    from transformers import LogitsProcessorList

    generate, steps = model.generate, iter(lengths)

    def ending(inputs=None, **settings):
        flat = [n for group in next(steps) for n in group]
        processor = ends_at(flat, settings["input_ids"].shape[1], end_id)
        with meter.on("rollout"):
            return generate(inputs, logits_processor=LogitsProcessorList([processor]), **settings)

    model.generate = ending


def ends_at(lengths: list[int], num_prompt: int, end_id: int):
    import torch

    lengths_B = torch.tensor(lengths)

    def process(ids_BT, logits_BV):
        logits_BV[:, end_id] = -torch.inf
        is_last_B = lengths_B == ids_BT.shape[1] - num_prompt + 1
        if is_last_B.any():
            logits_BV[is_last_B] = -torch.inf
            logits_BV[is_last_B, end_id] = 0
        return logits_BV

    return process


def callback(meter: Meter):
    from transformers import TrainerCallback

    class OneStep(TrainerCallback):
        """From the first prompt to the end of the optimizer's step; the last one stays."""

        def on_step_begin(self, *_, **__):
            self._step = meter.on("step")
            self._step.__enter__()

        def on_step_end(self, *_, **__):
            self._step.__exit__(None, None, None)

    return OneStep()


if __name__ == "__main__":
    main()
