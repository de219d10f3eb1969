"""A whole tiny project in a folder: text, tokenizer, shards and a configuration, made in about a second."""

import os
import random
from pathlib import Path

from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.data.prepare import prepare
from hornbook.tokenizer.tokenizer import Tokenizer

WORDS = "the a small big red old cat dog bird tree house sees finds likes takes and then but so now".split()

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
valid_fraction = 0.2

[data.source]
kind = "text"
paths = ["{root}/text.txt"]
document_separator = "line"

[model]
context_length = 16
d_model = 16
n_layers = 2
n_heads = 2

[optim]
learning_rate = 1e-2

[schedule]
kind = "cosine"
warmup_fraction = 0.17

[train]
steps = 12
tokens_per_step = 64
micro_batch_size = 2
log_every = 1
eval_every = 4
eval_tokens = 128

[checkpoint]
light_every = 2
full_every = 4

[generate]
max_new_tokens = 8

[tracking]
console = "none"
"""


def text(n_lines: int = 400, seed: int = 0) -> str:
    """Sentences of a few known words, one a line."""
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) + ".\n" for _ in range(n_lines))


def write_project(root: Path) -> Path:
    """Only the text and the configuration; its path is returned."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "text.txt").write_text(text(), encoding="utf-8")
    path = root / "tiny.toml"
    path.write_text(TOML.format(root=root.as_posix()), encoding="utf-8")
    return path


def make_project(root: Path) -> Path:
    """Text, tokenizer and shards; the path of the configuration is returned."""
    path = write_project(root)
    config = load(path)
    tokenizer = Tokenizer.train((root / "text.txt").read_text(encoding="utf-8").splitlines(), config.tokenizer)
    tokenizer.save(config.tokenizer.path)
    prepare(config.data, tokenizer)
    return path


def load(path: Path, **overrides: object) -> Config:
    """The validated configuration of a tiny project; write dots as double underscores: train__steps=4."""
    return load_config(path, values={key.replace("__", "."): value for key, value in overrides.items()}).config


def train_in_child(
    path: Path, out_dir: Path, steps: int, crash: str | None, resume: bool, changes: dict[str, object]
) -> None:
    """Train in a process of its own, which may die at the crash point `crash`; dropout is on, as it is noise too."""
    if crash:
        os.environ["HORNBOOK_CRASH"] = crash
    from hornbook import assemble

    config = load(path, run__out_dir=str(out_dir), train__steps=steps, model__dropout=0.1, **changes)
    assemble.train(config, resume=resume and out_dir / "tiny")
