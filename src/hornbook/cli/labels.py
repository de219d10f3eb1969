"""`hornbook data inspect --stage ...`: the rows of a run with what each token counts in its loss."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from hornbook.config.objective import NextTokenConfig, PreferenceConfig
from hornbook.errors import ConfigError, DataError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from hornbook.cli.label_rows import LabelledRows
    from hornbook.config.run import Config
    from hornbook.data.dataset import Dataset
    from hornbook.data.label_check import SplitLabels
    from hornbook.data.mixture import Mixture
    from hornbook.tokenizer.tokenizer import Tokenizer

Stage = Literal["sft", "dpo", "diffusion", "pretrain"]
_WINDOW = 256
_ROWS = 8
"""Of a step of a data set that no configuration says how to train on."""


def inspect(args: argparse.Namespace, config: Config | None) -> bool:
    """Show rows and labels if that is what the arguments ask for; `config` is None where a data set was named.

    Text that is read in windows is shown by its labels only where --stage, --step or --html asks for them: all tokens
    of a window count alike.

    Raises:
        HornbookError: if there are no such data, or a stage, split or row means nothing for them.
    """
    asked = args.step is not None or args.html is not None or args.stage is not None
    if config is None:
        config = _assumed(args)
    elif args.length is not None and (asked or _stage(config) != "pretrain"):
        raise DataError("--length means nothing here: the configuration says it")
    own = _stage(config)
    if own == "pretrain" and (not asked or (args.stage == own and args.step is None and args.html is None)):
        return False
    if config.data.mixture and not asked and args.sample is None:
        return False
    _check_stage(args.stage, config)
    _show(args, config)
    return True


def _stage(config: Config) -> Stage:
    """What is shown unless something else is asked for."""
    if config.data.stage != "pretrain":
        return config.data.stage
    return "pretrain" if isinstance(config.objective, NextTokenConfig) else "diffusion"


def _check_stage(stage: Stage | None, config: Config) -> None:
    """Refuse a stage that is none of the configuration's."""
    if stage is None:
        return
    if stage != "diffusion":
        if config.data.stage != stage:
            raise ConfigError(
                f'--stage {stage}: data.stage is "{config.data.stage}"; name a configuration or data set of that stage'
            )
        return
    objective = config.objective
    masks = not isinstance(objective, NextTokenConfig)
    if isinstance(objective, PreferenceConfig):
        masks = objective.likelihood == "masked_diffusion"
    if not masks:
        raise ConfigError(
            f'--stage diffusion: objective.kind = "{objective.kind}" masks nothing; '
            "add --set 'objective.kind=\"masked_diffusion\"', or name a configuration that does"
        )


def _assumed(args: argparse.Namespace) -> Config:
    """What a run of a data set would be if nothing else is said: long enough rows, and the stage's usual objective."""
    from hornbook.config.load import load_config
    from hornbook.data.dataset import Dataset

    dataset = Dataset.open(args.place)
    length = args.length or _longest(dataset)
    values: dict[str, object] = {
        "data.path": str(args.place),
        "data.stage": dataset.stage,
        "model.context_length": length,
        "train.tokens_per_step": _ROWS * length,
        "train.micro_batch_size": _ROWS,
        "train.eval_every": 0 if args.split == "train" else 1,
    }
    if dataset.stage == "dpo":
        values["objective.kind"] = "preference"
        if args.stage == "diffusion":
            values["objective.likelihood"] = "masked_diffusion"
    elif args.stage == "diffusion":
        values["objective.kind"] = "masked_diffusion"
    return load_config(None, args.overrides, values=values).config


def _longest(dataset: Dataset) -> int:
    """Tokens of the longest conversation; of text, a usual window."""
    if dataset.stage == "pretrain":
        return _WINDOW
    return int(max(dataset.split(name).document_lengths().max() for name in dataset.splits))


def _show(args: argparse.Namespace, config: Config) -> None:
    from hornbook.cli.label_rows import LabelledRows
    from hornbook.data.mixture import Mixture

    if args.split == "test":
        raise DataError("--split test means nothing here: neither training nor validation reads it")
    data = Mixture.open(config.data)
    is_validation = args.split == "valid"
    if is_validation and args.step is not None:
        raise DataError("--step means nothing with --split valid: every validation has the same noise")
    rows = LabelledRows(config, data, is_validation=is_validation)
    if not len(rows):
        raise DataError("--split valid: the run is not validated; set train.eval_every")
    first = args.sample if args.sample is not None else rows.rows_per_step * ((args.step or 1) - 1)
    if first >= len(rows):
        raise DataError(
            f"{'--sample' if args.sample is not None else '--step'}: row {first:,} is outside 0..{len(rows) - 1:,}"
        )
    numbers = range(first, first + 1 if args.sample is not None else min(first + rows.rows_per_step, len(rows)))
    tokenizer = data.tokenizer()
    end_of_text_id = tokenizer.end_of_text_id if config.data.stage == "pretrain" else None
    checks = _checks(data, args.split, tokenizer)
    if args.html is not None:
        _write_page(args.html, rows, numbers, tokenizer, checks, end_of_text_id, str(args.place))
    else:
        _show_rows(rows, numbers, tokenizer, checks, end_of_text_id)


def _checks(data: Mixture, split: Literal["train", "valid"], tokenizer: Tokenizer) -> dict[str, SplitLabels]:
    """The whole split of every data set."""
    from hornbook.cli.label_text import control_ids, stop_id
    from hornbook.data.label_check import check_split

    return {
        name: check_split(dataset.split(split), stop_id=stop_id(tokenizer), control_ids=control_ids(tokenizer))
        for name, dataset in zip(data.names, data.datasets, strict=True)
    }


def _write_page(
    out: Path,
    rows: LabelledRows,
    numbers: range,
    tokenizer: Tokenizer,
    checks: Mapping[str, SplitLabels],
    end_of_text_id: int | None,
    place: str,
) -> None:
    from hornbook.cli.data_inspect import HTML_TOKENS
    from hornbook.cli.label_page import write_page

    write_page(
        out,
        f"Labels of {place}",
        (rows.row(number) for number in numbers),
        tokenizer,
        checks,
        n_rows=rows.n_read_from,
        max_tokens=HTML_TOKENS,
        end_of_text_id=end_of_text_id,
    )


def _show_rows(
    rows: LabelledRows,
    numbers: range,
    tokenizer: Tokenizer,
    checks: Mapping[str, SplitLabels],
    end_of_text_id: int | None,
) -> None:
    """A screen at a time on a terminal that answers; JSON lines, or whole rows, of `numbers` elsewhere."""
    from hornbook.cli import label_text, label_view
    from hornbook.tracking.console import speaks_to_people
    from hornbook.tracking.jsonl import json_line

    if not speaks_to_people():
        for name, check in checks.items():
            print(json_line(label_view.split_line(name, check, rows.n_read_from)))
        for number in numbers:
            for fields in label_view.json_lines(rows.row(number), tokenizer, end_of_text_id):
                print(json_line(fields))
        return
    from rich.console import Console

    from hornbook.cli.token_pager import Pager

    console = Console()
    for line in label_text.split_lines(checks, rows.n_read_from):
        console.print(line, highlight=False, markup=False)
    label_view.print_legend(console)
    screens = label_view.RowScreens(rows, tokenizer, end_of_text_id=end_of_text_id)
    pager = Pager(screens, tokenizer, console, input, what="row")
    if sys.stdin.isatty():
        pager.run(numbers.start)
    else:
        pager.show_all(numbers)
