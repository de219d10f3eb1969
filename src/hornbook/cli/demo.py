"""`hornbook demo`: the whole life of a small model, offline, from nothing."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hornbook.selftest.demo import DemoResult, Stage
    from hornbook.selftest.full_demo import FullResult
    from hornbook.selftest.plan import DemoOptions
    from hornbook.tracking.console import ConsoleChoice

MINUTES, FULL_MINUTES = 3.0, 7.0
"""Of training, unless --minutes says otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook demo` takes."""
    parser.add_argument(
        "--minutes", type=_minutes, metavar="N", help="bound of the training (default 3, with --full 7)"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="your own text: files or folders, .txt, .md, .jsonl or .parquet (default: Python's own documentation)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--diffusion", action="store_true", help="by masked diffusion: text that is filled in, not written on"
    )
    kind.add_argument(
        "--full",
        action="store_true",
        help="go on to a model that answers: supervised and preference tuning on small tasks, counted, and a talk",
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="where it goes (default runs)")
    parser.add_argument("--seed", type=int, default=1337, metavar="N", help="default 1337")
    parser.add_argument(
        "--console", choices=("auto", "rich", "json", "none"), default="auto", help="what is shown (default auto)"
    )


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of minutes")
    return minutes


def run(args: argparse.Namespace) -> int:
    """Run the demo; the exit status is 0, or 1 if a signal stopped its training."""
    from hornbook.selftest.demo import run_demo
    from hornbook.selftest.plan import DemoOptions

    options = DemoOptions(
        minutes=args.minutes or (FULL_MINUTES if args.full else MINUTES),
        corpus=tuple(args.corpus),
        out_dir=args.out,
        seed=args.seed,
        console=args.console,
        diffusion=args.diffusion,
    )
    if args.full:
        return _run_full(options)
    result = run_demo(options, lambda stage: _tell(stage, args.console))
    if args.diffusion and result.is_finished:
        _show_denoising(result)
    _tell(_what_next(result), args.console)
    return 0 if result.is_finished else 1


def _run_full(options: DemoOptions) -> int:
    from hornbook.selftest.demo import Stage
    from hornbook.selftest.full_demo import run_full_demo

    def tell(stage: Stage) -> None:
        _tell(stage, options.console)

    result = run_full_demo(options, tell)
    commands = full_commands(result, program())
    words = "\n".join([f"Everything lies in {result.base.root}. Try next:", "", *commands])
    tell(Stage(name="next", words=words, numbers={"runs": [run.root for run in result.runs], "commands": commands}))
    return 0 if result.is_finished else 1


def full_commands(result: FullResult, program: str) -> list[str]:
    """Lines to paste into a shell: a talk, the labels of the answers, a longer training; or how to go on with one."""
    *_, last = result.runs
    run, root = shlex.quote(str(last.root)), result.base.root
    if not result.is_finished:
        return [f"{program} train --resume {run}"]
    toml = shlex.quote(str(root / "sft.toml"))
    longer = f"""--set 'run.name="longer"' --set train.steps={4 * result.sft_steps} --set 'train.max_minutes="none"'"""
    return [
        f"{program} chat {run} --temperature 0",
        f"{program} data inspect {toml} --stage sft",
        f"{program} train {toml} {longer}",
    ]


def _tell(stage: Stage, console: ConsoleChoice) -> None:
    """Words for people, on stdout if that is a terminal and else on a stderr that is; JSON on a stdout that is not."""
    from hornbook.tracking.console import emit, speaks_to_people
    from hornbook.tracking.figures import printable

    emit("demo", console=console, stage=stage.name, **stage.numbers)
    if speaks_to_people(console):
        print(printable(stage.words))
    elif console in ("auto", "rich") and sys.stderr.isatty():
        print(printable(stage.words), file=sys.stderr)


def _show_denoising(result: DemoResult) -> None:
    """The first command that is suggested, carried out: a text as it is filled in, or its steps as JSON."""
    from hornbook.cli import generate

    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    generate.run(parser.parse_args(_denoising(result)))


def _denoising(result: DemoResult) -> list[str]:
    """Arguments of `hornbook generate` that show a text being filled in, with the settings of the demo."""
    prompt = result.config.generate.prompts[0]
    return [*_generate(result), f"--prompt={prompt}", "--show-denoising"]


def _generate(result: DemoResult) -> list[str]:
    return [str(result.run_dir.root), "--config", str(result.root / "demo.toml")]


def _what_next(result: DemoResult) -> Stage:
    from hornbook.selftest.demo import Stage

    commands = next_commands(result, program())
    words = "\n".join([f"Everything lies in {result.root}, the run in {result.run_dir.root}. Try next:", "", *commands])
    return Stage(name="next", words=words, numbers={"run": result.run_dir.root, "commands": commands})


def next_commands(result: DemoResult, program: str) -> list[str]:
    """Lines to paste into a shell: more text, a talk or a gap to fill, a longer training; or how to go on with one."""
    run, toml = shlex.quote(str(result.run_dir.root)), shlex.quote(str(result.root / "demo.toml"))
    if not result.is_finished:
        return [f"{program} train --resume {run}"]
    train, prompts = result.config.train, result.config.generate.prompts
    longer = {"run.name": '"longer"', "train.steps": 4 * train.steps, "train.max_minutes": 5 * (train.max_minutes or 1)}
    overrides = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in longer.items())
    longer_training = f"{program} train {toml} {overrides}"
    if result.config.objective.kind == "next_token":
        more = f"{program} generate {run} {shlex.quote(f'--prompt={prompts[0]}')}"  # a prompt may begin with a dash
        return [more, f"{program} chat {run}", longer_training]
    gap = f"--infill={prompts[-1]} <|mask:12|> the end."
    return [
        f"{program} generate {shlex.join(_denoising(result))}",
        f"{program} generate {shlex.join([*_generate(result), gap])}",
        longer_training,
    ]


def program() -> str:
    """How this program is called in this shell."""
    called = Path(sys.argv[0])
    if called.stem != "hornbook":
        return f"{shlex.quote(sys.executable)} -m hornbook"
    found = shutil.which("hornbook")
    on_path = found is not None and Path(found).resolve() == called.resolve()
    return "hornbook" if on_path else shlex.quote(str(called))
