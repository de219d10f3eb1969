"""The texts that `hornbook generate` makes, and what is told of each: on stdout, and to the trackers of its run."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.denoising import Watcher, watched
from hornbook.cli.generate_search import draft_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hornbook.config.run import Config
    from hornbook.generation.prompt_ids import Prompt
    from hornbook.generation.text import Generation
    from hornbook.models.transformer import Transformer
    from hornbook.tracking.tracker import Scalar


class Texts:
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
