"""`hornbook bench speedrun`: time to a loss, of one recipe against another or nanoGPT's own command."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.configuration import positive
from hornbook.errors import HornbookError

if TYPE_CHECKING:
    from hornbook.benchmarks.recipe_runs import Recipe
    from hornbook.benchmarks.speedrun import Contestant
    from hornbook.config.run import Config

AGAINST = "shakespeare-char-nanogpt"
FIRST_SEED = 1337


def add_speedrun(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare what `hornbook bench speedrun` takes."""
    text = "seconds of training to a loss, of one recipe against another or nanoGPT's own command"
    parser = actions.add_parser("speedrun", help=text, description=text)
    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of one in configs/")
    parser.add_argument("--against", metavar="RECIPE", help=f"or `nanogpt` with --nanogpt; default {AGAINST}")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout, whose own train.py is then the peer")
    parser.add_argument("--seeds", type=positive, default=5, metavar="N", help="runs of each (default 5)")
    parser.add_argument("--target", type=float, default=1.898, metavar="LOSS", help="in nats (default 1.898)")
    parser.add_argument("--quick", action="store_true", help="a few steps: whether everything runs")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything measured to PATH")


def run(args: argparse.Namespace) -> int:
    """Race, print and write; 0, since a floor that was missed is only told."""
    from hornbook.benchmarks import speedrun
    from hornbook.benchmarks.report import machine, write_results
    from hornbook.tracking.console import emit, speaks_to_people

    if args.against == "nanogpt" and args.nanogpt is None:
        raise HornbookError("--against nanogpt: expected --nanogpt DIR, a checkout of nanoGPT, beside it")
    if args.nanogpt is not None and args.against not in (None, "nanogpt"):
        raise HornbookError(f"--nanogpt and --against {args.against}: expected one of them")
    about = machine()
    with tempfile.TemporaryDirectory() as directory:
        compiled, theirs, whole = _contestants(args, Path(directory))
        runs = speedrun.race(compiled, theirs, whole, seeds=[FIRST_SEED + i for i in range(args.seeds)], say=_say)
    found = speedrun.verdicts(runs, compiled.name, theirs.name, whole.name, target=args.target)
    for line in speedrun.summary(runs, found, args.target):
        print(line, file=sys.stdout if speaks_to_people() else sys.stderr)
    rows, summary = [asdict(run) for run in runs], speedrun.summary_json(runs, found, args.target)
    emit("speedrun", runs=rows, **summary)
    if args.json:
        write_results(args.json, "speedrun", about, rows, summary)
    return 0


def _contestants(args: argparse.Namespace, folder: Path) -> tuple[Contestant, Contestant, Contestant]:
    """Ours compiled, theirs, and ours as it stands; tokenizers and data are made here."""
    from hornbook.benchmarks import nanogpt_runs

    own_file, own = _load(args.recipe)
    window = own.model.context_length
    ours = _recipe(own_file, own, folder / "ours", window, args)
    if args.nanogpt is not None:
        theirs = nanogpt_runs.contestant(args.nanogpt, _text(own), folder, window=window, quick=args.quick)
    else:
        file, config = _load(args.against or AGAINST)
        if config.model.context_length < window:
            raise HornbookError(
                f"{file}: model.context_length = {config.model.context_length}, but losses are compared at {window}, "
                f"that of {own_file}; choose a recipe with at least as much"
            )
        theirs = _recipe(file, config, folder / "theirs", window, args).contestant(file.stem, log_steps=True)
    compiled = ours.contestant(f"{own_file.stem}, compiled", 'train.compile="on"', log_steps=True, keep=True)
    return compiled, theirs, ours.contestant(f"{own_file.stem}, no warm cache")


def _load(name: str) -> tuple[Path, Config]:
    from hornbook.config.load import load_config

    file = Path(name) if name.endswith(".toml") else Path("configs", f"{name}.toml")
    return file, load_config(file).config


def _recipe(file: Path, config: Config, folder: Path, window: int, args: argparse.Namespace) -> Recipe:
    from hornbook.benchmarks.recipe_runs import Recipe, quick

    recipe = Recipe(
        file=file,
        folder=folder,
        window=window,
        tokens_per_step=config.positions_per_step,
        overrides=quick(config) if args.quick else (),
    )
    folder.mkdir()
    _say(f"{recipe.name}: tokenizer and data, which count for nobody")
    recipe.prepare()
    return recipe


def _text(config: Config) -> str:
    """The text that a recipe trains on, for nanoGPT's own files."""
    from hornbook.config.data import TextSource

    source = config.data.source
    if not isinstance(source, TextSource) or not all(path.is_file() for path in source.paths):
        raise HornbookError("--nanogpt: expected a recipe whose [data.source] names text files that are there")
    return "".join(path.read_text(encoding="utf-8") for path in source.paths)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
