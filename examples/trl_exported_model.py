"""Fine-tune a language model of the lab on questions and what they ask for, with TRL, on a part of them in each epoch.

    pip install 'emprune[trl]'                      # and the lab, for the first two lines below
    emprune run language-model --out runs/language-model
    emprune export runs/language-model --out runs/exported
    emprune data clinc150 --data-dir data
    python examples/trl_exported_model.py --model runs/exported --data data/clinc150/data_full.json

A prompt is a question of CLINC150 (Larson et al. 2019), and the completion says which of 150 things it asks for. What
counts is how many answers to held-out questions are right, letter by letter.
"""

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTConfig

from emprune.integrations.trl import PrunedSFTTrainer


def read_questions(file: Path, part: str, *, most: int, seed: int) -> Dataset:
    """Return questions of one part, in random order, with their answers."""
    rows = json.loads(file.read_text(encoding="utf-8"))[part]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return Dataset.from_list(
        [
            {"prompt": f"Question: {rows[at][0]}\nAnswer:", "completion": f" {rows[at][1].replace('_', ' ')}"}
            for at in order[:most]
        ]
    )


@torch.no_grad()
def share_right(trainer: PrunedSFTTrainer, questions: Dataset) -> float:
    """Return the share of the questions that are answered as written, each answer greedily, token by token."""
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    num_right = 0
    for row in questions:
        prompt = tokenizer(row["prompt"], return_tensors="pt").to(model.device)
        made = model.generate(**prompt, max_new_tokens=16, do_sample=False, use_cache=True)
        text = tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        num_right += text == row["completion"]
    return num_right / len(questions)


def train(options: argparse.Namespace) -> float:
    """Fine-tune once, and return the share of right answers."""
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model)
    arguments = SFTConfig(
        options.out,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=32,
        learning_rate=options.max_lr,
        max_length=96,
        bf16=False,
        activation_checkpointing=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=options.seed,
        logging_strategy="epoch",
        save_strategy="no",
        report_to=[],
    )
    trainer = PrunedSFTTrainer(
        model,
        args=arguments,
        train_dataset=read_questions(options.data, "train", most=options.questions, seed=options.seed),
        processing_class=tokenizer,
        method=options.method,
        keep=options.keep,
        seed=options.seed,
    )
    trainer.train()
    print(trainer.pruner.summary())
    return share_right(trainer, read_questions(options.data, "test", most=options.scored, seed=options.seed))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a folder of `emprune export`")
    parser.add_argument("--data", type=Path, required=True, help="data_full.json of CLINC150")
    parser.add_argument("--out", default="runs/trl-exported-model", help="folder for the trainer's files")
    parser.add_argument("--method", default="emp", help="as `emprune methods` lists them")
    parser.add_argument("--keep", type=float, default=0.5, help="mean fraction of the questions visited per epoch")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--max-lr", type=float, default=1e-3)
    parser.add_argument("--questions", type=int, default=15_000, help="trained on, at most")
    parser.add_argument("--scored", type=int, default=500, help="held-out questions that are answered")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(f"{train(parse()):.1%} of the held-out questions answered right")
