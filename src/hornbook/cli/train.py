"""`hornbook train`: pretraining, alone or resumed."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import torch or pydantic, which no --help may wait for
    from hornbook.assemble import TrainedRun
    from hornbook.config.run import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook train` takes."""
    from hornbook.cli.configuration import add_config_arguments

    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="RUN",
        help="go on where a run stopped: RUN (or one of its full checkpoints), by default the newest run of the same "
        "configuration, or a new one if there is none",
    )


def run(args: argparse.Namespace) -> int:
    """Train; the exit status is 0 if the run finished or was asked to stop, 1 if it was preempted."""
    from hornbook.cli.configuration import load, maybe_print
    from hornbook.errors import ConfigError
    from hornbook.storage.run_dir import RunDir

    resume: bool | Path = Path(args.resume) if isinstance(args.resume, str) else bool(args.resume)
    if args.config is None and isinstance(resume, Path):
        if resume.is_file():  # `train --resume run.toml`: argparse took the configuration for the run
            args.config, resume = resume, True
        else:
            args.config = RunDir.open(resume).config_file
    config = load(args)
    if maybe_print(args, config):
        return 0
    if args.config is None:
        raise ConfigError("no configuration: name a TOML file, or --resume RUN to go on with a run")
    from hornbook import assemble

    trained = assemble.train(config, resume=resume)
    _tell(trained, config)
    return 1 if trained.result.stop_reason == "preempted" else 0


def _tell(trained: TrainedRun, config: Config) -> None:
    """Where the run lies and what to do next, for people; programs have the `start` and `finish` events."""
    from hornbook.tracking.console import speaks_to_people

    console = config.tracking.console
    if speaks_to_people(console):
        print(closing_words(trained, config))
    elif console in ("auto", "rich") and sys.stderr.isatty():
        print(closing_words(trained, config), file=sys.stderr)


def closing_words(trained: TrainedRun, config: Config) -> str:
    """How the training ended, and commands to paste: to go on, or to use what was trained."""
    from hornbook.cli.demo import program

    root, done, total = trained.run_dir.root, trained.result.state.step, config.train.steps
    hornbook, run, step = program(), shlex.quote(str(root)), f"step {done:,} of {total:,}"
    match trained.result.stop_reason:
        case "preempted":
            how, next_commands = f"Interrupted at {step}, and saved", [f"train --resume {run}"]
        case "max_minutes":
            minutes = f"--set train.max_minutes={config.train.max_minutes:g}"
            how, next_commands = f"Out of time at {step}, and saved", [f"train --resume {run} {minutes}"]
        case _:
            how, next_commands = (
                f"Finished at {step}",
                [f"train --resume {run} --set train.steps={2 * max(total, done)}"],
            )
    commands = [f"generate {run} --prompt 'The '", f"eval perplexity {run}", *next_commands]
    return "\n".join([f"{how}. The run lies in {root}. Try next:", *(f"  {hornbook} {each}" for each in commands)])
