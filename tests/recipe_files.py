"""The files in configs/, the commands that their comments state, and how one is shrunk to seconds."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from hornbook.config.dump import toml_value
from hornbook.config.load import load_config
from hornbook.config.paths import expanded
from hornbook.config.run import Config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXAMPLES = ("data", "eval", "generate", "sweep", "sweep-slurm", "tokenizer", "train", "train-ddp", "train-fsdp")
"""Files that show a verb each; the others are recipes."""
FILES = sorted(path for path in CONFIGS.glob("*.toml") if path.stem not in EXAMPLES)
SMOKES = [path for path in FILES if path.stem.endswith("-smoke")]
RECIPES = [path for path in FILES if path not in SMOKES]


def chain(path: Path) -> list[Path]:
    """The recipes that start one from another, `path` last: each from the run that model.init_from names."""
    start = load_config(path).config.model.init_from
    return [*(chain(CONFIGS / f"{start.name}.toml") if start is not None else ()), path]


TASKS = {"kind": "tasks", "min_length": 2, "max_length": 3, "n_rows": 100}
LAST = [path for path in FILES if all(path not in chain(other)[:-1] for other in FILES)]
"""Those that no other starts from: their chains are all files."""


def is_tuned(config: Config) -> bool:
    """Whether it learns from conversations or preferences."""
    return config.data.stage != "pretrain"


def commands(path: Path) -> list[list[str]]:
    """The words of each `hornbook` line in the comment at the top, `${NAME:-otherwise}` replaced as a shell would."""
    top = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    assert top is not None
    lines = re.findall(r"^#   hornbook (.*)$", top.group(), re.M)
    return [[str(expanded(Path(word))) if "${" in word else word for word in shlex.split(line)] for line in lines]


def shrunk(path: Path, text: str, rows: str) -> list[str]:
    """`--set` arguments that leave a recipe its kinds and choices, small enough for seconds on the file `text`, or on
    the file `rows` that `write_rows` wrote."""
    config = load_config(path).config
    settings: dict[str, object] = {
        "data.source": {"kind": "text", "paths": [text], "document_separator": "line"},
        "data.valid": "none",
        "data.valid_fraction": 0.1,
        "model.vocab_size": "none",
        "model.n_layers": 1,
        "model.n_heads": 2,
        "model.head_dim": "none",
        "model.d_model": 16,
        "model.d_ff": 32,
        "model.context_length": 16,
        "train.steps": 4,
        "train.compile": "auto",
        "train.tokens_per_step": 64,
        "train.micro_batch_size": 2,
        "train.eval_every": 2,
        "train.eval_tokens": 64,
        "train.sample_every": 2,
        "train.sample_prompts": ["the"],
        "checkpoint.full_every": 2,
        "generate.max_new_tokens": 4,
    }
    if config.tokenizer.kind == "bpe":
        settings["tokenizer.vocab_size"] = 300
    if getattr(config.objective, "curriculum_steps", 0):
        settings["objective.curriculum_steps"] = 2
    if (config.data.stride or 1) > 1:
        settings["data.stride"] = 8
    if getattr(config.schedule, "warmup_steps", None) is not None:
        settings["schedule.warmup_steps"] = 1
    if len(chain(path)) > 1 or is_tuned(config) or any(path in chain(other) for other in FILES if other != path):
        settings |= {"model.context_length": 64, "train.tokens_per_step": 256, "train.eval_tokens": 256}
    if is_tuned(config):
        settings |= {"data.test": "none", "train.sequences_per_step": 4, "train.sample_every": 0}
        settings["data.source"] = TASKS if config.data.source.kind == "tasks" else {"kind": "jsonl", "paths": [rows]}
        del settings["train.tokens_per_step"], settings["train.sample_prompts"]
    return as_arguments(settings)


def write_rows(path: Path) -> None:
    """A hundred records with the fields that any of the recipes reads."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(100):
            told, asked, right = f"The cat has {number} hats.", "How many?", f"{number} hats"
            record = {"context": told, "question": asked, "answer": right}
            record |= {"instruction": told, "input": asked, "output": right, "chosen": right, "rejected": "no hats"}
            file.write(json.dumps(record) + "\n")


def as_arguments(settings: Mapping[str, object]) -> list[str]:
    """{key: value} as words of a command line."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={toml_value(value)}")]
