"""What `hornbook export` and `hornbook import` share: the checkpoint to export, and saying what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from hornbook.checkpoint.load import Checkpoint
    from hornbook.interop.imported import Imported


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Give a form of `export` CHECKPOINT and --best."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a run or a checkpoint directory")
    parser.add_argument("--best", action="store_true", help="of a run, take the best checkpoint and not the latest")


def open_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint that was named, its adapters merged.

    Raises:
        CheckpointError: if there is no complete, undamaged one.
    """
    from hornbook.checkpoint.load import load_checkpoint
    from hornbook.cli.from_checkpoint import find_checkpoint

    return load_checkpoint(
        find_checkpoint(args.checkpoint, table="export", best=args.best), with_optimizer=False
    ).plain()


def tell_export(form: str, out: Path, **facts: Any) -> None:
    """Say what was written where; `notes`, if given, are lines that people should read."""
    from hornbook.cli.from_checkpoint import note
    from hornbook.tracking.console import emit, speaks_to_people

    if speaks_to_people():
        print(f"{out}: written in the form {form}")
        _print_facts(facts)
        for line in facts.get("notes", ()):
            note(line)
    emit("export", form=form, path=str(out), **facts)


def tell_import(form: str, out: Path, imported: Imported) -> None:
    """Say what was read and where it lies now."""
    from hornbook.cli.from_checkpoint import note
    from hornbook.models.accounting import parameter_counts
    from hornbook.tracking.console import emit, speaks_to_people

    config = imported.model_config
    tokenizer = None if imported.tokenizer is None else imported.tokenizer.vocab_size
    facts: dict[str, Any] = {
        "source": imported.source,
        "parameters": sum(parameter_counts(config).values()),
        "context_length": config.context_length,
        "vocab_size": config.vocab_size,
        "tokenizer_ids": tokenizer,
        "notes": list(imported.notes),
    }
    if speaks_to_people():
        print(f'{out}: a checkpoint; `hornbook generate {out} --prompt "Once"` continues a text')
        _print_facts(facts)
        for line in imported.notes:
            note(line)
    emit("import", form=form, path=str(out), **facts)


def _print_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if name == "notes":
            continue
        print(f"  {name.replace('_', ' ')}: {f'{value:,}' if isinstance(value, int) else value}")
