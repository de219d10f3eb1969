"""Ids to text one id at a time, for text that is shown while it is generated: never half a character.

A token may end in the middle of a UTF-8 sequence; its bytes wait until the rest has come or it is clear that it will
not, and then each broken part becomes U+FFFD. All that is returned, joined, equals `Tokenizer.decode` of all the ids.
"""

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Made by `Tokenizer.stream_decoder`; one for each text.

    Args:
        token_bytes: the bytes of an id.
        whole: texts of tokens that are whole characters, which is filled here; decoders of one tokenizer share it.
        drops_blank: leave out the first character if it is a blank, which the encoder put there.
    """

    def __init__(
        self, token_bytes: Callable[[int], bytes], whole: dict[int, str], *, drops_blank: bool = False
    ) -> None:
        self._token_bytes, self._whole = token_bytes, whole
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = drops_blank
        self._waiting = False
        """Whether the decoder holds the beginning of a character."""

    def push(self, token_id: int) -> str:
        """The text that this id completes; often empty for scripts with long sequences.

        Raises:
            TokenizerError: if there is no such id.
        """
        if self._waiting or (text := self._whole.get(token_id)) is None:
            text = self._decode(token_id)
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never became complete, or nothing. Ready for the next text."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        self._waiting = False
        return rest

    def _decode(self, token_id: int) -> str:
        data, waited = self._token_bytes(token_id), self._waiting
        text = self._decoder.decode(data)
        self._waiting = bool(self._decoder.getstate()[0])
        if not waited and not self._waiting:
            self._whole[int(token_id)] = text
        return text
