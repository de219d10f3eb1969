"""What the verbs that work from a checkpoint share: CHECKPOINT, --config and --set, flags for settings, and opening it.

    hornbook generate runs/example --temperature 0.7        is        [generate] checkpoint = "runs/example"
                                                                                 temperature = 0.7
A flag is nothing but a setting: it lies over --set, which lies over the file.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.configuration import add_print_argument, add_set_argument

if TYPE_CHECKING:  # these import torch or pydantic, which no --help may wait for
    from collections.abc import Iterable, Mapping

    from hornbook.config.run import Config
    from hornbook.models.transformer import Transformer
    from hornbook.storage.run_dir import RunDir
    from hornbook.tokenizer.tokenizer import Tokenizer

SAMPLING_FLAGS: dict[str, tuple[type, str]] = {
    "max_new_tokens": (int, "longest output"),
    "temperature": (float, "0 is greedy; below 1 sharper, above 1 flatter"),
    "top_k": (int, "keep the k likeliest tokens"),
    "top_p": (float, "keep the likeliest tokens whose mass reaches P"),
    "min_p": (float, "keep tokens at least P times as likely as the likeliest"),
    "repetition_penalty": (float, "above 1: tokens already seen become less likely"),
    "seed": (int, "the same seed gives the same text"),
    "backend": (str, "auto, kernel (compiled, on the CPU) or torch"),
    "precision": (str, "of the weights: float32, bfloat16 or int8"),
    "decoder": (str, "auto (by the model's objective), autoregressive or diffusion"),
}
"""Settings of [generate] that have a flag of their own."""


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a verb CHECKPOINT, --best, --config, --set and --print-config."""
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="a run or a checkpoint directory")
    parser.add_argument("--best", action="store_true", help="of a run, take the best checkpoint and not the latest")
    parser.add_argument("--config", metavar="TOML", help="configuration file; flags and --set lie over it")
    add_set_argument(parser)
    add_print_argument(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a verb a flag for each of SAMPLING_FLAGS, and --stop."""
    for name, (kind, text) in SAMPLING_FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name.split("_")[-1].upper(), help=text)
    parser.add_argument("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")


def load_settings(
    args: argparse.Namespace,
    table: str,
    names: tuple[str, ...],
    more: Mapping[str, object] | None = None,
    *,
    leaving_out: Iterable[str] = (),
) -> Config:
    """The configuration that the arguments ask for; each of `names` that was given as a flag is a setting of `table`.

    `more` are settings of other tables, that other flags have given; `leaving_out` keys of the file that do not count.

    Raises:
        ConfigError: listing all that is wrong with it.
    """
    from hornbook.config.load import load_config

    flags = {f"{table}.{name}": getattr(args, name) for name in names}
    values = {key: value for key, value in flags.items() if value is not None} | dict(more or {})
    return load_config(args.config, args.overrides, values=values, leaving_out=leaving_out).config


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A model ready to use, and where it came from."""

    model: Transformer
    tokenizer: Tokenizer
    path: Path
    """The checkpoint directory."""
    step: int
    objective: Mapping[str, object]
    """What it was trained with: `kind` and settings."""
    run: RunDir | None
    """The run that the checkpoint lies in."""


def open_model(checkpoint: Path | None, *, table: str, best: bool, config: Config) -> OpenedModel:
    """Load what `[table] checkpoint` or CHECKPOINT names, on config.run.device.

    Raises:
        ConfigError: if nothing is named; the message says how to get a checkpoint.
        CheckpointError: if there is no complete, undamaged checkpoint with a tokenizer there.
    """
    import torch

    from hornbook import api

    path = find_checkpoint(checkpoint, table=table, best=best)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    loaded = api.load(path, device=config.run.device)
    return OpenedModel(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        path=path,
        step=loaded.step,
        objective=loaded.objective,
        run=find_run(path),
    )


def open_draft(config: Config, opened: OpenedModel) -> Transformer | None:
    """The model of `[generate.draft] checkpoint`, on the same device; None if none is named.

    Raises:
        GenerationError: if it has another tokenizer.
        CheckpointError: if there is no complete, undamaged checkpoint there.
    """
    from hornbook import api

    return api.load_draft(config.generate.draft.checkpoint, opened.tokenizer, device=config.run.device)


def find_checkpoint(checkpoint: Path | None, *, table: str, best: bool) -> Path:
    """The checkpoint directory that is meant.

    Raises:
        ConfigError: if nothing is named.
        CheckpointError: if nothing is there.
    """
    from hornbook.errors import CheckpointError, ConfigError
    from hornbook.storage.run_dir import resolve_checkpoint

    how = "`hornbook demo` makes one in minutes, `hornbook train CONFIG` trains your own"
    if checkpoint is None:
        raise ConfigError(f"no checkpoint: name a run or checkpoint directory, or set {table}.checkpoint; {how}")
    if not checkpoint.exists():
        raise CheckpointError(f"{checkpoint}: no such run or checkpoint directory; {how}")
    return resolve_checkpoint(checkpoint, prefer="best" if best else "latest")


def find_run(path: Path) -> RunDir | None:
    """The run that a run or checkpoint directory belongs to, if any."""
    from hornbook.errors import CheckpointError
    from hornbook.storage.run_dir import RunDir

    with suppress(CheckpointError):
        return RunDir.open(path)
    return None


def note(text: str) -> None:
    """One line for people, on stderr, so that stdout stays what it is."""
    print(text, file=sys.stderr)
