import json
import shutil

import pytest
from hypothesis import given, settings

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

TOKENIZER = Tokenizer.train(["The cat sat on the mat.\r\n\x85\u2028"] * 3, TokenizerConfig(vocab_size=290))


@pytest.fixture
def saved(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def edit(path, change):
    """Rewrite a JSON file through a function."""
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def test_loading_gives_the_same_tokenizer(saved):
    loaded = Tokenizer.load(saved)
    assert loaded.fingerprint == TOKENIZER.fingerprint
    assert loaded.special_tokens == TOKENIZER.special_tokens
    assert loaded.encode("The cat\r\n", allowed_special="all") == TOKENIZER.encode("The cat\r\n")
    assert sorted(path.name for path in saved.iterdir()) == ["merges.txt", "special_tokens.json", "vocab.json"]


def test_files_are_readable_text(saved):
    vocabulary = json.loads((saved / "vocab.json").read_text(encoding="utf-8"))
    assert (vocabulary["!"], vocabulary["Ġ"], len(vocabulary)) == (0, 220, len(TOKENIZER.scheme.tokens))
    lines = (saved / "merges.txt").read_text(encoding="utf-8").split("\n")
    assert (lines[0], lines[1], lines[-1]) == ("#version: 0.2", "a t", "")
    assert json.loads((saved / "special_tokens.json").read_text(encoding="utf-8"))["pattern"] == "gpt2"


def test_settings_survive(tmp_path):
    config = TokenizerConfig(vocab_size=300, pattern=r"\w+|\W", extra_special_tokens=("Ġ", 'say "\n"', "你"))
    tokenizer = Tokenizer.train(["Some text 你好"], config)
    tokenizer.save(tmp_path / "t")
    loaded = Tokenizer.load(tmp_path / "t")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.special_tokens == tokenizer.special_tokens


def test_saving_the_same_again_changes_nothing(saved):
    before = {path.name: path.stat().st_mtime_ns for path in saved.iterdir()}
    TOKENIZER.save(saved)
    assert {path.name: path.stat().st_mtime_ns for path in saved.iterdir()} == before


def test_another_tokenizer_is_not_overwritten_unasked(saved):
    other = Tokenizer.train(["other"], TokenizerConfig(kind="characters"))
    with pytest.raises(TokenizerError, match="holds another tokenizer already"):
        other.save(saved)
    assert Tokenizer.load(saved).fingerprint == TOKENIZER.fingerprint
    other.save(saved, overwrite=True)
    assert Tokenizer.load(saved).fingerprint == other.fingerprint
    assert not (saved / "merges.txt").exists()


def test_a_directory_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        TOKENIZER.save(tmp_path, overwrite=True)
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        TOKENIZER.save(tmp_path / "thesis.txt", overwrite=True)


def test_an_empty_directory_will_do(tmp_path):
    TOKENIZER.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == TOKENIZER.fingerprint


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", None, r"vocab\.json: no such file"),
        ("merges.txt", None, r"merges\.txt: no such file"),
        ("vocab.json", b"{", r"vocab\.json: no valid JSON, line 1 column 2"),
        ("vocab.json", b"[1]", r"vocab\.json: got a JSON list; expected an object"),
        ("vocab.json", b"\xff", r"vocab\.json: invalid UTF-8 at byte offset 0"),
        ("vocab.json", b'{"a": 0, "a": 1}', r"vocab\.json: the key 'a' stands there twice"),
        ("vocab.json", b'{"a": 0, "b": 0}', r"vocab\.json: 'a' and 'b' both have the id 0"),
        ("vocab.json", b'{"a": "0"}', r"vocab\.json: the id of 'a' is '0'; expected a whole number"),
        ("vocab.json", b'{"a": ' + b"[" * 100_000, r"vocab\.json: no JSON that can be read \(maximum recursion depth"),
        ("vocab.json", b'{"a": ' + b"1" * 5000 + b"}", r"vocab\.json: no JSON that can be read \(Exceeds the limit"),
        ("merges.txt", b"#version: 0.2\na t\nab\n", r"merges\.txt line 3: got 'ab'; expected two tokens"),
        ("merges.txt", b"a t\nx qq\n", r"merges\.txt line 2: the merge 'x' 'qq' needs the token 'qq', which is not in"),
        ("merges.txt", b"a t\r\nx y\r\n", r"merges\.txt line 2: the merge 'x' 'y' needs the token 'xy'"),
        ("special_tokens.json", b"{}", r"special_tokens\.json: expected format, kind, special_tokens and fingerprint"),
    ],
)
def test_damaged_files(saved, file, content, message):
    if content is None:
        (saved / file).unlink()
    else:
        (saved / file).write_bytes(content)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(saved)


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt", "special_tokens.json"])
def test_files_that_cannot_be_read(saved, file):
    (saved / file).unlink()
    (saved / file).symlink_to(file)
    with pytest.raises(TokenizerError, match=f"{file}: cannot be read: Too many levels of symbolic links"):
        Tokenizer.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format 9; this version of hornbook reads format 2 and below"),
        ({"kind": "words"}, "kind = 'words': expected 'characters', 'foreign', or 'bpe' with its pattern"),
        ({"normalizer": "NFKC"}, "kind = 'bpe': expected"),
        ({"special_tokens": {"<|a|>": 999}}, "special_tokens.json: no token has the id 274"),
        ({"special_tokens": {"<|a|>": 274}}, "a file was changed or comes from another tokenizer"),
        ({"pattern": "cl100k"}, "a file was changed or comes from another tokenizer"),
        ({"pattern": "\ud800"}, r"vocab.json: tokenizer.pattern = '\\ud800' is neither"),
        ({"pattern": "("}, r"vocab.json: tokenizer.pattern = '\(' is neither"),
    ],
)
def test_wrong_settings(saved, change, message):
    edit(saved / "special_tokens.json", lambda about: {**about, **change})
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(saved)


def test_fingerprints_and_files_of_plain_tokenizers_stay_what_they_were(saved):
    """Data sets and checkpoints carry the fingerprint; format 1 is what older versions read."""
    assert TOKENIZER.fingerprint == "7b03bff8493141053354abda09a4b3ae64510e4c79574871a97fef3af176b458"
    about = json.loads((saved / "special_tokens.json").read_text(encoding="utf-8"))
    assert list(about) == [
        *("format", "kind", "pattern", "whole_words_first", "normalizer", "special_tokens", "fingerprint"),
    ]
    assert about["format"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalized_tokens": [["x"]]}, "added_tokens, normalized_tokens, template or flags is damaged"),
        ({"flags": {"<|end|>": 5}}, "added_tokens, normalized_tokens, template or flags is damaged"),
        ({"added_tokens": []}, "added_tokens, normalized_tokens, template or flags is damaged"),
        ({"template": {"before": ["<|nobody|>"], "after": []}}, r"'<\|nobody\|>' is used but has no id"),
        ({"added_tokens": {"x": -1}}, "the id of 'x' is -1; expected 0 to"),
        ({"added_tokens": {"x": 3}}, "'x' has the id 3, which is that of the ordinary token b'\\$'"),
        ({"flags": {"<|end|>": ["upside_down"]}}, "the flag 'upside_down' is unknown"),
        ({"normalized_tokens": ["<|end|>"]}, "a file was changed or comes from another tokenizer"),
    ],
)
def test_wrong_settings_of_format_2(tmp_path, change, message):
    special = SpecialTokens({"<|end|>": 500}, added={"  ": 400}, template=Template(("<|end|>",)))
    Tokenizer(TOKENIZER.scheme, special).save(tmp_path / "t")
    assert json.loads((tmp_path / "t" / "special_tokens.json").read_text(encoding="utf-8"))["format"] == 2
    assert Tokenizer.load(tmp_path / "t").vocab_size == 501
    edit(tmp_path / "t" / "special_tokens.json", lambda about: {**about, **change})
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path / "t")


def test_a_gap_and_a_missing_byte(saved):
    edit(saved / "vocab.json", lambda vocabulary: {t: i for t, i in vocabulary.items() if i != 100})
    with pytest.raises(TokenizerError, match=r"vocab\.json: no token has the id 100; expected 273 tokens with the ids"):
        Tokenizer.load(saved)
    edit(saved / "vocab.json", lambda vocabulary: {t: i - (i > 100) for t, i in vocabulary.items()})
    edit(saved / "special_tokens.json", lambda about: {**about, "special_tokens": {}})
    (saved / "merges.txt").write_text("")
    with pytest.raises(TokenizerError, match=r"vocab\.json: .*1 of the 256 single bytes are missing"):
        Tokenizer.load(saved)


def test_no_tokenizer(tmp_path):
    with pytest.raises(TokenizerError, match="no such tokenizer"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path)


@pytest.mark.medium
def test_gpt2_files(gpt2, tmp_path):
    assert gpt2.vocab_size == 50_257
    assert gpt2.special_tokens == {"<|endoftext|>": 50_256}
    assert len(gpt2.scheme.merges) == 50_000
    folder = needs("tokenizer/gpt2")
    shutil.copy(folder / "gpt2_vocab.json", tmp_path / "vocab.json")
    (tmp_path / "merges.txt").write_bytes(b"#version: 0.2\r\n" + (folder / "gpt2_merges.txt").read_bytes())
    assert Tokenizer.load(tmp_path).fingerprint == gpt2.fingerprint
    more = Tokenizer.from_files(
        tmp_path / "vocab.json", tmp_path / "merges.txt", special_tokens=["<|pad|>", "<|endoftext|>"]
    )
    assert more.special_tokens == {"<|endoftext|>": 50_256, "<|pad|>": 50_257}


@pytest.mark.medium
def test_gpt2_saved_in_our_form(gpt2, tmp_path):
    gpt2.save(tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == gpt2.fingerprint


@pytest.mark.medium
@settings(max_examples=500, deadline=None)
@given(text=strange_text)
def test_ids_equal_tiktokens_for_cl100k(cl100k, tiktoken_cl100k, text):
    assert cl100k.encode(text) == tiktoken_cl100k.encode_ordinary(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nIg==", "line 2: got 'Ig=='; expected base64 and a rank"),
        (b"I! 0", "line 1: got 'I! 0'"),
        (b"IQ== 0\nIg== 2", "no token has the id 1"),
        (b"IQ== 0\n", "255 of the 256 single bytes are missing"),
    ],
)
def test_damaged_ranks(tmp_path, content, message):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_tiktoken(path, pattern="cl100k")


def test_special_tokens_json_of_another_project_lists_names_with_ids(tmp_path):
    """vocab.json and merges.txt as GPT-2's, and beside them {name: id} alone, as diffusionLM writes them."""
    ours = Tokenizer.train(["to be or not to be"], TokenizerConfig(vocab_size=270, special_tokens="none"))
    for name, text in ours.to_gpt2().items():
        if name != "added_tokens.json":
            (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "special_tokens.json").write_text('{"<|endoftext|>": 270, "<|mask|>": 272}')
    theirs = Tokenizer.load(tmp_path)
    assert theirs.special_tokens == {"<|endoftext|>": 270, "<|mask|>": 272}
    assert (theirs.mask_id, theirs.vocab_size) == (272, 273)
    assert theirs.unused_ids == [*range(ours.vocab_size, 270), 271]
    assert theirs.encode("to be<|mask|>", allowed_special="all") == [*ours.encode("to be"), 272]
    theirs.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").fingerprint == theirs.fingerprint
