"""What `hornbook bench decode --perplexity RUN` adds: how well a trained model knows a text in each precision timed.

Speed in a lower precision is worth what it costs in quality, which random weights cannot tell. The numbers are those of
`hornbook eval perplexity`, or of `eval bound` for a diffusion model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbook.cli.configuration import positive
from hornbook.errors import HornbookError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hornbook.cli.from_checkpoint import OpenedModel
    from hornbook.config.run import Config
    from hornbook.evaluation.card import EvaluationCard

MAX_TOKENS = 65_536
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
"""What `bench decode` calls a precision -> what [eval] calls it."""


def add_perplexity_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --perplexity and what goes with it."""
    group = parser.add_argument_group("perplexity, in each precision")
    text = "a trained model, whose perplexity is told beside the speeds"
    group.add_argument("--perplexity", type=Path, metavar="RUN", help=text)
    text = "a prepared data set to take the validation split of (default: that of the run)"
    group.add_argument("--perplexity-data", type=Path, metavar="DIR", help=text)
    text = f"the first N tokens of it (default {MAX_TOKENS:,})"
    group.add_argument("--perplexity-tokens", type=positive, metavar="N", help=text)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be measured, before anything is.

    Raises:
        HornbookError: if the checkpoint or the data set is not there, or a flag has no effect.
    """
    if args.perplexity is None:
        if given := [name for name in ("data", "tokens") if getattr(args, f"perplexity_{name}")]:
            raise HornbookError(f"--perplexity-{given[0]} has an effect only with --perplexity RUN; add it")
        return
    from hornbook.evaluation.streams import open_dataset

    open_dataset(_config(args, "float32")).split("valid")


def summaries(args: argparse.Namespace, precisions: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The card of the checkpoint in each precision as a flat object, one after another; a bound in float32 alone."""
    from hornbook.cli.from_checkpoint import open_model
    from hornbook.config.objective import BOUND_ALONE, likelihood_kind

    opened = open_model(args.perplexity, table="eval", best=False, config=_config(args, "float32"))
    is_bound = likelihood_kind(opened.objective) in BOUND_ALONE
    for precision in ["fp32"] if is_bound else precisions:
        card = _card(opened, _config(args, PRECISIONS[precision]), is_bound=is_bound)
        yield {"measure": card.measure, **card.values(), "tokens_per_second": card.tokens_scored / card.seconds}


def words(summary: dict[str, Any]) -> str:
    """A summary as a line."""
    at_most = "_at_most" if "perplexity_at_most" in summary else ""
    per_byte = summary.get(f"bits_per_byte{at_most}")
    return (
        f"{summary['measure']} {summary.get('precision', 'float32')}: {summary[f'perplexity{at_most}']:.4f} a token"
        f"{'' if per_byte is None else f', {per_byte:.4f} bits a byte'}{' at most' if at_most else ''}; "
        f"{summary['tokens_scored']:,} tokens of {summary['data']}; {summary['protocol']}"
    )


def _card(opened: OpenedModel, config: Config, *, is_bound: bool) -> EvaluationCard:
    from hornbook.evaluation.diffusion_bound import evaluate_bound
    from hornbook.evaluation.perplexity import evaluate_perplexity
    from hornbook.evaluation.streams import open_stream

    stream, data = open_stream(config, opened.tokenizer)
    about = {"data": data, "checkpoint": str(opened.path), "step": opened.step}
    asked: tuple[Any, ...] = (opened.model, opened.tokenizer, stream, config.eval)
    if is_bound:
        return evaluate_bound(*asked, objective=opened.objective, **about)  # type: ignore[arg-type]
    return evaluate_perplexity(*asked, **about)  # type: ignore[arg-type]


def _config(args: argparse.Namespace, precision: str) -> Config:
    """That of the checkpoint's run, asked for the validation split in one precision."""
    from hornbook.cli.from_checkpoint import find_checkpoint, find_run
    from hornbook.config.load import load_config

    path = find_checkpoint(args.perplexity, table="eval", best=False)
    run = find_run(path)
    file = None if run is None or not run.config_file.is_file() else run.config_file
    if file is None and args.perplexity_data is None:
        raise HornbookError(
            f"--perplexity {args.perplexity}: no run, whose data could be taken; name some with --perplexity-data DIR"
        )
    values: dict[str, object] = {
        "eval.max_tokens": args.perplexity_tokens or MAX_TOKENS,
        "eval.precision": precision,
        "eval.split": "valid",
        "eval.text": [],
    }
    if args.perplexity_data is not None:
        values["data.path"] = str(args.perplexity_data)
    return load_config(file, values=values).config
