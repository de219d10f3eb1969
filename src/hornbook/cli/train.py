"""`hornbook train`: pretraining, alone or resumed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import torch or pydantic, which no --help may wait for
    from hornbook.assemble import TrainedRun
    from hornbook.config.load import LoadedConfig
    from hornbook.config.run import Config
    from hornbook.distributed.environment import Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook train` takes."""
    from hornbook.cli.configuration import add_config_arguments, positive

    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="RUN",
        help="go on where a run stopped: RUN (or one of its full checkpoints), by default the newest run of the same "
        "configuration, or a new one if there is none",
    )
    parser.add_argument(
        "--branch-from",
        metavar="RUN@STEP",
        help="start a run that cools down from RUN's full checkpoint of STEP (RUN alone: the newest), with RUN's "
        'configuration and --set; RUN has schedule.kind = "wsd" or "constant"',
    )
    parser.add_argument(
        "--replay-step",
        type=positive,
        metavar="N",
        help="do step N of RUN (in the place of CONFIG) again from the checkpoint before it, write nothing, and say "
        "which module, gradient and rows are not finite",
    )
    parser.add_argument(
        "--nproc",
        type=positive,
        metavar="N",
        help="train with N processes on this machine, each with a GPU or a share of the cores (on several machines: "
        "start this command by torchrun or srun)",
    )
    parser.add_argument("--cooldown", type=positive, metavar="N", help="steps of that cooldown")


def run(args: argparse.Namespace) -> int:
    """Train; the exit status is 0 if the run finished or was asked to stop, 1 if it was preempted."""
    from hornbook.cli.configuration import load_with_origins, maybe_print
    from hornbook.distributed.environment import place_of
    from hornbook.errors import ConfigError
    from hornbook.storage.run_dir import RunDir

    if args.replay_step is not None:
        from hornbook.cli import train_replay

        return train_replay.run(args)
    resume: bool | Path = Path(args.resume) if isinstance(args.resume, str) else bool(args.resume)
    if args.config is None and isinstance(resume, Path):
        if resume.is_file():  # `train --resume run.toml`: argparse took the configuration for the run
            args.config, resume = resume, True
        else:
            args.config = RunDir.open(resume).config_file
    is_branch = args.branch_from is not None or args.cooldown is not None
    loaded = _branch(args) if is_branch else load_with_origins(args)
    config = loaded.config
    if maybe_print(args, config):
        return 0
    if args.config is None and args.branch_from is None:
        raise ConfigError("no configuration: name a TOML file, or --resume RUN to go on with a run")
    place = place_of(os.environ)
    if args.nproc is not None and place.world_size == 1 and args.nproc > 1:
        from hornbook.distributed.launch import EXIT_PREEMPTED, launch

        status = launch([sys.executable, "-P", "-m", "hornbook", "train", *args.arguments], args.nproc)
        return 1 if status == EXIT_PREEMPTED else status
    if args.nproc is not None and args.nproc != place.world_size:
        raise ConfigError(
            f"--nproc {args.nproc}: this is one of {place.world_size} processes already (WORLD_SIZE, or "
            "SLURM_STEP_NUM_TASKS); leave --nproc out, or start the command alone"
        )
    return _train(loaded, resume, place)


def _train(loaded: LoadedConfig, resume: bool | Path, place: Place) -> int:
    """This process's part."""
    from hornbook import assemble
    from hornbook.distributed.launch import EXIT_PREEMPTED

    trained = assemble.train(loaded.config, resume=resume, origins=loaded.origins)
    if place.rank == 0:
        _tell(trained, loaded.config)
    if trained.result.stop_reason != "preempted":
        return 0
    return EXIT_PREEMPTED if place.is_ours else 1


def _branch(args: argparse.Namespace) -> LoadedConfig:
    """The configuration of the branch that is asked for."""
    from hornbook.config.load import LoadedConfig
    from hornbook.errors import ConfigError
    from hornbook.training.branches import branch_config

    if args.branch_from is None or args.cooldown is None:
        raise ConfigError(
            "--branch-from RUN@STEP and --cooldown N go together: where a branch starts, and how long it is"
        )
    if args.config is not None or isinstance(args.resume, str):
        raise ConfigError(
            "--branch-from takes its trunk's configuration: give neither CONFIG nor --resume RUN with it, but --set "
            "for what may differ; a branch that exists goes on with --resume BRANCH alone"
        )
    return LoadedConfig(branch_config(args.branch_from, args.cooldown, args.overrides), {})


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
        case "early_stopped":
            state, patience = trained.result.state, config.train.patience or 0
            how = f"Stopped early at {step}: {state.validations_since_best} validations without a new lowest loss"
            next_commands = [f"train --resume {run} --set train.patience={2 * patience}"]
            if state.best_loss is not None:
                how += f" (the best is {state.best_loss:.4f}, of step {state.best_step:,})"
        case _:
            how, next_commands = f"Finished at {step}", _going_on(config, run, done)
    commands = [f"generate {run} --prompt 'The '", f"eval perplexity {run}", f"report {run}", *next_commands]
    return "\n".join([f"{how}. The run lies in {root}. Try next:", *(f"  {hornbook} {each}" for each in commands)])


def _going_on(config: Config, run: str, done: int) -> list[str]:
    """What a finished run can still become: a longer one, and a trunk one that cools down; a branch is at its end."""
    if config.run.branch_from is not None:
        return []
    is_averaged = config.optim.kind == "schedule_free_adamw"
    longer = [f"train --resume {run} --set train.steps={2 * max(config.train.steps, done)}"]
    cooled = [f"train --branch-from {run} --cooldown {max(1, done // 4)}"]
    return longer + (cooled if config.schedule.kind == "constant" and not is_averaged else [])
