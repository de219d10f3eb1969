"""`hornbook generate`: continue one or many prompts, or fill the holes of a text.

On a terminal the text is streamed as it is made. Whenever stdout is not a terminal, or with --json, it carries one JSON
object a text and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.configuration import positive
from hornbook.cli.denoising import Watcher, check_denoising, watched
from hornbook.cli.generate_compare import add_comparison_arguments, check_comparison_arguments, compare
from hornbook.cli.generate_prompts import add_prompt_arguments, as_messages, document_prompt, written_prompts
from hornbook.cli.generate_search import add_search_arguments, check_search_arguments, draft_words, search_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hornbook.config.run import Config
    from hornbook.generation.prompt_ids import Prompt
    from hornbook.generation.text import Generation
    from hornbook.models.transformer import Transformer
    from hornbook.tracking.tracker import Scalar

ROWS_AT_ONCE = 16
"""Texts that are decoded together; memory for the KV cache grows with it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook generate` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    source = add_prompt_arguments(parser)
    source.add_argument(
        "--infill",
        action="append",
        metavar="TEXT",
        help='fill the holes of a text: "Once <|mask:20|> end" has one of 20 tokens; diffusion models; may be repeated',
    )
    from_checkpoint.add_sampling_arguments(parser)
    parser.add_argument(
        "--chat", action="store_true", help="each prompt is a message to a tuned checkpoint; shows the answers alone"
    )
    parser.add_argument(
        "--num-samples", type=positive, default=1, metavar="N", help="texts a prompt, of seeds S, S+1, ..."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a text, on a terminal too")
    parser.add_argument("--no-stream", action="store_true", help="show each text when it is complete")
    parser.add_argument(
        "--show-denoising",
        action="store_true",
        help="diffusion models: show how masks become text; in JSON, every step's positions, tokens and confidences",
    )
    parser.add_argument(
        "--compare-cache",
        action="store_true",
        help="diffusion models: decode without the cache as well, and tell how much it changes and gains",
    )
    add_search_arguments(parser)
    add_comparison_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Generate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print

    names = ("checkpoint", "prompts", "stop", *from_checkpoint.SAMPLING_FLAGS)
    config = from_checkpoint.load_settings(args, "generate", names, search_settings(args))
    if maybe_print(args, config):
        return 0
    _check_arguments(args, config)
    from hornbook.generation.infill import check_infills
    from hornbook.generation.text import check_requests

    written = [] if args.prompt_from else args.infill or written_prompts(args, config)
    opened = from_checkpoint.open_model(config.generate.checkpoint, table="generate", best=args.best, config=config)
    check_denoising(args, config, opened)
    document = document_prompt(args, opened) if args.prompt_from else None
    prompts: Sequence[Prompt] = written if document is None else [document.ids]
    if args.chat:
        prompts = as_messages(opened, prompts)
    if args.compare:
        return compare(args, config, opened, prompts, rest=[] if document is None else document.rest)
    model, tokenizer, objective = opened.model, opened.tokenizer, opened.objective
    draft = from_checkpoint.open_draft(config, opened)
    if args.infill:  # all of them, before the first takes its time
        check_infills(model, tokenizer, args.infill, config.generate, objective=objective)
    else:
        check_requests(model, tokenizer, prompts, config.generate, objective=objective, draft=draft)
    texts = _Texts(
        opened,
        config,
        draft,
        as_json=args.json,
        infills=bool(args.infill),
        shows=args.show_denoising,
        repeats=not (args.infill or args.chat),
    )
    requests = [(prompt, config.generate.seed + n) for prompt in prompts for n in range(args.num_samples)]
    try:
        if args.compare_cache:
            texts.compare(requests)
        elif config.generate.strategy == "beam":
            texts.search(prompts, n_best=args.n_best or 1)
        elif texts.for_people and not (args.no_stream or args.infill or args.show_denoising):
            texts.stream(requests)
        else:
            texts.complete(requests, at_once=1 if args.show_denoising else ROWS_AT_ONCE)
    finally:
        texts.close()
    return 0


def _check_arguments(args: argparse.Namespace, config: Config) -> None:
    """Refuse arguments that have no effect together.

    Raises:
        ConfigError: naming them.
    """
    from hornbook.errors import ConfigError

    if args.chat and args.infill:
        raise ConfigError("--chat makes messages of prompts, and --infill has none; leave one of them out")
    if args.chat and args.prompt_from:
        raise ConfigError("--chat makes messages of prompts, and --prompt-from is no message; leave one of them out")
    if args.prompt_tokens is not None and not args.prompt_from:
        raise ConfigError("--prompt-tokens has no effect without --prompt-from DATASET:DOCUMENT")
    check_search_arguments(args, config)
    check_comparison_arguments(args)


class _Texts:
    """Makes texts and tells of them: on stdout, and to the trackers."""

    def __init__(
        self,
        opened: from_checkpoint.OpenedModel,
        config: Config,
        draft: Transformer | None,
        *,
        as_json: bool,
        infills: bool,
        shows: bool,
        repeats: bool,
    ) -> None:
        """`repeats`: the prompt is shown before its text."""
        from hornbook.cli.run_events import RunEvents
        from hornbook.generation.engines import Engines
        from hornbook.tracking.console import speaks_to_people

        self._opened = opened
        self._engines = Engines(from_checkpoint.note)
        self._config = config
        self._draft = draft
        self._infills = infills
        self._shows = shows
        self._repeats = repeats
        self._console = "json" if as_json else config.tracking.console
        self.for_people = speaks_to_people(self._console)
        self._events = RunEvents(opened.run, config.tracking, step=opened.step)
        self._warned = False

    def stream(self, requests: list[tuple[Prompt, int]]) -> None:
        """Each text as it is made."""
        from hornbook.generation.text import stream_text
        from hornbook.tracking.figures import printable

        opened = self._opened
        for prompt, seed in requests:
            pieces = stream_text(
                opened.model,
                opened.tokenizer,
                prompt,
                self._config.generate,
                objective=opened.objective,
                seed=seed,
                engines=self._engines,
                draft=self._draft,
            )
            if self._repeats:
                text = prompt if isinstance(prompt, str) else opened.tokenizer.decode(prompt)
                print(printable(text), end="", flush=True)
            for piece in pieces:
                print(printable(piece), end="", flush=True)
            print()
            self._tell(pieces.generation, seed)

    def complete(self, requests: list[tuple[Prompt, int]], *, at_once: int) -> None:
        """Each text when it is complete, several decoded together."""
        from hornbook.tracking.figures import printable

        for some in _batches(requests, at_once):
            prompts, seeds = [prompt for prompt, _ in some], [seed for _, seed in some]
            with watched(self._opened.tokenizer, shows=self._shows, for_people=self.for_people) as watcher:
                made = self._make(prompts, seeds, watcher)
            for result, seed in zip(made, seeds, strict=True):
                if self.for_people:
                    print(printable(result.prompt + result.text if self._repeats else result.text))
                self._tell(result, seed, **watcher.told())

    def _make(self, prompts: list[Prompt], seeds: list[int], watcher: Watcher) -> list[Generation]:
        from hornbook.generation.infill import infill_text
        from hornbook.generation.text import generate_text

        model, tokenizer, config = self._opened.model, self._opened.tokenizer, self._config.generate
        objective, on_step = self._opened.objective, watcher.on_step
        if self._infills:
            texts = [str(text) for text in prompts]
            return infill_text(model, tokenizer, texts, config, objective=objective, seeds=seeds, on_step=on_step)
        return generate_text(
            model,
            tokenizer,
            prompts,
            config,
            objective=objective,
            seeds=seeds,
            draft=self._draft,
            on_step=on_step,
            engines=self._engines,
        )

    def search(self, prompts: Sequence[Prompt], *, n_best: int) -> None:
        """The likeliest texts of each prompt."""
        from hornbook.generation.n_best import search_texts
        from hornbook.tracking.figures import printable

        found = search_texts(
            self._opened.model,
            self._opened.tokenizer,
            prompts,
            self._config.generate,
            n_best=n_best,
            objective=self._opened.objective,
            engines=self._engines,
        )
        for ranked in itertools.chain.from_iterable(found):
            result = ranked.generation
            if self.for_people:
                title = f"{ranked.rank}. score {ranked.score:.3f}: " if n_best > 1 else ""
                print(title + printable(result.prompt + result.text if self._repeats else result.text))
            self._tell(result, 0, rank=ranked.rank, score=round(ranked.score, 6))

    def compare(self, requests: list[tuple[Prompt, int]]) -> None:
        """All texts twice, with and without the cache, and what that changes."""
        from hornbook.generation.divergence import measure_divergence
        from hornbook.tracking.console import emit

        opened = self._opened
        prompts, seeds = [prompt for prompt, _ in requests], [seed for _, seed in requests]
        found = measure_divergence(
            opened.model, opened.tokenizer, prompts, self._config.generate, objective=opened.objective, seeds=seeds
        )
        if self.for_people:
            print(found.words)
        emit(
            "compare_cache", console=self._console, step=opened.step, prompts=len(prompts), **dataclasses.asdict(found)
        )

    def _tell(self, result: Generation, seed: int, **more: object) -> None:
        from hornbook.tracking.console import emit

        if result.prompt_tokens_dropped and not self._warned:
            self._warned = True
            from_checkpoint.note(
                f"note: a prompt has {result.prompt_tokens} tokens; its first {result.prompt_tokens_dropped} do not "
                "fit the context and were left out"
            )
        if self._config.generate.draft.active:
            more |= {"guessed": result.guessed, "accepted": result.accepted}
            if self.for_people:
                from_checkpoint.note(draft_words(result.guessed, result.accepted, len(result.tokens)))
        settings = self._config.generate.model_dump(mode="json", exclude={"checkpoint", "prompts"})
        parameters = {**settings, "seed": seed}
        values: dict[str, Scalar] = {
            "prompt": result.prompt,
            "output": result.text,
            "prompt_tokens": result.prompt_tokens,
            "prompt_tokens_dropped": result.prompt_tokens_dropped,
            "tokens": len(result.tokens),
            "latency_ms": round(1000 * result.seconds, 3),
            "tokens_per_second": round(result.tokens_per_second, 3),
            "finish_reason": result.finish_reason,
            "checkpoint": str(self._opened.path),
        }
        emit("generate", console=self._console, parameters=parameters, step=self._opened.step, **values, **more)
        flat = {f"parameters/{name}": _scalar(value) for name, value in parameters.items()}
        self._events.log("generate", {**values, **flat})

    def close(self) -> None:
        """Let the trackers finish."""
        self._events.close()


def _scalar(value: object) -> Scalar:
    """A setting as one value for a tracker: lists as JSON."""
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _batches(requests: list[tuple[Prompt, int]], size: int) -> Iterator[list[tuple[Prompt, int]]]:
    for first in range(0, len(requests), size):
        yield requests[first : first + size]
