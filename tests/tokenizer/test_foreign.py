"""Vocabularies that the library `tokenizers` encodes: its ids, our decoding, and names that no text can forge."""

import json
import pickle

import numpy as np
import pytest

from data_paths import needs
from hornbook.config.chat import TEMPLATES
from hornbook.errors import TokenizerError
from hornbook.tokenizer.chat import Message, render_prompt
from hornbook.tokenizer.tokenizer import Tokenizer

library = pytest.importorskip("tokenizers")

CORPUS = ["the cat sat on the mat. the dog ate the cat! 12 34\n", "  café au lait — naïve\tend", "日本 x 🙂"] * 3
TEXTS = [
    *(
        "",
        " ",
        "the cat",
        " the cat",
        "  two  blanks ",
        "café — 日本 🙂",
        "line\n\nline\t end ",
        "\u2581 \u2581",
        "q" * 50,
    ),
]


def made(kind, scheme):
    """A tokenizer of the library, trained on CORPUS: (kind of model, how blanks are put before a text)."""
    model = library.models.BPE(byte_fallback=True, unk_token="<unk>") if kind == "bpe" else library.models.Unigram()
    tokenizer = library.Tokenizer(model)
    steps = library.decoders
    if scheme == "prepend":
        tokenizer.normalizer = library.normalizers.Sequence(
            [library.normalizers.Prepend("▁"), library.normalizers.Replace(" ", "▁")]
        )
        undo = [steps.Replace("▁", " "), steps.ByteFallback(), steps.Fuse(), steps.Strip(" ", 1, 0)]
        tokenizer.decoder = steps.Sequence(undo)
    else:
        tokenizer.pre_tokenizer = library.pre_tokenizers.Metaspace(prepend_scheme=scheme)
        undo = [steps.ByteFallback(), steps.Metaspace(prepend_scheme=scheme), steps.Fuse()]
        tokenizer.decoder = steps.Sequence(undo)
    special = ["<unk>", "<s>", "</s>"]
    if kind == "bpe":
        pieces = special + [f"<0x{i:02X}>" for i in range(256)]
        trainer = library.trainers.BpeTrainer(vocab_size=330, special_tokens=pieces, show_progress=False)
        tokenizer.train_from_iterator(CORPUS, trainer)
        whole = json.loads(tokenizer.to_str())
        whole["added_tokens"] = whole["added_tokens"][:3]  # bytes are ordinary
        tokenizer = library.Tokenizer.from_str(json.dumps(whole))
    else:
        trainer = library.trainers.UnigramTrainer(
            vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = library.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.fixture(
    params=[(k, s) for k in ("bpe", "unigram") for s in ("prepend", "always", "first", "never")], ids="-".join
)
def pair(request, tmp_path):
    theirs = made(*request.param)
    path = tmp_path / "tokenizer.json"
    theirs.save(str(path))
    return Tokenizer.load(path), theirs


def test_ids_and_texts_equal_the_librarys(pair):
    ours, theirs = pair
    for text in TEXTS:
        assert ours.encode(text, template=True) == theirs.encode(text).ids
        marked = f"{text}</s>{text}<s> x"
        assert ours.encode(marked, allowed_special="all") == theirs.encode(marked, add_special_tokens=False).ids
        ids = theirs.encode(text).ids
        assert ours.decode(ids, skip_special=True) == theirs.decode(ids)
        stream = ours.stream_decoder(skip_special=True)
        assert "".join(map(stream.push, ids)) + stream.finish() == theirs.decode(ids)
    documents = [text.encode() for text in TEXTS]
    ids, offsets = ours.encode_batch(documents, end_id=2, dtype=np.uint16)
    assert ids.tolist() == [i for text in TEXTS for i in [*ours.encode(text), 2]]
    assert ours.decode_batch(ids, offsets, skip_special=True) == [theirs.decode(ours.encode(text)) for text in TEXTS]
    assert ours.vocab_size == theirs.get_vocab_size()


def test_names_in_a_text_are_text(pair):
    ours, _ = pair
    for text in ("</s>", "a</s>b <s>", "</s>" * 2000):
        ids = ours.encode(text)
        assert not {1, 2} & set(ids)
    assert ours.encode("</s>", allowed_special=["</s>"])[-1] == 2


def test_it_is_kept(pair, tmp_path):
    ours, theirs = pair
    ours.save(tmp_path / "kept")
    back = Tokenizer.load(tmp_path / "kept")
    assert back.fingerprint == ours.fingerprint
    assert back.encode("the cat") == ours.encode("the cat") == pickle.loads(pickle.dumps(ours)).encode("the cat")
    again = library.Tokenizer.from_str(ours.to_hugging_face())
    assert all(again.encode(text).ids == theirs.encode(text).ids for text in TEXTS)


def test_a_chat_template_adds_its_tokens(pair, tmp_path):
    grown = pair[0].with_chat_template(TEMPLATES["hornbook"])
    grown.save(tmp_path / "kept")
    back = Tokenizer.load(tmp_path / "kept")
    said = [Message("user", "the cat <|end|>")]
    ids = render_prompt(back, said).ids
    assert ids == render_prompt(grown, said).ids
    specials = back.special_tokens
    assert ids[:2] == [1, specials["<|user|>"]]
    assert ids.count(specials["<|end|>"]) == 1
    exported = library.Tokenizer.from_str(back.to_hugging_face())
    assert exported.token_to_id("<|end|>") == specials["<|end|>"] >= pair[0].vocab_size


def test_what_goes_on_keeps_its_blank():
    ours = Tokenizer.load(needs("models/stories260K-hf/tokenizer.json"))
    whole = ours.encode("Once upon a time, there was", template=True)
    for cut, expected in (
        (1, "Once upon a time, there was"),
        (4, " time, there was"),
        (0, "Once upon a time, there was"),
    ):
        stream = ours.stream_decoder(skip_special=True, after=whole[:cut])
        assert "".join(map(stream.push, whole[cut:])) + stream.finish() == expected[-len(expected) :]


def test_published_ids_of_stories260k():
    path = needs("models/stories260K-hf/tokenizer.json")
    reference = json.loads((path.parent / "reference.json").read_text())
    ours = Tokenizer.load(path)
    assert ours.decode(reference["greedy_from_bos_ids"], skip_special=True) == reference["published_greedy_text"]
    for each in reference["texts"]:
        assert ours.encode(each["text"], template=True) == each["ids"]
        assert ours.decode(each["ids"], skip_special=True) == each["text"]


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (["model", "type"], "WordPiece", "unsupported model 'WordPiece'; hornbook reads BPE and Unigram"),
        (["model", "dropout"], 0.1, "unsupported model.dropout = 0.1"),
        (["decoder"], {"type": "WordPiece", "prefix": "##", "cleanup": True}, "unsupported decoder WordPiece"),
        (["model", "merges"], [["q", "nowhere"]], "the library tokenizers cannot read it"),
        (["model"], 5, "model is 5"),
    ],
)
def test_what_is_refused(path, to, message, tmp_path):
    whole = json.loads(made("bpe", "first").to_str())
    part = whole
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = to
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(whole))
    with pytest.raises(TokenizerError, match=f"tokenizer.json: {message}"):
        Tokenizer.load(file)


def test_a_lone_surrogate_is_named(pair):
    with pytest.raises(TokenizerError, match="lone surrogate"):
        pair[0].encode("a\ud800b")
