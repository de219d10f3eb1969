"""`hornbook eval samples`: what texts a model writes, by numbers."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.configuration import positive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hornbook.config.data import DataConfig
    from hornbook.config.run import Config
    from hornbook.data.shards import TokenStream
    from hornbook.evaluation.judge import Judgement
    from hornbook.evaluation.samples_card import SamplesCard

FLAGS = ("checkpoint", "samples.number", "samples.file", "samples.judge")
"""Settings of [eval] that have a flag here."""
AT_ONCE = 16
"""Texts that are decoded together."""
Text = tuple[str, str, "Sequence[int]"]
"""Prompt, continuation, tokens of the continuation."""


def add_arguments(measures: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare what it takes."""
    parser = measures.add_parser(
        "samples",
        help="what texts a model writes: variety, repetition, loops, copies of the training text, a judge's opinion",
        description="Texts by a model, made as [generate] says: distinct n-grams, repetition, loops, entropy, length, "
        "passages copied from the training text, known words, and how surprised another model is by them.",
    )
    from_checkpoint.add_checkpoint_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--prompt", dest="prompts", action="append", metavar="TEXT", help="may be repeated; default: [generate]'s"
    )
    what.add_argument(
        "--samples", dest="samples.file", metavar="FILE", help="measure these, JSON lines of `hornbook generate`"
    )
    parser.add_argument("--chat", action="store_true", help="each prompt is a message to a tuned checkpoint")
    parser.add_argument(
        "--num-samples", dest="samples.number", type=positive, metavar="N", help="texts a prompt; default: 20"
    )
    parser.add_argument(
        "--judge", dest="samples.judge", metavar="CHECKPOINT", help="how surprised this model is by the texts"
    )
    parser.add_argument("--data", metavar="DATASET", help="what the model was trained on; default: data.path")


def measure(args: argparse.Namespace, config: Config) -> tuple[from_checkpoint.OpenedModel, SamplesCard]:
    """The checkpoint, and its card.

    Raises:
        HornbookError: for a file without texts, prompts that do not fit, a judge that cannot judge.
    """
    from hornbook.errors import ConfigError
    from hornbook.evaluation.samples_card import samples_card

    started, wanted = time.perf_counter(), config.eval.samples
    makes = args.chat or args.prompts or getattr(args, "samples.number") is not None
    if makes and (file := getattr(args, "samples.file")) is not None:
        given = "--chat makes messages of prompts" if args.chat else "--num-samples says how many to make"
        raise ConfigError(f"{given}, and the texts of {file} are made; leave it out")
    file = None if makes else wanted.file  # of the run's own configuration, perhaps
    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    alone = {"mixture": (), "weights": ()} if args.data else {}
    training, data = _training(config.data.model_copy(update=alone), opened)
    prompts = args.prompts or config.generate.prompts or config.train.sample_prompts
    if file is not None:
        texts, made = _written(file, opened), f"the texts of {file}"
        prompts = tuple(dict.fromkeys(prompt for prompt, _, _ in texts))
    else:
        texts, made = _made(prompts, config, opened, as_chat=args.chat), _how(config, as_chat=args.chat)
    judge = None if wanted.judge is None else (str(wanted.judge), _judged(wanted.judge, texts, config))
    return opened, samples_card(
        [tokens for _, _, tokens in texts],
        opened.tokenizer,
        training,
        most=wanted.training_tokens,
        judge=judge,
        prompts=prompts,
        made=made,
        checkpoint=str(opened.path),
        step=opened.step,
        data=data,
        started=started,
    )


def _seeds(config: Config) -> range:
    """One for each text of a prompt: a decoder that draws nothing writes the same text for all of them."""
    settings = config.generate
    is_drawn = settings.temperature > 0 or settings.diffusion.remasking == "random"
    number = config.eval.samples.number if is_drawn and settings.strategy == "sample" else 1
    return range(settings.seed, settings.seed + number)


def _how(config: Config, *, as_chat: bool) -> str:
    """Every setting that may change a text."""
    from hornbook.config.generate import changed_settings

    settings, seeds = config.generate, _seeds(config)
    drawn = f"temperature {settings.temperature:g}" if settings.strategy == "sample" else "beam search"
    named = {"checkpoint", "prompts", "temperature", "strategy", "max_new_tokens", "seed"}
    others = changed_settings(settings, leaving_out=named)
    how = ", ".join([drawn, *others, f"up to {settings.max_new_tokens} tokens"])
    what = f"{len(seeds)} {'answers to each message' if as_chat else 'of each prompt'}"
    return f"{what}, {how}, seed {settings.seed}{' and following' if len(seeds) > 1 else ''}"


def _made(prompts: Sequence[str], config: Config, opened: from_checkpoint.OpenedModel, *, as_chat: bool) -> list[Text]:
    """In the order of the prompts; a message and its answer are a line each to a judge."""
    from hornbook.cli.generate_prompts import as_messages
    from hornbook.evaluation.samples_card import text_tokens
    from hornbook.generation.text import generate_text
    from hornbook.tracking.progress import Progress

    seeds = _seeds(config)
    reads = as_messages(opened, prompts) if as_chat else prompts
    shown = [f"{prompt}\n" for prompt in prompts] if as_chat else prompts
    requests = [(read, show, seed) for read, show in zip(reads, shown, strict=True) for seed in seeds]
    texts: list[Text] = []
    with Progress("eval samples", unit="texts", console=config.tracking.console) as progress:
        for start in range(0, len(requests), AT_ONCE):
            some = requests[start : start + AT_ONCE]
            made = generate_text(
                opened.model,
                opened.tokenizer,
                [read for read, _, _ in some],
                config.generate,
                objective=opened.objective,
                seeds=[seed for _, _, seed in some],
            )
            texts += [
                (show, each.text, text_tokens(each, opened.tokenizer))
                for (_, show, _), each in zip(some, made, strict=True)
            ]
            progress.update(len(texts), len(requests))
    return texts


def _written(path: Path, opened: from_checkpoint.OpenedModel) -> list[Text]:
    """The texts of a file, as this model's tokenizer has them."""
    import json

    from hornbook.errors import DataError
    from hornbook.evaluation.requests import RequestEncoder

    encode, tokenizer = RequestEncoder(opened.tokenizer), opened.tokenizer
    made: list[tuple[str, str]] = []
    with suppress(ValueError, AttributeError, KeyError):  # neither UTF-8 nor JSON, no objects, other objects
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        made = [(str(event["prompt"]), str(event["output"])) for event in events if event.get("event") == "generate"]
    if not made:
        raise DataError(
            f"{path}: expected the JSON lines of generated texts; make it with: hornbook generate RUN --json > {path}"
        )
    ids = [encode.after(*each).continuation if each[0].strip() else tokenizer.encode(each[1]) for each in made]
    return [(prompt, text, tokens) for (prompt, text), tokens in zip(made, ids, strict=True)]


def _training(config: DataConfig, opened: from_checkpoint.OpenedModel) -> tuple[list[TokenStream], str]:
    """The training splits, where they still lie there and have this tokenizer's ids."""
    from hornbook.data.mixture import Mixture
    from hornbook.errors import DataError

    try:
        mixture = Mixture.open(config)
        mixture.check_tokenizer(opened.tokenizer)
        return [dataset.split("train") for dataset in mixture.datasets], f"{mixture.words} [train]"
    except DataError as error:
        from_checkpoint.note(f"note: nothing to look for copies in: {error}")
        return [], "no training text"


def _judged(judge: Path, texts: Sequence[Text], config: Config) -> Judgement:
    from hornbook.evaluation.judge import judged
    from hornbook.evaluation.noised_scorer import check_measure

    opened = from_checkpoint.open_model(judge, table="eval.samples", best=False, config=config)
    check_measure("perplexity", opened.objective)
    return judged(opened.model, opened.tokenizer, [(prompt, text) for prompt, text, _ in texts])
