"""Templates as data: by name, from a file, and in a tokenizer's directory."""

import json

import pytest

from hornbook.config.chat import TEMPLATES, ChatConfig, ChatTemplate
from hornbook.config.tokenizer import SPECIAL_TOKENS, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.chat import Message, load_template, render
from hornbook.tokenizer.special_tokens import SpecialTokens
from hornbook.tokenizer.tokenizer import Tokenizer

TOML = """
control_tokens = ["<q>", "<a>", "<z>"]
system = ["", "\\n"]
user = ["<q>", ""]
assistant = ["<a>", "<z>"]
stop = "<z>"
"""


@pytest.fixture(scope="module")
def base() -> Tokenizer:
    return Tokenizer.train(["hello world"], TokenizerConfig(vocab_size=262, special_tokens="pretraining"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_stay_and_missing_control_tokens_follow(base, name):
    tokenizer = base.with_chat_template(TEMPLATES[name])
    new = [each for each in TEMPLATES[name].control_tokens if each not in base.special_tokens]
    assert tokenizer.vocab_size == base.vocab_size + len(new)
    assert tokenizer.special_tokens == {**base.special_tokens, **{each: 262 + i for i, each in enumerate(new)}}
    text = "hello <|user|> <|im_end|> world"
    assert tokenizer.encode(text) == base.encode(text)
    assert tokenizer.with_chat_template(TEMPLATES[name]).fingerprint == tokenizer.fingerprint


def test_the_chat_profile_needs_no_more_ids_for_its_template():
    tokenizer = Tokenizer.train(["hello"], TokenizerConfig(vocab_size=272))
    ours = tokenizer.with_chat_template(TEMPLATES["hornbook"])
    assert ours.fingerprint == tokenizer.fingerprint
    assert ours.chat_template == TEMPLATES["hornbook"]
    assert tokenizer.chat_template is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_directory_keeps_the_template(base, name, tmp_path):
    tokenizer = base.with_chat_template(TEMPLATES[name])
    tokenizer.save(tmp_path / "t")
    tokenizer.save(tmp_path / "t")
    loaded = Tokenizer.load(tmp_path / "t")
    assert (loaded.chat_template, loaded.fingerprint) == (TEMPLATES[name], tokenizer.fingerprint)
    said = [Message("user", "hello"), Message("assistant", "world")]
    assert render(loaded, said) == render(tokenizer, said)
    with pytest.raises(TokenizerError, match="holds another tokenizer"):
        base.save(tmp_path / "t")


def test_a_damaged_template_is_named(base, tmp_path):
    base.with_chat_template(TEMPLATES["hornbook"]).save(tmp_path / "t")
    file = tmp_path / "t/chat_template.json"
    values = json.loads(file.read_text())
    for changed, message in (
        ({**values, "stop": "<|user|>"}, "what follows an answer must begin with stop"),
        ({**values, "colour": 1}, r"chat_template\.json: not a chat template: colour"),
        ({**values, "control_tokens": [*values["control_tokens"], "<|far|>"]}, r"'<\|far\|>' is no special token"),
    ):
        file.write_text(json.dumps(changed))
        with pytest.raises(TokenizerError, match=message):
            Tokenizer.load(tmp_path / "t")


def test_a_template_of_ones_own(base, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TOML)
    tokenizer = base.with_chat_template(load_template(ChatConfig(template=str(file))))
    said = [Message("system", "s<q>"), Message("user", "u<a>"), Message("assistant", "a<z>")]
    assert tokenizer.decode(render(tokenizer, said).ids) == "s<q>\n<q>u<a><a>a<z><z>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no template has this name and there is no such file; expected hornbook, chatml, alpaca, simple_"),
        ("a = ", "not valid TOML"),
        (TOML.replace('stop = "<z>"', 'stop = "<a>"'), "must begin with stop = '<a>'"),
        (TOML.replace('stop = "<z>"', 'stop = "<y>"'), "'<y>' is not in control_tokens"),
        (TOML.replace('"<q>", "<a>"', '"<a>", "<a>"', 1), "'<a>' is repeated"),
        (TOML.replace('"<q>", "<a>"', '"", "<a>"', 1), "'' is empty"),
        (TOML + "user_prefix = 2026-01-01\n", "user_prefix: Extra inputs"),
        (TOML.replace('["<q>", ""]', '"<q>"'), "user: "),
    ],
)
def test_what_is_no_template_is_refused(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TokenizerError, match=message):
        load_template(ChatConfig(template=str(file)))


def test_a_control_token_that_any_text_gives_is_refused(base):
    special = SpecialTokens(base.special_tokens, added={"<|im_end|>": 262})
    with pytest.raises(TokenizerError, match=r"'<\|im_end\|>' is an added token"):
        Tokenizer(base.scheme, special).with_chat_template(TEMPLATES["chatml"])
    with pytest.raises(TokenizerError, match=r"'<\|im_start\|>' is no special token.*with_chat_template"):
        Tokenizer(base.scheme, base.special_tokens, chat_template=TEMPLATES["chatml"])


def test_profiles_of_simple_transformer():
    """Its pre_training_v1 and post_training_v1: the first ids of the second are those of the first."""
    first, second = SPECIAL_TOKENS["simple_transformer_pretraining"], SPECIAL_TOKENS["simple_transformer"]
    assert first == ("[UNK]", "[PAD]", "[SOS]", "[EOS]")
    assert second == (*first, *TEMPLATES["simple_transformer"].control_tokens)
    base = Tokenizer.train(
        ["hello hello"], TokenizerConfig(vocab_size=262, special_tokens="simple_transformer_pretraining")
    )
    assert (base.end_of_text_id, base.pad_id) == (base.special_tokens["[EOS]"], base.special_tokens["[PAD]"])
    tuned = Tokenizer(base.scheme, second)
    assert base.with_chat_template(TEMPLATES["simple_transformer"]).fingerprint == tuned.fingerprint


def test_alpaca_brings_an_end_of_text_where_there_is_none(base):
    tokenizer = Tokenizer(base.scheme, []).with_chat_template(TEMPLATES["alpaca"])
    assert tokenizer.end_of_text_id == len(base.scheme.tokens)
    assert isinstance(TEMPLATES["alpaca"], ChatTemplate)
