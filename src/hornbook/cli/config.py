"""`hornbook config show | check | presets | schema`: configurations as text, without building anything."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hornbook.cli.configuration import add_set_argument, load_with_origins
from hornbook.errors import ConfigError

_EPILOG = """\
Layers of a configuration, lowest first: defaults; what model.preset stands for; the files that a top-level extends
names, relative to the file that says it; the file; --set. A layer that changes the kind of a table (such as [schedule]
or [data.source]) drops what lower layers said in that table. "none" unsets a number, a choice or a table that may be
unset. Other relative paths are relative to the working directory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four sub-verbs."""
    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    show = verbs.add_parser("show", help="every setting, its value, and where that came from")
    show.add_argument("config", metavar="CONFIG", nargs="?", help="TOML file; without one, the defaults")
    add_set_argument(show)

    check = verbs.add_parser("check", help="say all that is wrong with some files; exit 2 if anything is")
    check.add_argument("configs", metavar="CONFIG", nargs="+", type=Path, help="TOML files")

    verbs.add_parser("presets", help="the named model shapes that `model.preset` takes")
    verbs.add_parser("schema", help="a JSON schema of the file, for editors that complete and check TOML")


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb."""
    match args.action:
        case "show":
            return _show(args)
        case "check":
            return _check(args.configs)
        case "presets":
            return _presets()
        case _:
            return _schema()


def _show(args: argparse.Namespace) -> int:
    from hornbook.config.dump import toml_value
    from hornbook.config.load import leaf_values

    loaded = load_with_origins(args)
    settings = leaf_values(loaded.config)
    if not sys.stdout.isatty():
        _write_lines({"key": k, "value": v, "origin": str(loaded.origins[k])} for k, v in settings.items())
        return 0
    shown = [(key, "(unset)" if value is None else toml_value(value)) for key, value in settings.items()]
    _write_aligned([(key, value, str(loaded.origins[key])) for key, value in shown])
    return 0


def _check(paths: Sequence[Path]) -> int:
    from hornbook.config.load import load_config

    errors: dict[Path, str | None] = {}
    for path in paths:
        try:
            load_config(path)
            errors[path] = None
        except ConfigError as error:
            errors[path] = str(error)
            print(f"hornbook config: {error}", file=sys.stderr)
    if sys.stdout.isatty():
        _write_aligned([(str(path), "wrong" if error else "ok") for path, error in errors.items()])
    else:
        _write_lines({"file": str(path), "ok": error is None, "error": error} for path, error in errors.items())
    return 2 if any(errors.values()) else 0


def _presets() -> int:
    from hornbook.config.model import ModelTable
    from hornbook.config.presets import PRESETS
    from hornbook.models.accounting import parameter_counts

    presets: list[dict[str, object]] = []
    for name, (description, keys) in PRESETS.items():
        shape = ModelTable(**keys).complete(vocab_size=1)
        counts = parameter_counts(shape)
        parameters = counts["attention"] + counts["feed_forward"] + counts["norm"]
        sizes = {size: getattr(shape, size) for size in ("n_layers", "n_heads", "d_model", "d_ff", "context_length")}
        presets.append({"preset": name, "parameters": parameters, **sizes, "description": description, "model": keys})
    if not sys.stdout.isatty():
        _write_lines(presets)
        return 0
    columns = [column for column in presets[0] if column != "model"]
    _write_aligned([columns, *([f"{preset[column]}" for column in columns] for preset in presets)])
    sys.stdout.write("parameters: besides the embeddings, whose number depends on the tokenizer\n")
    sys.stdout.write("auto: with model.depth, sizes, rates, batch and steps by rule; config show says which\n")
    return 0


def _schema() -> int:
    from hornbook.config.schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2 if sys.stdout.isatty() else None) + "\n")
    return 0


def _write_lines(rows: Iterable[Mapping[str, object]]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(row, default=str) + "\n")  # str: a path


def _write_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; a long value pushes only its own row."""
    widths = [min(40, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
