import gzip
import json
import random

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import models, pre_tokenizers, trainers

from data_paths import needs
from hornbook.config.tokenizer import PATTERN_NAMES, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import compiled, word_counting
from hornbook.tokenizer.alphabet import BYTE_ORDER, printable
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.reference import count_words
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tokenizer.train import TrainProgress
from oracles import bpe

pytestmark = pytest.mark.medium


def plain(**settings):
    return TokenizerConfig(special_tokens="none", **settings)


def merges_of(tokenizer):
    tokens = tokenizer.scheme.tokens
    return [(printable(tokens[left]), printable(tokens[right])) for left, right in tokenizer.scheme.merges]


def merges_of_hugging_face(documents, vocab_size):
    """What the library `tokenizers` learns from the same documents."""
    tokenizer = HuggingFaceTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def fuzzed_documents(seed, n=60):
    """Words of few letters in several scripts, so that ties are many."""
    rng = random.Random(seed)
    alphabets = ["ab", "aáß", "аби", "的一是", "कखि", "😀🎉", "01", "\n ", "'st"]
    return [
        " ".join("".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 9))) for _ in range(rng.randint(0, 30)))
        for _ in range(n)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_merges_equal_hugging_faces_on_fuzzed_documents(seed):
    documents = fuzzed_documents(seed)
    theirs = merges_of_hugging_face(documents, 1024)
    assert merges_of(Tokenizer.train(documents, plain(vocab_size=1024))) == theirs
    assert len(theirs) > 300


@pytest.mark.medium
def test_merges_equal_hugging_faces_on_real_text():
    stories = [path.read_text(encoding="utf-8") for path in sorted(needs("pretrain/tinystories").glob("*.txt"))]
    documents = [story for text in stories for story in text.split("<|endoftext|>")]
    tokenizer = Tokenizer.train(documents, plain(vocab_size=4096))
    assert merges_of(tokenizer) == merges_of_hugging_face(documents, 4096)
    assert tokenizer.vocab_size == 4096


@pytest.mark.medium
def test_merges_equal_hugging_faces_on_several_scripts():
    with gzip.open(needs("pretrain/wikitext-2/wiki.train.tokens.gz"), "rt", encoding="utf-8", newline="") as file:
        documents = [file.read(500_000), *fuzzed_documents(99, n=3000)]
    assert merges_of(Tokenizer.train(documents, plain(vocab_size=2048))) == merges_of_hugging_face(documents, 2048)


@pytest.mark.parametrize("tie_order", ["hf", "lexicographic"])
def test_merges_equal_a_full_recount_on_fuzzed_documents(tie_order):
    for seed in range(10):
        documents = fuzzed_documents(seed, n=4)
        tokenizer = Tokenizer.train(documents, plain(vocab_size=300, tie_order=tie_order))
        counted = count_words(documents, tokenizer.scheme.splitter)
        words = {word.encode(): count for word, count in counted.items()}
        expected = bpe.learn_merges(words, BYTE_ORDER, 44, tie_order=tie_order)
        assert merges_of(tokenizer) == [(printable(left), printable(right)) for left, right in expected]


def test_a_file_is_one_document_with_special_tokens_between(tmp_path):
    parts = ["Once upon a time\n\n", "the end.\r\n", " A blank first"]
    path = tmp_path / "text.txt"
    path.write_bytes("<|endoftext|>".join(parts).encode())
    config = TokenizerConfig(vocab_size=300)
    assert Tokenizer.train(path, config).fingerprint == Tokenizer.train(parts, config).fingerprint
    assert Tokenizer.train([path], config).fingerprint == Tokenizer.train(parts, config).fingerprint
    assert Tokenizer.train([part.encode() for part in parts], config).fingerprint == (
        Tokenizer.train(parts, config).fingerprint
    )


def test_a_stream_is_read_lazily_and_only_once():
    alive = []

    def documents():
        for i in range(50):
            alive.append(i)
            yield f"document {i} " * 100

    Tokenizer.train(documents(), plain(vocab_size=300, max_bytes=3000))
    assert len(alive) <= 4  # what lies behind max_bytes is never asked for


def test_max_bytes_never_cuts_a_character():
    limited = Tokenizer.train(["ééé ééé", "more"], plain(vocab_size=300, max_bytes=5))
    assert limited.fingerprint == Tokenizer.train(["éé"], plain(vocab_size=300)).fingerprint


def test_max_bytes_hides_no_broken_text_before_it():
    with pytest.raises(TokenizerError, match="byte 0x80 at byte offset 3 "):
        Tokenizer.train([b"abc" + b"\x80" * 1000], plain(vocab_size=300, max_bytes=500))


@pytest.mark.parametrize("container", [list, iter])
def test_what_is_no_text_is_named(container):
    with pytest.raises(TokenizerError, match="document 1: got int; expected str, bytes of UTF-8 or a Path"):
        Tokenizer.train(container(["text", 7]), plain(vocab_size=300))


def test_document_order_does_not_matter_but_for_max_bytes():
    documents = fuzzed_documents(3)
    config = plain(vocab_size=400)
    assert Tokenizer.train(documents, config).fingerprint == Tokenizer.train(documents[::-1], config).fingerprint


def test_room_for_bytes_and_special_tokens():
    with pytest.raises(TokenizerError, match=r"vocab_size = 271 is too small: 256 bytes and 16 special tokens need at"):
        Tokenizer.train(["text"], TokenizerConfig(vocab_size=271))
    assert Tokenizer.train(["text"], TokenizerConfig(vocab_size=272)).scheme.merges == ()
    assert Tokenizer.train(["text"], plain(vocab_size=257)).vocab_size == 257


def test_too_little_text_gives_a_smaller_vocabulary():
    seen: list[TrainProgress] = []
    tokenizer = Tokenizer.train(["abab ab"], plain(vocab_size=1000), progress=seen.append)
    assert tokenizer.vocab_size == 259  # ab, abab, " ab"
    assert seen[-1] == TrainProgress(phase="merge", done=3, total=744)
    assert Tokenizer.train([], plain()).vocab_size == 256


def test_progress_counts_bytes_then_merges():
    seen: list[TrainProgress] = []
    Tokenizer.train(["some text", "more"], plain(vocab_size=260), progress=seen.append)
    assert seen == [
        TrainProgress(phase="count", done=9, total=None),
        TrainProgress(phase="count", done=13, total=None),
        TrainProgress(phase="merge", done=4, total=4),
    ]


@pytest.mark.parametrize("extra", [("",), ("<|end|>",), ("<|new|>", "<|new|>")])
def test_wrong_extra_names(extra):
    with pytest.raises(TokenizerError, match="extra_special_tokens: "):
        Tokenizer.train(["text"], TokenizerConfig(extra_special_tokens=extra))


def test_invalid_utf8_names_the_document_or_file(tmp_path):
    with pytest.raises(TokenizerError, match="document 1: invalid UTF-8: byte 0x80 at byte offset 0"):
        Tokenizer.train([b"fine", b"\x80"])
    path = tmp_path / "latin1.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(TokenizerError, match=r"latin1\.txt: invalid UTF-8: byte 0xef at byte offset 2"):
        Tokenizer.train(path)


def test_patterns_with_names_are_those_of_the_configuration():
    assert set(PATTERN_NAMES) == set(PATTERNS)


def test_a_wrong_name_of_a_pattern_is_told_with_the_configuration():
    with pytest.raises(ValidationError, match=r"pattern = 'gpt3' is no pattern; expected gpt2, smollm, cl100k"):
        TokenizerConfig(pattern="gpt3")
    assert TokenizerConfig(pattern="(?:gpt3)").pattern == "(?:gpt3)"


@pytest.mark.parametrize("kernels", ["on", "off"])
@pytest.mark.parametrize("tie_order", ["hf", "lexicographic"])
def test_the_same_vocabulary_compiled_or_not_for_any_number_of_threads(tie_order, kernels, monkeypatch):
    documents = [document + "<|end|>" for document in fuzzed_documents(11, n=200)]
    config = TokenizerConfig(vocab_size=500, tie_order=tie_order)
    expected = Tokenizer.train(documents, config).fingerprint
    monkeypatch.setenv("HORNBOOK_KERNELS", kernels)
    for threads in (1, 2, 3, 4):
        assert Tokenizer.train(documents, config, threads=threads).fingerprint == expected
    assert Tokenizer.train(iter(documents), config.model_copy(update={"threads": 3})).fingerprint == expected


def test_a_pattern_of_ones_own_is_counted_in_python_and_merged_compiled(monkeypatch, caplog):
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")
    monkeypatch.setattr(word_counting, "_told", set())
    monkeypatch.setattr(compiled, "LOADING_PAYS", 1000)
    config = plain(vocab_size=300, pattern=r"\w+|\W")
    documents = fuzzed_documents(12)
    tokenizer = Tokenizer.train(documents, config)
    Tokenizer.train(documents, config)
    [told] = caplog.records  # once
    assert "is of your own" in told.getMessage()
    monkeypatch.setenv("HORNBOOK_KERNELS", "off")
    assert Tokenizer.train(documents, config).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("kernels", ["on", "off"])
def test_the_first_error_of_the_text_is_the_one_that_is_told(kernels, tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", kernels)
    path = tmp_path / "long.txt"
    path.write_bytes(b"word " * 850_000 + b"\xff" + b" word" * 100_000 + b"\xfe")
    for threads in (1, 4):
        with pytest.raises(TokenizerError, match=r"long\.txt: invalid UTF-8: byte 0xff at byte offset 4250000 \("):
            Tokenizer.train([path, b"\x80"], threads=threads)


def test_too_many_words_are_one_message(monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")
    monkeypatch.setattr(compiled.kernels_for("train", 0).module("merging"), "_MOST_PLACES", 100)
    with pytest.raises(
        TokenizerError, match=r"the text has \d+ distinct words of [0-9,]+ bytes together, more than can be merged"
    ):
        Tokenizer.train(fuzzed_documents(1), plain(vocab_size=300))


@pytest.mark.medium
def test_lexicographic_merges_of_real_text_equal_the_reference(monkeypatch):
    """The homework of Stanford's CS336: 500 ids from 130 kB, and its order among equals."""
    story = sorted(needs("pretrain/tinystories").glob("*.txt"))[0].read_text(encoding="utf-8")[:130_000]
    config = TokenizerConfig(
        vocab_size=500, tie_order="lexicographic", special_tokens="none", extra_special_tokens=("<|endoftext|>",)
    )
    fingerprints = set()
    for kernels in ("on", "off"):
        monkeypatch.setenv("HORNBOOK_KERNELS", kernels)
        fingerprints.add(Tokenizer.train([story], config).fingerprint)
    assert len(fingerprints) == 1
