"""Rank files: ids equal tiktoken's, whatever the ranks are, and files go there and back."""

import base64
import random
import time

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.special_tokens import SpecialTokens
from hornbook.tokenizer.tiktoken_ranks import ENCODINGS
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

TEXTS = ["the cat sat on the mat, the cat sat", "aaaaaaaaaaaaaaaa abababab", "naïve 你好"] * 3
runs = st.lists(st.tuples(st.sampled_from("abc01 .\né你"), st.integers(1, 40)), max_size=12).map(
    lambda pairs: "".join(character * n for character, n in pairs)
)


def written(ranks):
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


def encoding(ranks, special_tokens=None):
    """tiktoken's of these ranks; its splitting pattern here is: everything is one word."""
    return tiktoken.Encoding("test", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens=special_tokens or {})


def random_ranks(draw):
    """The bytes and tokens of a, b and c in a random order: such files are nobody's training, ties abound."""
    tokens = {"".join(draw.choices("abc", k=draw.randint(2, 6))).encode() for _ in range(40)}
    entries = [bytes([byte]) for byte in range(256)] + sorted(tokens)
    draw.shuffle(entries)
    return {token: rank for rank, token in enumerate(entries)}


@pytest.mark.parametrize("seed", range(20))
def test_any_ranks_give_tiktokens_ids(seed, tmp_path):
    draw = random.Random(seed)
    ranks = random_ranks(draw)
    theirs = encoding(ranks)
    (tmp_path / "x.tiktoken").write_bytes(written(ranks))
    ours = Tokenizer.from_tiktoken(tmp_path / "x.tiktoken", pattern=r"[\s\S]+")
    ours.save(tmp_path / "saved")
    loaded = Tokenizer.load(tmp_path / "saved")
    assert loaded.fingerprint == ours.fingerprint
    for _ in range(100):
        text = "".join(draw.choices("abc", k=draw.randint(1, 60)))
        assert ours.encode(text) == loaded.encode(text) == theirs.encode_ordinary(text)
    assert ours.to_tiktoken().encode() == written(ranks)


def test_pairs_that_make_the_same_token_share_a_rank():
    """Two pairs that make the same token have one rank, so the leftmost in a word goes first."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"aa": 256, b"aaa": 257, b"ba": 258, b"aab": 259}
    scheme = BytePairScheme(list(ranks), None, whole_words_first=True)
    assert scheme.merge_table[97, 256] == scheme.merge_table[256, 97] == (257, 257)
    assert scheme.by_rank
    listed = BytePairScheme(list(ranks), scheme.merges, whole_words_first=True)
    assert listed.merge_table[97, 256][0] != listed.merge_table[256, 97][0]


@pytest.mark.medium
@settings(max_examples=2000, deadline=None)
@given(text=st.one_of(runs, strange_text))
def test_cl100k(cl100k, tiktoken_cl100k, text):
    assert cl100k.encode(text) == tiktoken_cl100k.encode_ordinary(text)


@pytest.mark.medium
def test_official_names_bring_pattern_and_special_tokens(cl100k, tmp_path):
    official = Tokenizer.from_tiktoken(needs("tokenizer/cl100k_base.tiktoken"))
    assert official.special_tokens == {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    }
    assert (official.vocab_size, official.end_of_text_id, official.scheme.pattern) == (100277, 100257, "cl100k")
    assert official.unused_ids == [100256, *range(100261, 100276)]
    text = "a<|endoftext|>b<|endofprompt|>"
    assert [i for i in official.encode(text, allowed_special="all") if i > 100256] == [100257, 100276]
    official.save(tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == official.fingerprint != cl100k.fingerprint


@pytest.mark.medium
def test_a_rank_file_as_tokenizer_json_and_back(tmp_path):
    official = Tokenizer.from_tiktoken(needs("tokenizer/cl100k_base.tiktoken"))
    (tmp_path / "tokenizer.json").write_text(official.to_hugging_face(), encoding="utf-8")
    back, theirs = Tokenizer.load(tmp_path), HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert back.special_tokens == official.special_tokens
    draw = random.Random(1)
    for _ in range(300):
        fragments = [
            "<|endofprompt|>",
            "<|endoftext|>",
            " the",
            "é你",
            "\r\n ",
            "a" * 9,
            "12345",
            "'LL",
            "\u2028",
            "😀",
        ]
        text = "".join(draw.choices(fragments, k=12))
        ids = official.encode(text, allowed_special="all")
        assert back.encode(text, allowed_special="all") == ids == theirs.encode(text).ids


@pytest.mark.medium
def test_cl100k_is_read_within_a_second_and_written_as_it_was():
    path = needs("tokenizer/cl100k_base.tiktoken")
    seconds = []
    for _ in range(3):
        started = time.thread_time()
        tokenizer = Tokenizer.from_tiktoken(path)
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 1.0
    assert tokenizer.to_tiktoken().encode() == path.read_bytes()


@pytest.mark.medium
def test_gpt2_as_ranks(gpt2, tiktoken_gpt2, tmp_path):
    path = tmp_path / "r50k_base.tiktoken"
    path.write_text(gpt2.to_tiktoken(), encoding="utf-8")
    ranks = Tokenizer.from_tiktoken(path)
    assert (ranks.special_tokens, ranks.vocab_size) == (gpt2.special_tokens, 50_257)
    for text in ["Hello  world's\n\n", "a" * 50, "naïve 你好 😀", "=" * 33]:
        assert ranks.encode(text) == gpt2.encode(text) == tiktoken_gpt2.encode_ordinary(text)


def test_a_hole_for_a_special_token_among_the_ranks(tmp_path):
    """p50k_base is so: ranks go on behind <|endoftext|>."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 257}
    path = tmp_path / "x.tiktoken"
    path.write_bytes(written(ranks))
    with pytest.raises(TokenizerError, match="no token has the id 256; expected ranks without gaps but for special"):
        Tokenizer.from_tiktoken(path, pattern="gpt2")
    tokenizer = Tokenizer.from_tiktoken(path, pattern="gpt2", special_tokens={"<|end|>": 256})
    assert tokenizer.encode("ab<|end|>a", allowed_special="all") == [257, 256, 97]
    assert tokenizer.to_tiktoken().encode() == written(ranks)
    assert ENCODINGS["p50k_base"].special_tokens == {"<|endoftext|>": 50256}


def test_a_vocabulary_learnt_here_goes_there_and_back(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=320, special_tokens="pretraining"))
    (tmp_path / "x.tiktoken").write_text(tokenizer.to_tiktoken(), encoding="utf-8")
    back = Tokenizer.from_tiktoken(
        tmp_path / "x.tiktoken", pattern="gpt2", special_tokens=list(tokenizer.special_tokens)
    )
    assert back.special_tokens == tokenizer.special_tokens
    for text in TEXTS:
        assert back.encode(text) == tokenizer.encode(text)


def unlike_ranks():
    """Vocabularies that ranks alone do not give, with the reason."""
    tokens = [bytes([byte]) for byte in range(256)]
    backwards = BytePairScheme([*tokens, b"bc", b"ab"], [(97, 98), (98, 99)])
    unreached = BytePairScheme([*tokens, b"bc", b"ab", b"abc"], [(98, 99), (97, 98), (257, 99)])
    composed = BytePairScheme(tokens, [], normalizer="NFC")
    return [(backwards, "not in the order of the ids"), (unreached, "b'abc' is not what"), (composed, "the form NFC")]


@pytest.mark.parametrize(("scheme", "reason"), unlike_ranks())
def test_what_ranks_cannot_hold(scheme, reason):
    with pytest.raises(TokenizerError, match=f"tiktoken holds nothing but ranks, .*{reason}"):
        Tokenizer(scheme, []).to_tiktoken()


def test_gpt2_files_there_and_back(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=320))
    for name, text in tokenizer.to_gpt2().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    first = SpecialTokens({"<s>": 0, "<mask>": 300})
    sparse = Tokenizer(BytePairScheme([None, *(bytes([byte]) for byte in range(256)), b"ab"], [(98, 99)]), first)
    for name, text in sparse.to_gpt2().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert Tokenizer.load(tmp_path).fingerprint == sparse.fingerprint


@pytest.mark.parametrize(("scheme", "reason"), unlike_ranks()[2:])
def test_what_gpt2_files_cannot_hold(scheme, reason):
    with pytest.raises(TokenizerError, match=f"merges.txt cannot hold this vocabulary: .*{reason}"):
        Tokenizer(scheme, []).to_gpt2()
    added = SpecialTokens({}, added={"  ": 256})
    plain = BytePairScheme([bytes([byte]) for byte in range(256)], [])
    with pytest.raises(TokenizerError, match="added tokens count in any text"):
        Tokenizer(plain, added).to_gpt2()


def test_unknown_name_without_a_pattern(tmp_path):
    with pytest.raises(
        TokenizerError, match="does not say how text was split, and the name is none of r50k_base, p50k"
    ):
        Tokenizer.from_tiktoken(tmp_path / "mine.tiktoken")
