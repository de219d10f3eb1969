"""Speculative decoding as a decoder: a batch of rows on the model's backend, and whoever guesses for them."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack

from hornbook.config.generate import GenerateConfig
from hornbook.generation.decoder import TokenChunk
from hornbook.generation.guesses import DraftModel, Guesser, Lookup
from hornbook.generation.known import KnownIds
from hornbook.generation.modes import evaluating
from hornbook.generation.open_backend import open_backend
from hornbook.generation.rows import Row, admit
from hornbook.generation.speculation import Speculation
from hornbook.models.transformer import Transformer


class SpeculativeDecoder:
    """Decoder that guesses as `config.draft` says, and draws as `config` does without guesses."""

    def __init__(
        self,
        config: GenerateConfig,
        *,
        draft: Transformer | None,
        known: KnownIds | None = None,
        note: Callable[[str], None],
    ) -> None:
        """`draft` guesses, or if it is None the text itself; `note` hears which backend serves, and why."""
        assert draft is not None or config.draft.lookup is not None
        self._config = config
        self._draft = draft
        self._known = KnownIds() if known is None else known
        self._note = note

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """Chunks of one token and more until every row is finished.

        Raises:
            GenerationError: at once for prompts that cannot be served (see `rows`); while decoding, for logits that
                are not finite.
        """
        rows = admit(
            prompts,
            seeds,
            context_length=model.config.context_length,
            vocab_size=model.config.vocab_size,
            max_new_tokens=max_new_tokens,
            overflow=self._config.context_overflow,
        )
        return self._decode(model, rows, frozenset(stop_ids))

    def _decode(
        self, model: Transformer, rows: list[Row], stop_ids: frozenset[int]
    ) -> Generator[TokenChunk, None, None]:
        longest = max((len(row.window) + row.limit for row in rows), default=1)
        with ExitStack() as stack:
            stack.enter_context(evaluating(model))
            speculation = Speculation(
                open_backend(
                    model,
                    slots=len(rows),
                    max_length=min(longest, model.config.context_length),
                    config=self._config,
                    note=self._note,
                ),
                self._guesser(stack, len(rows), longest),
                rows,
                self._config,
                n_guesses=self._config.draft.tokens,
                context_length=model.config.context_length,
                stop_ids=stop_ids,
                known=self._known,
            )
            while not speculation.done:
                yield speculation.step()

    def _guesser(self, stack: ExitStack, n_rows: int, longest: int) -> Guesser:
        if self._draft is None:
            return Lookup(self._config.draft.lookup or 1, n_rows)
        stack.enter_context(evaluating(self._draft))
        backend = open_backend(
            self._draft,
            slots=n_rows,
            max_length=min(longest, self._draft.config.context_length),
            config=self._config,
            note=self._note,
        )
        return DraftModel(backend, self._config, self._known, n_rows)
