"""SentencePiece's byte-pair vocabularies as pieces with scores: what GGUF's kind "llama" and llama2.c's files hold.

    pieces   <unk> <s> </s> <0x00> ... <0xFF>  "▁t"  "he"  ...  single characters
    scores   of two neighbours whose text together is a piece, those of the highest score merge first

Written as a tokenizer.json, it is run by the library `tokenizers`: every way to split a piece in two is a merge of its
score. llama.cpp and SentencePiece merge the same pairs in the same order.
Source: https://github.com/google/sentencepiece (src/bpe_model.cc)
"""

import itertools
import json
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.errors import TokenizerError
from hornbook.tokenizer.foreign import BLANK, ForeignScheme
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SentencePieces:
    """A vocabulary; lists are by id, and ids say which pieces are something else than text."""

    pieces: Sequence[str]
    scores: Sequence[float]
    control: Sequence[int]
    added: Sequence[int] = ()
    unknown: int | None
    bos: int | None
    """Put before a text, if any is."""
    adds_blank: bool = True
    """Whether a blank is put before a text."""

    def tokenizer(self, where: str) -> Tokenizer:
        """This vocabulary, ready to run.

        Raises:
            TokenizerError: if pieces repeat, or an id is none of them.
            MissingExtraError: if the package `tokenizers` is not installed.
        """
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "tokenizer.json"
            path.write_text(self.tokenizer_json(where), encoding="utf-8")
            return Tokenizer.load(path)

    def tokenizer_json(self, where: str) -> str:
        """The text of a tokenizer.json.

        Raises:
            TokenizerError: if pieces repeat, or an id is none of them.
        """
        ids = {piece: i for i, piece in enumerate(self.pieces)}
        if len(ids) != len(self.pieces):
            repeated = next(piece for i, piece in enumerate(self.pieces) if ids[piece] != i)
            raise TokenizerError(f"{where}: the piece {repeated!r} stands there twice; expected it once")
        named = [i for i in (self.unknown, self.bos) if i is not None]
        if wrong := [i for i in (*self.control, *self.added, *named) if not 0 <= i < len(ids)]:
            raise TokenizerError(f"{where}: the id {wrong[0]} is that of no piece; expected 0 to {len(ids) - 1}")
        special = sorted({*self.control, *named})
        blank = [{"type": "Prepend", "prepend": BLANK}] if self.adds_blank else []
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if self.adds_blank else []
        whole = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(i, self.pieces[i], is_special=True) for i in special]
            + [_added(i, self.pieces[i], is_special=False) for i in sorted(self.added)],
            "normalizer": {
                "type": "Sequence",
                "normalizers": [*blank, {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}],
            },
            "pre_tokenizer": None,
            "post_processor": None if self.bos is None else _begins_with(self.pieces[self.bos], self.bos),
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    *strip,
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None if self.unknown is None else self.pieces[self.unknown],
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": ids,
                "merges": self.merges(ids, {*special, *self.added}),
            },
        }
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"

    def merges(self, ids: dict[str, int], names: set[int]) -> list[tuple[str, str]]:
        """Every two pieces that together are one: the best score first, then by the ids of whole, left and right."""
        found = []
        for piece, i in ids.items():
            for cut in range(1, len(piece)) if i not in names else ():
                left, right = ids.get(piece[:cut], -1), ids.get(piece[cut:], -1)
                if left >= 0 and right >= 0 and names.isdisjoint((left, right)):
                    found.append((-self.scores[i], i, left, right, (piece[:cut], piece[cut:])))
        return [pair for *_, pair in sorted(found)]


def pieces_of(tokenizer: Tokenizer) -> SentencePieces:
    """The pieces of a tokenizer that the library `tokenizers` runs, as scores alone would have them merge.

    Raises:
        TokenizerError: if it is not of SentencePiece's byte-pair kind, or its merges are not in the order of scores.
    """
    scheme = tokenizer.scheme
    if not isinstance(scheme, ForeignScheme):
        raise TokenizerError(f"pieces with scores hold SentencePiece's kind; this tokenizer is of kind {scheme.kind!r}")
    whole = json.loads(scheme.definition)
    model, steps = whole["model"], [step.get("type") for step in _steps(whole.get("normalizer"))]
    if model.get("type", "BPE") != "BPE" or not model.get("byte_fallback") or whole.get("pre_tokenizer") is not None:
        raise TokenizerError("pieces with scores hold byte pairs that fall back to bytes, without words to split at")
    if steps not in (["Prepend", "Replace"], ["Replace"]):
        raise TokenizerError(f"pieces with scores do without these changes to a text: {', '.join(map(str, steps))}")
    ids: dict[str, int] = dict(model["vocab"])
    special, added = tokenizer.special_tokens, tokenizer.added_tokens
    pieces: list[str] = [f"[UNUSED{i}]" for i in range(tokenizer.vocab_size)]
    for piece, i in {**ids, **special, **added}.items():
        pieces[i] = piece
    pairs = [
        (left, right)
        for left, right in (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    ]
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, rank)
    unknown = special.get(model.get("unk_token") or "")
    before = tokenizer.template.before
    made = SentencePieces(
        pieces=pieces,
        scores=[-float(ranks.get(piece, len(pairs))) for piece in pieces],
        control=[i for i in special.values() if i != unknown],
        added=list(added.values()),
        unknown=unknown,
        bos=special[before[0]] if before else None,
        adds_blank="Prepend" in steps,
    )
    names = {*special.values(), *added.values()}
    in_order = [joined for joined, _ in itertools.groupby(left + right for left, right in pairs)]
    if set(pairs) != set(made.merges(ids, names)) or len(in_order) != len(ranks):
        raise TokenizerError("pieces with scores do not hold these merges: other neighbours, or another order")
    return made


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if normalizer is None:
        return []
    steps: list[dict[str, Any]] = normalizer.get("normalizers", [normalizer])
    return steps


def read_llama2c_vocabulary(path: Path, *, n_pieces: int) -> SentencePieces:
    """A tokenizer.bin of llama2.c: the longest length, then of each piece its score, length and text.

    Its pieces 0, 1, 2 are <unk>, <s>, </s>, 3 to 258 bytes; blanks stand there as blanks.

    Raises:
        TokenizerError: if it is missing or damaged, or holds another number of pieces.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"{path}: cannot be read ({error.strerror}); expected a tokenizer.bin of llama2.c"
        ) from None
    pieces: list[str] = []
    scores: list[float] = []
    at = 4
    try:
        for _ in range(n_pieces):
            score, length = struct.unpack_from("<fi", data, at)
            if not 0 <= length <= len(data) - at - 8:
                raise TokenizerError(f"{path}: piece {len(pieces)} has {length} bytes; the file is damaged")
            pieces.append(data[at + 8 : at + 8 + length].decode())
            scores.append(score)
            at += 8 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"{path}: {error} at piece {len(pieces)} of {n_pieces}; does it belong to the model?"
        ) from None
    if at != len(data):
        raise TokenizerError(f"{path}: holds more than the {n_pieces} pieces of the model; does it belong to it?")
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces[: len(names)] = names
    return SentencePieces(
        pieces=[*names, *(piece.replace(" ", BLANK) for piece in pieces[len(names) :])],
        scores=scores,
        control=[1, 2],
        unknown=0,
        bos=1,
    )


def _added(token_id: int, content: str, *, is_special: bool) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": content, **flags, "special": is_special}


def _begins_with(name: str, token_id: int) -> dict[str, object]:
    """A post-processor that puts this token before every text."""

    def around(text: str, type_id: int) -> list[dict[str, object]]:
        return [{"SpecialToken": {"id": name, "type_id": type_id}}, {"Sequence": {"id": text, "type_id": type_id}}]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}},
    }
