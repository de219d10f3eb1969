"""From prompts to text: encode, decode tokens with any decoder, and turn its chunks back into strings.

A prompt is a text, or ids that are read as they are, such as a conversation in the form of a chat template
(`hornbook.tokenizer.chat.render_prompt`); then the template's stop token ends the answer, too.

One RowText a row does three jobs in order: bytes of tokens become whole characters (a token may end inside one),
special tokens are left out, and stop strings end the text. Streaming and batch generation share it, so the pieces of
a stream join to exactly the text that a batch returns.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.choice import NEXT_TOKEN, choose_decoder
from hornbook.generation.decoder import NO_TOKEN, FinishReason, TokenChunk
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.engines import EngineSource
from hornbook.generation.prompt_ids import Prompt, check_vocabulary, encode_prompt, stop_ids
from hornbook.generation.stops import StopScanner
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What came of one prompt."""

    prompt: str
    """Of ids, their text."""
    text: str
    """The continuation alone, without stop strings and special tokens."""
    tokens: tuple[int, ...]
    """Every token drawn, the stop token or the tokens of the stop string included."""
    logprobs: tuple[float, ...]
    """Of each token under the model itself, in nats, before any filter; of a diffusion model, in the step that decided
    it, by what was decided until then."""
    finish_reason: FinishReason
    prompt_tokens: int
    prompt_tokens_dropped: int
    """How many at the start of the prompt did not fit the context (only with context_overflow = slide)."""
    seconds: float
    """From the start of the batch to the end of this row."""
    guessed: int = 0
    """Tokens that speculative decoding guessed."""
    accepted: int = 0
    """Those of them that became part of the text."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens drawn for this row in a second, prefill included."""
        return len(self.tokens) / self.seconds if self.seconds else 0.0


class RowText:
    """The text of one row as its tokens come in; `after` are the ids of its prompt."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], *, after: Sequence[int] = ()) -> None:
        self._characters = tokenizer.stream_decoder(skip_special=True, after=after)
        self._scanner = StopScanner(stops)
        self._pieces: list[str] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.reason: FinishReason | None = None
        self.seconds = 0.0
        self.guessed = 0
        self.accepted = 0

    def push(self, chunk: TokenChunk, row: int) -> str:
        """Text that the chunk's tokens for `row` settle; sets `reason` when the row is at its end."""
        released = ""
        if chunk.guessed:
            self.guessed += chunk.guessed[row]
            self.accepted += chunk.accepted[row]
        for token, logprob in zip(chunk.tokens[row].tolist(), chunk.logprobs[row].tolist(), strict=True):
            if token == NO_TOKEN or self.reason is not None:
                break
            released += self.take(token, logprob)
        reason = chunk.reasons[row]
        return released if reason is None else released + self.end(reason)

    def take(self, token: int, logprob: float) -> str:
        """Text that one more token settles; sets `reason` when a stop string is complete."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        released = self._scanner.push(self._characters.push(token))
        if self._scanner.stopped:
            self.reason = "stop"
        self._pieces.append(released)
        return released

    def end(self, reason: FinishReason) -> str:
        """What was held back, now that no token comes any more because of `reason`; nothing after a stop string."""
        if self.reason is not None:
            return ""
        released = self._scanner.push(self._characters.finish()) + self._scanner.finish()
        self.reason = "stop" if self._scanner.stopped else reason
        self._pieces.append(released)
        return released

    @property
    def text(self) -> str:
        """Everything released so far."""
        return "".join(self._pieces)


class TextStream(Iterator[str]):
    """Pieces of one prompt's continuation as they are settled, never empty; `generation` tells the rest at any time.

    Stopping early is fine: close() frees the decoder, and `generation` holds what was drawn until then.
    """

    def __init__(self, batch: "_Batch") -> None:
        self._batch = batch
        self._pieces = batch.pieces()

    def __next__(self) -> str:
        return next(text for _, text in self._pieces if text)

    def close(self) -> None:
        """End the generation here."""
        self._pieces.close()

    @property
    def generation(self) -> Generation:
        """What has come of the prompt until now."""
        return self._batch.results()[0]


def stream_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: Prompt,
    config: GenerateConfig,
    *,
    objective: Mapping[str, object] = NEXT_TOKEN,
    seed: int | None = None,
    draft: Transformer | None = None,
    on_step: Callable[[DenoiseStep], None] | None = None,
    engines: EngineSource | None = None,
) -> TextStream:
    """The continuation of `prompt`, piece by piece; the pieces join to `generate_text`'s text. Default seed: config's.

    A diffusion decoder settles a block at a time; `on_step` hears of its steps. `engines`: as `generate_text`.

    Raises:
        GenerationError: as `generate_text`, at once for the prompt and at the first piece for the model.
    """
    seeds = None if seed is None else [seed]
    return TextStream(
        _Batch(
            model,
            tokenizer,
            [prompt],
            config,
            objective=objective,
            seeds=seeds,
            draft=draft,
            on_step=on_step,
            engines=engines,
        )
    )


def generate_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object] = NEXT_TOKEN,
    seeds: Sequence[int] | None = None,
    draft: Transformer | None = None,
    on_step: Callable[[DenoiseStep], None] | None = None,
    engines: EngineSource | None = None,
) -> list[Generation]:
    """The continuation of each prompt, decoded together; every row is what it would be alone.

    Special tokens never come from a prompt's text. An empty text starts from the end-of-text token. Prompts are all
    texts or all ids. `seeds` holds one integer a row (default: config.seed for each, so equal prompts give equal
    texts). config.prompts is not read.
    The decoder is chosen by config and `objective`, what the model was trained with; `on_step` hears of the steps of a
    diffusion decoder. `draft` is the model of config.draft.checkpoint. `engines` gives a plain autoregressive decoder
    its engine: one that is kept finds the beginning of a conversation again; by default a new one is opened, as config
    asks.

    Raises:
        GenerationError: for a prompt that does not fit, an empty prompt where the tokenizer has no end-of-text token,
            an empty stop string, a tokenizer larger than the model, a model whose logits are not finite, or settings
            that the decoder cannot honour.
    """
    batch = _Batch(
        model,
        tokenizer,
        prompts,
        config,
        objective=objective,
        seeds=seeds,
        draft=draft,
        on_step=on_step,
        engines=engines,
    )
    for _ in batch.pieces():
        pass
    return batch.results()


class _Batch:
    """Rows of text on one decoder."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        config: GenerateConfig,
        *,
        objective: Mapping[str, object],
        seeds: Sequence[int] | None = None,
        draft: Transformer | None = None,
        on_step: Callable[[DenoiseStep], None] | None = None,
        engines: EngineSource | None = None,
    ) -> None:
        if "" in config.stop:
            raise GenerationError(
                'generate.stop holds the empty string ""; expected non-empty strings, or leave it out'
            )
        check_vocabulary(model, tokenizer)
        self._prompts = tuple(each if isinstance(each, str) else tokenizer.decode(each) for each in prompts)
        self._ids = [encode_prompt(tokenizer, each) if isinstance(each, str) else list(each) for each in prompts]
        self._rows = [RowText(tokenizer, config.stop, after=ids) for ids in self._ids]
        self._context = model.config.context_length
        self._started = time.perf_counter()
        decode = choose_decoder(config, tokenizer, objective, draft=draft, on_step=on_step, engines=engines)
        in_ids = bool(prompts) and not isinstance(prompts[0], str)
        self._chunks = decode(
            model,
            self._ids,
            max_new_tokens=config.max_new_tokens,
            stop_ids=stop_ids(tokenizer, of_template=in_ids),
            seeds=[config.seed] * len(prompts) if seeds is None else seeds,
        )

    def pieces(self) -> Generator[tuple[int, str], None, None]:
        """(row, newly settled text) until every row is at its end."""
        self._started = time.perf_counter()
        with closing(self._chunks):  # also when a stop string or the caller ends it before the decoder does
            for chunk in self._chunks:
                for i, row in enumerate(self._rows):
                    if row.reason is None:
                        text = row.push(chunk, i)
                        row.seconds = time.perf_counter() - self._started
                        yield i, text
                if all(row.reason is not None for row in self._rows):
                    return

    def results(self) -> list[Generation]:
        """One Generation a row; a row that was broken off counts as `length`."""
        return [
            Generation(
                prompt=prompt,
                text=row.text,
                tokens=tuple(row.tokens),
                logprobs=tuple(row.logprobs),
                finish_reason=row.reason or "length",
                prompt_tokens=len(ids),
                prompt_tokens_dropped=max(0, len(ids) - self._context),
                seconds=row.seconds,
                guessed=row.guessed,
                accepted=row.accepted,
            )
            for prompt, ids, row in zip(self._prompts, self._ids, self._rows, strict=True)
        ]


def check_requests(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object],
    draft: Transformer | None = None,
) -> None:
    """Refuse what `generate_text` would refuse before it reads the model.

    Raises:
        GenerationError: as `generate_text`.
    """
    _Batch(model, tokenizer, prompts, config, objective=objective, draft=draft)
