"""`hornbook eval answers` and `hornbook eval preference`: what tuning has done, on held-out conversations and pairs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.eval_card import refuse_draws

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.evaluation.answers_card import AnswersCard
    from hornbook.evaluation.candidate import Candidate
    from hornbook.evaluation.preference_card import PreferenceCard

_SHARED = ("checkpoint", "split", "batch_size", "bound.draws", "bound.seed")
FLAGS = {
    "answers": (*_SHARED, "base", "exact_match", "max_new_tokens"),
    "preference": (*_SHARED, "reference"),
}
"""Settings of [eval] that each measure has a flag for."""


def add_arguments(measures: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare both."""
    answers = measures.add_parser(
        "answers",
        help="how surprised a model is by held-out answers, and how often it gives them itself",
        description="Nats per answer token and per conversation, perplexity and bits per byte of the answers of a "
        "prepared set of conversations; of a diffusion model at most. With --exact-match the model answers, too.",
    )
    _add_shared(answers, "conversations")
    answers.add_argument("--base", metavar="CHECKPOINT", help="compare with this model on the same answers")
    answers.add_argument(
        "--exact-match", type=int, metavar="N", help="answer the first N prompts greedily, compare with what is right"
    )
    answers.add_argument(
        "--max-new-tokens", type=int, metavar="TOKENS", help="of those answers; default: the longest right one"
    )
    preference = measures.add_parser(
        "preference",
        help="whether a model prefers chosen answers more than its reference does",
        description="Margins of held-out pairs: by how much the log-ratio to the reference of the chosen answer "
        "exceeds that of the rejected one, summed and by token; the share of positive ones, ties counted half.",
    )
    _add_shared(preference, "pairs")
    preference.add_argument(
        "--reference", metavar="CHECKPOINT", help="default: what the checkpoint was trained against"
    )
    preference.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the margins, to a name that ends in .svg, .html or .png"
    )


def _add_shared(parser: argparse.ArgumentParser, what: str) -> None:
    from_checkpoint.add_checkpoint_arguments(parser)
    parser.add_argument("--data", metavar="DATASET", help=f"prepared {what}; default: data.path")
    parser.add_argument("--split", choices=("train", "valid", "test"), help="default: valid")
    parser.add_argument("--batch-size", type=int, metavar="ROWS", help="rows at a time; changes speed only")
    parser.add_argument(
        "--draws", dest="bound.draws", type=int, metavar="N", help="of a diffusion model: readings an answer"
    )
    parser.add_argument("--seed", dest="bound.seed", type=int, metavar="SEED", help="of what these readings hide")


def measure(
    args: argparse.Namespace, config: Config
) -> tuple[from_checkpoint.OpenedModel, AnswersCard | PreferenceCard]:
    """The checkpoint, and its card.

    Raises:
        ConfigError: for a flag without effect.
    """
    from hornbook.errors import ConfigError

    if args.measure == "answers" and args.max_new_tokens is not None and not config.eval.exact_match:
        raise ConfigError("--max-new-tokens is of the answers that --exact-match N asks for; give that as well")
    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    refuse_draws(args, opened)
    if args.measure == "answers":
        return opened, _answers(opened, config)
    return opened, _preference(opened, config, args.plot)


def _answers(opened: from_checkpoint.OpenedModel, config: Config) -> AnswersCard:
    from hornbook.evaluation.answers import evaluate_answers
    from hornbook.tracking.progress import Progress

    base = None if config.eval.base is None else _candidate(_open(config.eval.base, config))
    with Progress("eval answers", unit="conversations", console=config.tracking.console) as progress:
        card = evaluate_answers(_candidate(opened), config, base=base, progress=progress.update)
    if card.match is not None:
        for wrong in card.match.wrong:
            from_checkpoint.note(f"{wrong.prompt!r}: {wrong.answered!r}, not {wrong.expected!r}")
    return card


def _preference(opened: from_checkpoint.OpenedModel, config: Config, plot: Path | None) -> PreferenceCard:
    from hornbook.evaluation.preferences import evaluate_preference
    from hornbook.reporting.margins import check_name, save_margins
    from hornbook.tracking.progress import Progress

    if plot is not None:
        check_name(plot)
    reference = _open(_reference(opened, config), config)
    with Progress("eval preference", unit="answers", console=config.tracking.console) as progress:
        card = evaluate_preference(_candidate(opened), _candidate(reference), config, progress=progress.update)
    if plot is not None:
        save_margins(card.shown.tolist(), card.title, plot)
        from_checkpoint.note(f"margins drawn to {plot}")
    return card


def _reference(opened: from_checkpoint.OpenedModel, config: Config) -> Path:
    from hornbook.config.objective import preference_of
    from hornbook.errors import ConfigError

    trained_against = preference_of(opened.objective).get("reference_from")
    found = config.eval.reference or trained_against or config.model.init_from
    if found is None:
        raise ConfigError(
            "eval.reference: not said and not known from the checkpoint; name the checkpoint that preference tuning "
            "began from: --reference CHECKPOINT"
        )
    return Path(str(found))


def _open(path: Path, config: Config) -> from_checkpoint.OpenedModel:
    return from_checkpoint.open_model(path, table="eval", best=False, config=config)


def _candidate(opened: from_checkpoint.OpenedModel) -> Candidate:
    from hornbook.evaluation.candidate import Candidate

    return Candidate(
        model=opened.model,
        tokenizer=opened.tokenizer,
        objective=opened.objective,
        checkpoint=str(opened.path),
        step=opened.step,
    )
