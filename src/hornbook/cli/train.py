"""`hornbook train`: pretraining, alone or resumed."""

import argparse
from pathlib import Path


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
        args.config = RunDir.open(resume).config_file
    config = load(args)
    if maybe_print(args, config):
        return 0
    if args.config is None:
        raise ConfigError("no configuration: name a TOML file, or --resume RUN to go on with a run")
    from hornbook import assemble

    trained = assemble.train(config, resume=resume)
    return 1 if trained.result.stop_reason == "preempted" else 0
