"""Ids to text one id at a time, for text that is shown while it is generated: never half a character.

A token may end in the middle of a UTF-8 sequence; its bytes wait until the rest has come or it is clear that it will
not, and then each broken part becomes U+FFFD. All that is returned, joined, equals `Tokenizer.decode` of all the ids.
"""

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Made by `Tokenizer.stream_decoder`; one for each text."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes; often empty for scripts with long sequences.

        Raises:
            TokenizerError: if there is no such id.
        """
        return self._decoder.decode(self._token_bytes(token_id))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became complete, or nothing. Ready for the next text."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
