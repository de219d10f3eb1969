"""The character vocabulary: one id a character of the training text, in code point order; nothing merges.

The smallest tokenizer there can be: 65 ids for Tiny Shakespeare. Characters that the training text lacks have no id.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from hornbook.errors import TokenizerError


class CharacterScheme:
    """One ordinary token a character.

    Raises:
        TokenizerError: if an entry is not one character, or stands there twice.
    """

    kind: ClassVar[Literal["characters"]] = "characters"
    cut: ClassVar[None] = None
    """A document is encoded in one piece, so that an error names the offset in the document."""

    def __init__(self, characters: Sequence[str]) -> None:
        if wrong := [c for c in characters if len(c) != 1 or 0xD800 <= ord(c) < 0xE000]:
            raise TokenizerError(f"vocabulary: {wrong[0]!r} is not one character; expected a vocabulary of characters")
        self.characters = tuple(characters)
        self.tokens = tuple(c.encode() for c in self.characters)
        self.ids = {c: i for i, c in enumerate(self.characters)}
        if len(self.ids) != len(self.characters):
            raise TokenizerError("vocabulary: a character stands there twice; expected each once")

    @classmethod
    def train(cls, texts: Iterable[str]) -> "CharacterScheme":
        """Every character of the texts.

        Raises:
            TokenizerError: if there is none.
        """
        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        if not seen:
            raise TokenizerError(
                "tokenizer.kind = 'characters': the training text is empty; expected at least one character"
            )
        return cls(sorted(seen))

    def normalize(self, text: str) -> str:
        """The text itself: no character is changed."""
        return text

    def encode(self, text: str) -> list[int]:
        """Ids of a text.

        Raises:
            TokenizerError: for a character without an id, naming it and its offset.
        """
        try:
            return [self.ids[c] for c in text]
        except KeyError:
            offset, unknown = next((i, c) for i, c in enumerate(text) if c not in self.ids)
            raise TokenizerError(
                f"text: the character {unknown!r} (U+{ord(unknown):04X}) at offset {offset} is not among the "
                f"{len(self.ids)} characters of this tokenizer; train it on text that has it, or use kind = 'bpe', "
                "which can write anything"
            ) from None
