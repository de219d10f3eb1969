"""A tiny project of pairs of answers: a tokenizer, a checkpoint that has learnt nothing yet, and a configuration."""

import json
import random
from pathlib import Path

from hornbook.checkpoint.save import save_checkpoint
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.data.tuning import prepare_tuning
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import WORDS, text

TOML = """
[run]
out_dir = "{root}/runs"
name = "tiny"
seed = 7
device = "cpu"
threads = 1

[tokenizer]
path = "{root}/tokenizer"
vocab_size = 300

[data]
path = "{root}/data"
stage = "dpo"
valid_fraction = 0.3

[data.source]
kind = "jsonl"
paths = ["{root}/pairs.jsonl"]

[model]
init_from = "{root}/base"
context_length = 48
d_model = 16
n_layers = 2
n_heads = 2

[objective]
kind = "preference"
beta = 0.5
likelihood = "{likelihood}"

[optim]
learning_rate = 1e-2

[train]
steps = 6
sequences_per_step = 8
micro_batch_size = 4
log_every = 1
eval_every = 3
eval_tokens = 1000

[checkpoint]
full_every = 2

[tracking]
console = "none"
"""


def write_pairs(path: Path, n: int = 60, *, seed: int = 0) -> None:
    """Each with a prompt of its own; the chosen answer is about birds, the rejected one about anything."""
    draw = random.Random(seed)
    rows = [
        {
            "prompt": f"say {' '.join(draw.sample(WORDS, 4))} {number}",
            "chosen": " ".join(["bird"] * draw.randint(1, 4)),
            "rejected": " ".join(draw.choices(WORDS, k=draw.randint(1, 5))),
        }
        for number in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_pairs_project(root: Path, likelihood: str = "next_token") -> Path:
    """The path of the configuration."""
    path = root / "pairs.toml"
    path.write_text(TOML.format(root=root.as_posix(), likelihood=likelihood), encoding="utf-8")
    write_pairs(root / "pairs.jsonl")
    config = load(path)
    tokenizer = Tokenizer.train(text(100).splitlines(), config.tokenizer)
    tokenizer.save(config.tokenizer.path)
    save_base(root / "base", config, tokenizer, seed=0)
    prepare_tuning(config, tokenizer)
    return path


def save_base(directory: Path, config: Config, tokenizer: Tokenizer, *, seed: int, step: int = 0) -> None:
    """A checkpoint with the weights of `seed`, made before there was a chat template."""
    model = Transformer(config.model.complete(vocab_size=tokenizer.vocab_size), seed=seed)
    save_checkpoint(
        directory,
        step=step,
        kind="light",
        model_config=model.config,
        objective={"kind": getattr(config.objective, "likelihood", "next_token")},
        weights=model.state_dict(),
        optimizer=None,
        state={"step": step},
        tokenizer=tokenizer,
    )


def load(path: Path, **overrides: object) -> Config:
    """The validated configuration; write dots as double underscores."""
    return load_config(path, values={key.replace("__", "."): value for key, value in overrides.items()}).config
