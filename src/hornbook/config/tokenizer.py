"""`[tokenizer]`: which tokenizer, where it lies, and how to train one."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from hornbook.config.table import Table

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
MASK = "<|mask|>"

SPECIAL_TOKENS: dict[str, tuple[str, ...]] = {
    "pretraining": (END_OF_TEXT, PAD, MASK),
    "chat": (
        END_OF_TEXT,
        PAD,
        MASK,
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        *(f"<|reserved_{i}|>" for i in range(9)),
    ),
    "simple_transformer_pretraining": ("[UNK]", "[PAD]", "[SOS]", "[EOS]"),
    "simple_transformer": (
        *("[UNK]", "[PAD]", "[SOS]", "[EOS]"),
        *("<SYSTEM>", "</SYSTEM>", "<USER>", "</USER>", "<MODEL>", "</MODEL>"),
    ),
    "none": (),
}
"""Special tokens by profile, in the order of their ids, which follow all ordinary tokens."""


PATTERN_NAMES = ("gpt2", "smollm", "cl100k", "o200k", "llama3", "qwen2")
"""The splitting patterns that have a name, see `tokenizer.patterns`."""


class TokenizerConfig(Table):
    """How to train a tokenizer, and the directory that it is written to and read from."""

    path: Path = Path("tokenizers/default")
    """Directory of the tokenizer: vocab.json, merges.txt, special_tokens.json. Counted words lie in PATH.counts."""
    kind: Literal["bpe", "characters"] = "bpe"
    vocab_size: int = Field(default=4096, ge=257)
    """All ids of a bpe vocabulary: bytes, merges and special tokens. A character vocabulary takes what the text has."""
    pattern: str = "gpt2"
    """How text is split before merging: gpt2, smollm, cl100k, o200k, llama3, qwen2, or your own regular expression."""
    tie_order: Literal["hf", "lexicographic"] = "hf"
    """Among equally frequent pairs: hf takes the smaller left id, then right id; lexicographic the greatest bytes."""
    special_tokens: Literal["pretraining", "chat", "simple_transformer_pretraining", "simple_transformer", "none"] = (
        "chat"
    )
    """pretraining: end of text, pad, mask. chat: these, then system, user, assistant, end of a turn, nine reserved.
    simple_transformer_pretraining: [UNK] [PAD] [SOS] [EOS], of which [EOS] ends a text. simple_transformer: these, then
    <SYSTEM>, <USER>, <MODEL> and what closes each; neither has a mask."""
    extra_special_tokens: tuple[str, ...] = ()
    """More names, behind those of `special_tokens`."""
    max_bytes: PositiveInt | None = None
    """Train on the first so many bytes of the source. Default: all of it."""
    threads: PositiveInt | None = None
    """Threads that count words in training; the result is the same. Default: one a core, at most 8."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pattern.isidentifier() and self.pattern not in PATTERN_NAMES:
            raise ValueError(
                f"pattern = {self.pattern!r} is no pattern; expected {', '.join(PATTERN_NAMES)}, "
                f"or a regular expression (for these very letters: '(?:{self.pattern})')"
            )
        if self.pattern not in PATTERN_NAMES:
            import regex  # only here: it takes longer to import than a configuration to read

            try:
                regex.compile(self.pattern)
            except regex.error as error:
                raise ValueError(f"pattern = {self.pattern!r} is not a regular expression: {error}") from error
        return self
