"""`hornbook checkpoint inspect / verify / prune / consolidate / merge`: what a run has saved, whether it is whole.

All but the last two work where torch is not installed: only manifests, headers and JSON are read.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from hornbook.checkpoint.inspection import Summary
    from hornbook.config.train import CheckpointConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook checkpoint` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("inspect", "step, kind, model, sizes and marks"),
        ("verify", "compute every digest; status 2 if anything is broken"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("path", type=Path, metavar="PATH", help="a run, its checkpoints/ or a checkpoint directory")
    text = "delete old checkpoints; those that LATEST and BEST name always stay"
    prune = actions.add_parser("prune", help=text, description=text)
    prune.add_argument("path", type=Path, metavar="RUN", help="a run or its checkpoints/")
    for kind, least in (("light", 0), ("full", 1)):
        text = f"newest {kind} ones to keep, at least {least}; default: as the run's config.toml says"
        prune.add_argument(f"--keep-{kind}", type=_at_least(least), metavar="N", help=text)
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    text = "make an ordinary checkpoint of a sharded one (checkpoint.sharded), in its place"
    consolidate = actions.add_parser("consolidate", help=text, description=text)
    consolidate.add_argument(
        "path", type=Path, metavar="CHECKPOINT", help="a checkpoint; of a run, its newest full one"
    )
    consolidate.add_argument("--out", type=Path, metavar="DIR", help="write it there, and leave the sharded one alone")
    text = "write a light checkpoint with LoRA adapters merged into the weights (what every verb does by itself)"
    merge = actions.add_parser("merge", help=text, description=text)
    merge.add_argument("path", type=Path, metavar="CHECKPOINT", help="a checkpoint; of a run, its newest full one")
    merge.add_argument("out", type=Path, metavar="OUT", help="a directory that does not exist yet")


def run(args: argparse.Namespace) -> int:
    """Carry out the action; broken checkpoints are an error."""
    match args.action:
        case "inspect":
            _inspect(args.path)
        case "verify":
            _verify(args.path)
        case "prune":
            _prune(args.path, keep_light=args.keep_light, keep_full=args.keep_full, dry_run=args.dry_run)
        case "consolidate":
            _consolidate(args.path, args.out)
        case "merge":
            _merge(args.path, args.out)
    return 0


def _inspect(path: Path) -> None:
    from hornbook.checkpoint.inspection import find, summarise
    from hornbook.tracking.console import emit, speaks_to_people

    summaries = [summarise(checkpoint) for checkpoint in find(path)]
    if speaks_to_people():
        _show(summaries)
    for summary in summaries:
        emit("checkpoint", **{**vars(summary), "path": str(summary.path), "bytes": summary.bytes})


def _verify(path: Path) -> None:
    from hornbook.checkpoint.inspection import find_problems
    from hornbook.errors import CheckpointError
    from hornbook.tracking.console import emit, speaks_to_people

    problems = find_problems(path)
    for place, problem in problems.items():
        if speaks_to_people() and problem is None:
            print(f"{place}: whole")
        emit("verify", path=str(place), whole=problem is None, problem=problem)
    broken = [problem for problem in problems.values() if problem is not None]
    if broken:
        raise CheckpointError("\n".join([f"{len(broken)} of {len(problems)} broken", *broken]))


def _prune(path: Path, *, keep_light: int | None, keep_full: int | None, dry_run: bool) -> None:
    from hornbook.checkpoint.inspection import checkpoints_root
    from hornbook.checkpoint.retention import prune
    from hornbook.errors import CheckpointError
    from hornbook.storage.atomic import sweep_temporaries
    from hornbook.tracking.console import emit, speaks_to_people

    root = checkpoints_root(path)
    if root is None:
        raise CheckpointError(f"{path}: no checkpoints to choose from; expected a run or its checkpoints/ directory")
    if keep_light is None or keep_full is None:
        usual = _retention_of(root.parent / "config.toml")
        keep_light = usual.light_keep if keep_light is None else keep_light
        keep_full = usual.full_keep if keep_full is None else keep_full
    doomed = prune(root, light_keep=keep_light, full_keep=keep_full, dry_run=True)
    freed = sum(file.stat().st_size for checkpoint in doomed for file in checkpoint.rglob("*") if file.is_file())
    if not dry_run:
        sweep_temporaries(root)
        doomed = prune(root, light_keep=keep_light, full_keep=keep_full)
    if speaks_to_people():
        done = "would delete" if dry_run else "deleted"
        print(*(f"{done} {checkpoint}" for checkpoint in doomed), sep="\n")
        print(f"{done} {len(doomed)} checkpoints, {_size(freed)}")
    emit("prune", dry_run=dry_run, removed=[str(checkpoint) for checkpoint in doomed], bytes=freed)


def _consolidate(path: Path, out: Path | None) -> None:
    from hornbook.checkpoint.load import load_checkpoint
    from hornbook.checkpoint.manifest import read_manifest
    from hornbook.checkpoint.save import consolidate
    from hornbook.errors import CheckpointError
    from hornbook.storage.run_dir import resolve_checkpoint
    from hornbook.tracking.console import emit, speaks_to_people

    path = resolve_checkpoint(path)
    if not read_manifest(path).shards:
        raise CheckpointError(f"{path}: an ordinary checkpoint already; there is nothing to do")
    written = consolidate(load_checkpoint(path), out)
    if speaks_to_people():
        print(f"wrote {written}")
    emit("consolidate", path=str(path), out=str(written))


def _merge(path: Path, out: Path) -> None:
    from hornbook.checkpoint.load import load_checkpoint
    from hornbook.checkpoint.save import consolidate
    from hornbook.errors import CheckpointError
    from hornbook.tracking.console import emit, speaks_to_people

    checkpoint = load_checkpoint(path, with_optimizer=False)
    if checkpoint.lora is None:
        raise CheckpointError(f"{checkpoint.path}: has no adapters; there is nothing to merge")
    written = consolidate(checkpoint.plain(), out)
    if speaks_to_people():
        print(f"wrote {written}")
    emit("merge", path=str(checkpoint.path), out=str(written))


def _retention_of(config_file: Path) -> "CheckpointConfig":
    """What the run itself was told to keep, so that pruning by hand and in training agree."""
    import tomllib

    from hornbook.config.train import CheckpointConfig
    from hornbook.errors import ConfigError

    try:
        table = tomllib.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
        return CheckpointConfig.model_validate(table.get("checkpoint", {}))
    except ValueError as error:  # of tomllib and of pydantic
        raise ConfigError(f"{config_file}: {error}; give --keep-light and --keep-full instead") from error


def _show(summaries: Sequence["Summary"]) -> None:
    from rich.console import Console

    Console().print(_details(summaries[0]) if len(summaries) == 1 else _table(summaries))


def _table(summaries: Sequence["Summary"]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("checkpoint", "step", "kind", "marks", title=escape(str(summaries[0].path.parent)))
    for number in ("best loss so far", "parameters", "size"):
        table.add_column(number, justify="right")
    for one in summaries:
        best = one.state.get("best_loss")
        numbers = (f"{best:.4f}" if isinstance(best, float) else "", f"{one.parameters:,}", _size(one.bytes))
        table.add_row(escape(one.path.name), f"{one.step:,}", one.kind, " ".join(one.marks), *numbers)
    return table


def _details(summary: "Summary") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("", escape(str(summary.path)))
    table.add_row("step", f"{summary.step:,}")
    table.add_row("kind", " ".join([summary.kind, *summary.marks]))
    table.add_row("parameters", f"{summary.parameters:,}")
    for title in ("model", "lora", "objective", "state"):
        if values := getattr(summary, title):
            table.add_row(title, escape("\n".join(f"{name} = {value}" for name, value in values.items())))
    table.add_row("files", escape("\n".join(f"{name}  {_size(size)}" for name, size in summary.files.items())))
    table.add_row("size", _size(summary.bytes))
    return table


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return number
