"""`hornbook eval harness`: BLiMP, LAMBADA, HellaSwag, ARC-Easy and questions of one's own, from local files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.eval_card import refuse_draws

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.evaluation.harness_card import HarnessCard

FLAGS = tuple(f"harness.{name}" for name in ("tasks", "data", "native", "limit", "cache", "batch_tokens"))
FLAGS += ("checkpoint", "bound.draws", "bound.seed")
"""Settings of [eval] that have a flag of their own."""


def add_arguments(measures: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = measures.add_parser(
        "harness",
        help="questions with choices and last words, by lm-eval or our own scorer",
        description="Puts tasks to a model by the likelihood of each choice: the chain rule, or of a diffusion model "
        "its bound. Tasks: blimp, lambada, hellaswag, arc_easy; choices and cloze for files of your own.",
    )
    from_checkpoint.add_checkpoint_arguments(parser)
    parser.add_argument("--tasks", dest="harness.tasks", nargs="+", metavar="TASK", help="one or more of these")
    parser.add_argument("--data", dest="harness.data", metavar="DIR", help="where the tasks' files are; or one file")
    parser.add_argument(
        "--native",
        dest="harness.native",
        action="store_const",
        const=True,
        help="our own scorer, for which lm-eval need not be installed; the same numbers",
    )
    parser.add_argument("--limit", dest="harness.limit", type=int, metavar="N", help="the first N questions of a file")
    parser.add_argument(
        "--no-cache",
        dest="harness.cache",
        action="store_const",
        const=False,
        help="score everything anew, and keep nothing",
    )
    parser.add_argument(
        "--batch-tokens", dest="harness.batch_tokens", type=int, metavar="TOKENS", help="read at a time; default: 2048"
    )
    parser.add_argument(
        "--draws", dest="bound.draws", type=int, metavar="N", help="of a diffusion model: readings of a choice"
    )
    parser.add_argument("--seed", dest="bound.seed", type=int, metavar="SEED", help="of what these readings hide")


def measure(args: argparse.Namespace, config: Config) -> tuple[from_checkpoint.OpenedModel, HarnessCard]:
    """The checkpoint, and its card.

    Raises:
        HornbookError: for tasks or files that are not there, and flags that mean nothing to this model.
    """
    from hornbook.evaluation.candidate import Candidate
    from hornbook.evaluation.questions import evaluate_questions, store_of
    from hornbook.tracking.progress import Progress

    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    refuse_draws(args, opened)
    candidate = Candidate(
        model=opened.model,
        tokenizer=opened.tokenizer,
        objective=opened.objective,
        checkpoint=str(opened.path),
        step=opened.step,
    )
    store = store_of(opened.path, candidate, config.eval)
    with Progress("eval harness", unit="texts", console=config.tracking.console) as progress:
        card = evaluate_questions(candidate, config.eval, store=store, progress=progress.update)
    if store is not None and store.problem is not None:
        from_checkpoint.note(f"note: answers are not kept: {store.problem}")
    return opened, card
