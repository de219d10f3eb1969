"""`hornbook generate`: continue one or many prompts, or fill the holes of a text.

On a terminal the text is streamed as it is made. Whenever stdout is not a terminal, or with --json, it carries one JSON
object a text and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.configuration import positive
from hornbook.cli.denoising import Watcher, check_denoising, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hornbook.config.run import Config
    from hornbook.generation.text import Generation, Prompt
    from hornbook.tracking.tracker import Scalar

ROWS_AT_ONCE = 16
"""Texts that are decoded together; memory for the KV cache grows with it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook generate` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", dest="prompts", action="append", metavar="TEXT", help="may be repeated")
    source.add_argument(
        "--prompt-file", metavar="FILE", help="the whole file is one prompt; without any prompt, stdin is, when piped"
    )
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


def run(args: argparse.Namespace) -> int:
    """Generate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.errors import ConfigError

    names = ("checkpoint", "prompts", "stop", *from_checkpoint.SAMPLING_FLAGS)
    config = from_checkpoint.load_settings(args, "generate", names)
    if maybe_print(args, config):
        return 0
    if args.chat and args.infill:
        raise ConfigError("--chat makes messages of prompts, and --infill has none; leave one of them out")
    from hornbook.generation.infill import check_infills
    from hornbook.generation.text import check_requests

    prompts: Sequence[Prompt] = args.infill or _prompts(args, config)
    opened = from_checkpoint.open_model(config.generate.checkpoint, table="generate", best=args.best, config=config)
    check_denoising(args, config, opened)
    if args.chat:
        prompts = _as_messages(opened, prompts)
    model, tokenizer, objective = opened.model, opened.tokenizer, opened.objective
    if args.infill:  # all of them, before the first takes its time
        check_infills(model, tokenizer, args.infill, config.generate, objective=objective)
    else:
        check_requests(model, tokenizer, prompts, config.generate, objective=objective)
    texts = _Texts(
        opened,
        config,
        as_json=args.json,
        infills=bool(args.infill),
        shows=args.show_denoising,
        repeats=not (args.infill or args.chat),
    )
    requests = [(prompt, config.generate.seed + n) for prompt in prompts for n in range(args.num_samples)]
    try:
        if args.compare_cache:
            texts.compare(requests)
        elif texts.for_people and not (args.no_stream or args.infill or args.show_denoising):
            texts.stream(requests)
        else:
            texts.complete(requests, at_once=1 if args.show_denoising else ROWS_AT_ONCE)
    finally:
        texts.close()
    return 0


def _prompts(args: argparse.Namespace, config: Config) -> list[str]:
    """--prompt-file, else the prompts of flags or file, else stdin when it is piped, else the empty prompt.

    One final line break of a file or of stdin is dropped: editors and echo add it, and to a model it means something.
    """
    if args.prompt_file is not None:
        return [_without_final_break(_decoded(Path(args.prompt_file).read_bytes(), args.prompt_file))]
    if config.generate.prompts:
        return list(config.generate.prompts)
    if not sys.stdin.isatty():
        return [_without_final_break(_decoded(sys.stdin.buffer.read(), "stdin"))]
    return [""]


def _as_messages(opened: from_checkpoint.OpenedModel, prompts: Sequence[Prompt]) -> list[Prompt]:
    """What the model reads for each prompt as the only message of a conversation.

    Raises:
        GenerationError: if the checkpoint has no chat template, or a prompt is empty.
        TokenizerError: if the tokenizer has no ids for one.
    """
    from hornbook.cli.conversation import NO_TEMPLATE, ByTemplate
    from hornbook.errors import GenerationError

    template = opened.tokenizer.chat_template
    if template is None:
        raise GenerationError(f"--chat: {opened.path} {NO_TEMPLATE}")
    if not all(str(prompt).strip() for prompt in prompts):
        raise GenerationError('--chat: an empty message cannot be answered; say something: --prompt "..."')
    form, room = ByTemplate(opened.tokenizer), opened.model.config.context_length
    return [form.prompt(template.default_system, [], str(prompt), room)[0] for prompt in prompts]


def _decoded(data: bytes, where: str) -> str:
    from hornbook.errors import GenerationError

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GenerationError(f"{where}: not UTF-8 (byte {error.start}); save the prompt as UTF-8") from None


def _without_final_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


class _Texts:
    """Makes texts and tells of them: on stdout, and to the trackers."""

    def __init__(
        self,
        opened: from_checkpoint.OpenedModel,
        config: Config,
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
            )
            if isinstance(prompt, str):
                print(printable(prompt), end="", flush=True)
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
            on_step=on_step,
            engines=self._engines,
        )

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
