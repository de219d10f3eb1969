"""`hornbook profile CONFIG`: where the time and memory of training steps go; with --decode, of texts."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import torch or pydantic, which no --help may wait for
    from hornbook.config.run import Config
    from hornbook.profiling.profile import Profile

STEPS, TEXTS = 10, 3
PROMPT = "Once upon a time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook profile` takes."""
    from hornbook.cli.configuration import add_config_arguments, positive

    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--steps", type=positive, metavar="N", help=f"how many are timed: steps ({STEPS}), or texts ({TEXTS})"
    )
    parser.add_argument(
        "--decode", type=Path, metavar="CHECKPOINT", help="profile this model's texts, as [generate] of CONFIG says"
    )
    parser.add_argument("--prompt", metavar="TEXT", help=f"with --decode: what they begin with (default {PROMPT!r})")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the files go (default: RUN/profile, or a new directory in runs/)"
    )
    parser.add_argument(
        "--memory", action="store_true", help="on CUDA: write who took which memory, too, as JSON and as a page"
    )
    parser.add_argument("--nproc", type=positive, metavar="N", help="profile N processes that train together")


def run(args: argparse.Namespace) -> int:
    """Profile, write the files and say what was found."""
    from hornbook.cli.configuration import load, maybe_print
    from hornbook.errors import ConfigError
    from hornbook.storage.run_dir import RunDir

    run_dir = None
    if args.config is not None and Path(args.config).is_dir():
        run_dir = RunDir.open(Path(args.config))
        args.config = run_dir.config_file
    config = load(args)
    if maybe_print(args, config):
        return 0
    if args.decode is not None:
        return _decode(args, config)
    if args.prompt is not None:
        raise ConfigError("--prompt has no effect without --decode CHECKPOINT; leave it out")
    if args.config is None:
        raise ConfigError("no configuration: name a TOML file or a run, or --decode CHECKPOINT")
    return _steps(args, config, run_dir.profile if run_dir is not None else _new_folder(config))


def _new_folder(config: Config) -> Path:
    return config.run.out_dir / f"profile-{datetime.now():%Y-%m-%d-%H%M%S}"


def _steps(args: argparse.Namespace, config: Config, default: Path) -> int:
    from hornbook.distributed.environment import place_of
    from hornbook.errors import ConfigError

    place = place_of(os.environ)
    out: Path = args.out or default
    if args.nproc is not None and place.world_size == 1 and args.nproc > 1:
        from hornbook.distributed.launch import launch

        given = [*args.arguments, *([] if args.out else ["--out", str(out)])]
        return launch([sys.executable, "-P", "-m", "hornbook", "profile", *given], args.nproc, advice="")
    if args.nproc is not None and args.nproc != place.world_size:
        raise ConfigError(f"--nproc {args.nproc}: this is one of {place.world_size} processes already; leave it out")
    from hornbook.benchmarks.step_profile import StepSettings, profile_steps

    _make(out)
    settings = StepSettings(out=out, steps=args.steps or STEPS, memory_history=args.memory)
    profile = profile_steps(config, settings, _say)
    if args.memory and place.rank == 0 and profile is not None and len(profile.files) == 1:
        _say("--memory has no effect without CUDA, whose allocator keeps a history; the peak is the process's")
    if profile is not None:
        _tell(profile, out)
    return 0


def _decode(args: argparse.Namespace, config: Config) -> int:
    from hornbook.benchmarks.decode_profile import Spoken, profile_decoding
    from hornbook.cli.from_checkpoint import open_draft, open_model
    from hornbook.errors import ConfigError

    if args.nproc is not None or args.memory:
        raise ConfigError("--nproc and --memory are of training; leave them out with --decode")
    opened = open_model(args.decode, table="generate", best=False, config=config)
    out: Path = args.out or (opened.run.profile if opened.run is not None else _new_folder(config))
    _make(out)
    asked = Spoken(
        model=opened.model,
        tokenizer=opened.tokenizer,
        objective=opened.objective,
        draft=open_draft(config, opened),
        prompt=args.prompt if args.prompt is not None else PROMPT,
        config=config.generate,
    )
    _tell(profile_decoding(asked, repeats=args.steps or TEXTS, out=out), out)
    return 0


def _make(out: Path) -> None:
    from hornbook.storage.disk import explained

    with explained(out):
        out.mkdir(parents=True, exist_ok=True)


def _tell(profile: Profile, out: Path) -> None:
    """Tables for people, one event for programs, and the files for both."""
    import json

    from hornbook.benchmarks.report import machine
    from hornbook.reporting.profile_page import profile_page
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    data, page = out / f"{profile.kind}.json", out / f"{profile.kind}.html"
    told = profile.to_json()
    replace_file(data, json.dumps({**told, "machine": machine()}, indent=1) + "\n")
    replace_file(page, profile_page(profile))
    written = [page, data, *profile.files]
    if speaks_to_people():
        print("\n".join([*profile.lines(), "", *map(str, written)]))
    emit(
        "profile",
        kind=profile.kind,
        seconds=profile.ranks[0].step,
        parts=profile.ranks[0].parts(profile.parts),
        tokens_per_second=profile.tokens_per_second,
        mfu=profile.mfu,
        peaks=profile.peaks,
        files=written,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
