"""Answers that a model gives to held-out prompts, beside the right ones: the share that is equal, letter for letter."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hornbook.config.generate import EvalConfig, GenerateConfig
from hornbook.data.tasks import task_of
from hornbook.errors import ConfigError
from hornbook.evaluation.candidate import Candidate
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.prompts import Conversation
from hornbook.generation.engines import Engines
from hornbook.generation.text import generate_text

SHOWN = 5


@dataclass(frozen=True)
class Count:
    """So many right answers of so many."""

    right: int
    n: int


@dataclass(frozen=True)
class WrongAnswer:
    """What was asked, and what was said instead of what."""

    prompt: str
    expected: str
    answered: str


@dataclass(frozen=True, kw_only=True)
class ExactMatch:
    """How many generated answers equal the right one once blanks around both are gone."""

    all: Count
    tasks: dict[str, Count]
    """By task, of data that were made from several."""
    wrong: tuple[WrongAnswer, ...]
    """The first few."""
    max_new_tokens: int


def exact_match(
    candidate: Candidate,
    conversations: Sequence[Conversation],
    config: EvalConfig,
    generate: GenerateConfig,
    *,
    progress: ScoreProgress | None = None,
) -> ExactMatch:
    """Answer the last turn of each conversation greedily and compare.

    Answers may be as long as config.max_new_tokens, by default as the longest right one, whatever the prompt; but for
    this and the temperature, the decoder is that of `generate`.

    Raises:
        ConfigError: for a prompt that fills the model's context.
        GenerationError: as `generate_text`.
    """
    longest = config.max_new_tokens or max(len(each.answer) for each in conversations)
    context, decode = candidate.model.config.context_length, candidate.tokenizer.decode
    room = {each.number: min(longest, context - len(each.prompt)) for each in conversations}
    if full := [number for number, left in room.items() if left < 1]:
        raise ConfigError(f"the prompt of conversation {full[0]} fills the model's context_length = {context}")
    answered: dict[int, str] = {}
    engines = Engines()
    for tokens, group in itertools.groupby(
        sorted(conversations, key=lambda each: room[each.number]), key=lambda each: room[each.number]
    ):
        same = list(group)
        settings = _greedy(generate, tokens)
        for first in range(0, len(same), config.batch_size):
            rows = same[first : first + config.batch_size]
            made = generate_text(
                candidate.model,
                candidate.tokenizer,
                [row.prompt for row in rows],
                settings,
                objective=candidate.objective,
                engines=engines,
            )
            answered |= {row.number: each.text.strip() for row, each in zip(rows, made, strict=True)}
            if progress is not None:
                progress(len(answered), len(conversations))
    compared = [
        WrongAnswer(decode(each.prompt), decode(each.answer, skip_special=True).strip(), answered[each.number])
        for each in conversations
    ]
    wrong = [each for each in compared if each.answered != each.expected]
    return ExactMatch(
        all=Count(len(compared) - len(wrong), len(compared)),
        tasks=_by_task(compared),
        wrong=tuple(wrong[:SHOWN]),
        max_new_tokens=longest,
    )


def _greedy(generate: GenerateConfig, tokens: int) -> GenerateConfig:
    return GenerateConfig(
        temperature=0.0, max_new_tokens=tokens, decoder=generate.decoder, diffusion=generate.diffusion
    )


def _by_task(compared: Sequence[WrongAnswer]) -> dict[str, Count]:
    names = [task_of(each.prompt) for each in compared]
    counts: dict[str, Count] = {}
    for name in sorted({name for name in names if name is not None}):
        right = [each.answered == each.expected for each, of in zip(compared, names, strict=True) if of == name]
        counts[name] = Count(sum(right), len(right))
    return counts if len(counts) > 1 else {}
