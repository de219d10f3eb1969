import pytest

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.tokenizer import Tokenizer

CONFIG = TokenizerConfig(kind="characters", special_tokens="pretraining")


def test_one_id_a_character_in_code_point_order():
    tokenizer = Tokenizer.train(["héllo\r\n", "<|endoftext|>你"], CONFIG)
    assert tokenizer.scheme.characters == tuple("\n\rhloé你")
    assert tokenizer.encode("ho你") == [2, 4, 6]
    assert tokenizer.decode([2, 4, 6]) == "ho你"
    assert tokenizer.byte_lengths().tolist() == [1, 1, 1, 1, 1, 2, 3, 0, 0, 0]
    assert tokenizer.end_of_text_id == 7
    assert tokenizer.encode("o<|endoftext|>", allowed_special="all") == [4, 7]


def test_unknown_character_is_named_with_its_offset():
    tokenizer = Tokenizer.train(["abc"], CONFIG)
    with pytest.raises(
        TokenizerError, match=r"the character 'z' \(U\+007A\) at offset 2 is not among the 3 characters"
    ):
        tokenizer.encode("abz")
    with pytest.raises(TokenizerError, match=r"'<' \(U\+003C\) at offset 1"):
        tokenizer.encode("a<|endoftext|>")


def test_saved_and_loaded(tmp_path):
    tokenizer = Tokenizer.train(['tab\tquote" \u2028 \U0001f600'], CONFIG)
    tokenizer.save(tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["special_tokens.json", "vocab.json"]
    loaded = Tokenizer.load(tmp_path / "t")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("tab\t\U0001f600") == tokenizer.encode("tab\t\U0001f600")


def test_damaged_vocabulary_names_the_file(tmp_path):
    Tokenizer.train(["abc"], CONFIG).save(tmp_path / "t")
    (tmp_path / "t" / "vocab.json").write_text('{"a": 0, "bc": 1, "d": 2}')
    with pytest.raises(TokenizerError, match=r"vocab\.json: vocabulary: 'bc' is not one character"):
        Tokenizer.load(tmp_path / "t")


def test_cannot_become_a_tokenizer_json():
    with pytest.raises(TokenizerError, match="byte-pair tokenizers only"):
        Tokenizer.train(["abc"], CONFIG).to_hugging_face()


def test_no_text():
    with pytest.raises(TokenizerError, match="training text is empty"):
        Tokenizer.train([], CONFIG)


@pytest.mark.parametrize(("characters", "message"), [(["a", "bc"], "'bc' is not one"), (["a", "a"], "there twice")])
def test_wrong_vocabulary(characters, message):
    with pytest.raises(TokenizerError, match=message):
        CharacterScheme(characters)


def test_tiny_shakespeare_has_65_characters():
    path = needs("pretrain/tinyshakespeare/input.txt")
    tokenizer = Tokenizer.train(path, TokenizerConfig(kind="characters", special_tokens="none"))
    assert tokenizer.vocab_size == 65
    text = path.read_bytes()
    ids, _ = tokenizer.encode_batch([text])
    assert len(ids) == 1_115_394
    assert tokenizer.decode_bytes(ids) == text
