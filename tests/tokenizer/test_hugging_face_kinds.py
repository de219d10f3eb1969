"""The kinds of tokenizer.json that public models have, built by the library `tokenizers` as their files are built."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from hornbook.errors import TokenizerError
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

pytestmark = pytest.mark.medium

CORPUS = [
    "def main(argument):\n    if argument == 12345:\n        return 'the end'\n\n\treturn  None\r\n",
    "The quick brown foxes' tails; we'll see, isn't it? HELLOworld camelCase 2024-11-22",
    "Ein Straßenfest, naïve e\u0301té, 你好世界 こんにちは नमस्ते สวัสดี 😀👨\u200d👩 привет мир",
] * 3
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
NEVER_IN_TEXT = set("ÀÁõö÷øùúûüýþÿ")  # the bytes C0, C1, F5 to FF
BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": True}


def trained(*, first=(), without="", **settings):
    """A byte-level BPE of 500 ids; `first` are special tokens with the first ids, `without` bytes that have none."""
    tokenizer = HuggingFaceTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=list(first),
        initial_alphabet=[c for c in ALPHABET if c not in without],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    return tokenizer


def split_by(name):
    split = pre_tokenizers.Split(Regex(PATTERNS[name].expression), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    tokenizer = trained(post_processor=processors.ByteLevel(trim_offsets=False))
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True)])
    return tokenizer


def gpt_neox():
    """Special tokens first, NFC, and runs of blanks that count in any text."""
    tokenizer = trained(
        first=["<|endoftext|>", "<|padding|>"],
        without=NEVER_IN_TEXT,
        normalizer=normalizers.NFC(),
        post_processor=processors.ByteLevel(**BYTE_LEVEL),
    )
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    tokenizer.add_tokens([AddedToken("e\u0301t", normalized=True), AddedToken("e\u0301n", normalized=False)])
    return tokenizer


def llama3():
    """Whole words first, a beginning of text before every text."""
    tokenizer = trained(pre_tokenizer=split_by("llama3"))
    tokenizer.model.ignore_merges = True
    names = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        *(f"<|reserved_special_token_{i}|>" for i in range(8)),
        "<|eot_id|>",
    ]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    begin = "<|begin_of_text|>"
    template = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return tokenizer


def qwen2():
    """NFC, and added tokens among the special ones that count in any text."""
    tokenizer = trained(
        pre_tokenizer=split_by("qwen2"),
        normalizer=normalizers.NFC(),
        post_processor=processors.ByteLevel(trim_offsets=False),
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<|endoftext|>", "<|im_start|>")])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("<tool_call>", "</tool_call>")])
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", normalized=False)])
    return tokenizer


def smollm2():
    """Special tokens first, digits one by one, and bytes of text without an id, which are left out."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    return trained(
        first=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>"],
        without=NEVER_IN_TEXT | set("ñò"),
        pre_tokenizer=pre_tokenizers.Sequence([digits, words]),
    )


def phi4():
    """Names that swallow the white space beside them, or count only as words of their own."""
    tokenizer = trained(pre_tokenizer=split_by("cl100k"), normalizer=normalizers.NFC())
    tokenizer.add_special_tokens(
        [
            AddedToken("<|endoftext|>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("<|im_end|>", rstrip=True, normalized=False),
            AddedToken("<mask>", lstrip=True, normalized=False),
        ]
    )
    tokenizer.add_tokens([AddedToken("word", single_word=True), AddedToken("\u1eaf;", lstrip=True, rstrip=True)])
    return tokenizer


def o200k_with_end():
    """Tokens on both sides, as some GPT-2 files have them."""
    tokenizer = trained(first=["<s>", "</s>"], pre_tokenizer=split_by("o200k"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


THEIRS = {make.__name__: make() for make in (gpt2, gpt_neox, llama3, qwen2, smollm2, phi4, o200k_with_end)}
PATTERN = {"gpt_neox": "gpt2", "phi4": "cl100k", "smollm2": "smollm", "o200k_with_end": "o200k"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Each kind as we read it: from their file, from our directory, and from our tokenizer.json."""
    loaded = {}
    for name, theirs in THEIRS.items():
        folder = tmp_path_factory.mktemp(name)
        theirs.save(str(folder / "tokenizer.json"))
        read = Tokenizer.load(folder)
        read.save(folder / "ours")
        (folder / "export.json").write_text(read.to_hugging_face(), encoding="utf-8")
        loaded[name] = [read, Tokenizer.load(folder / "ours"), Tokenizer.load(folder / "export.json")]
    return loaded


@pytest.fixture(scope="module")
def exported(ours):
    """Each kind as they read it from our tokenizer.json."""
    return {name: HuggingFaceTokenizer.from_str(loaded[0].to_hugging_face()) for name, loaded in ours.items()}


def texts(name):
    """Strange text full of the names of this kind's tokens, and of what becomes one by NFC."""
    names = [token.content for token in THEIRS[name].get_added_tokens_decoder().values()]
    fragments = [
        *names,
        "word",
        "word\u0301",
        "_word ",
        "ắ;",
        "\u3000 ",
        "\x1c",
        "\u200d",
        "\xe9t",
        "e\u0301",
        "<|im_end|>\u0338",
        "   ",
        " " * 30,
        "\u037e",
        "\U00042000",
        "12 345",
    ]
    return st.lists(st.one_of(st.sampled_from(fragments), strange_text), max_size=8).map("".join)


def same_ids(name, ours, text):
    theirs = THEIRS[name]
    ordinary = theirs.encode(text, add_special_tokens=False).ids
    for tokenizer in ours[name]:
        assert tokenizer.encode(text, allowed_special="all") == ordinary
    read = ours[name][0]
    assert read.encode(text, allowed_special="all", template=True) == theirs.encode(text).ids
    theirs.encode_special_tokens = True  # then they count only the added tokens that are not special
    try:
        ordinary = theirs.encode(text, add_special_tokens=False).ids
    finally:
        theirs.encode_special_tokens = False
    assert read.encode(text) == read.encode_bytes(text.encode()) == ordinary
    assert read.encode_batch([b"", text.encode()])[0].tolist() == ordinary


@pytest.mark.parametrize("name", THEIRS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_ids_are_theirs(name, ours, data):
    same_ids(name, ours, data.draw(texts(name)))


@pytest.mark.medium
@pytest.mark.parametrize("name", THEIRS)
@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_ids_are_theirs_for_many_texts(name, ours, data):
    same_ids(name, ours, data.draw(texts(name)))


@pytest.mark.medium
@pytest.mark.parametrize("name", THEIRS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_we_write_gives_them_the_same_ids(name, exported, data):
    text = data.draw(texts(name))
    assert exported[name].encode(text).ids == THEIRS[name].encode(text).ids


@pytest.mark.parametrize("name", THEIRS)
def test_nothing_is_lost_on_the_way(name, ours):
    theirs, (read, *others) = THEIRS[name], ours[name]
    assert {tokenizer.fingerprint for tokenizer in others} == {read.fingerprint}
    assert read.scheme.pattern == PATTERN.get(name, name)
    added = {token.content: i for i, token in theirs.get_added_tokens_decoder().items() if not token.special}
    special = {token.content: i for i, token in theirs.get_added_tokens_decoder().items() if token.special}
    assert [(t.special_tokens, t.added_tokens) for t in ours[name]] == [(special, added)] * 3
    assert read.vocab_size == theirs.get_vocab_size()
    written = HuggingFaceTokenizer.from_str(read.to_hugging_face())
    assert {name: written.token_to_id(name) for name in {**added, **special}} == {**added, **special}
    assert written.get_vocab() == theirs.get_vocab()


def test_templates(ours):
    llama3, both_sides = ours["llama3"][1], ours["o200k_with_end"][2]
    assert llama3.template == (("<|begin_of_text|>",), ())
    assert llama3.encode("", template=True) == [llama3.special_tokens["<|begin_of_text|>"]]
    assert both_sides.template == (("<s>",), ("</s>",))
    assert both_sides.encode("<s>", template=True)[0] == 0
    assert both_sides.encode("x") == both_sides.encode("x", template=True)[1:-1]
    assert not any(ours["qwen2"][0].template)


def test_bytes_without_ids(ours):
    assert ours["smollm2"][1].scheme.drops_bytes
    assert not ours["gpt_neox"][1].scheme.drops_bytes
    with pytest.raises(TokenizerError, match="bytes of text have no id"):
        ours["smollm2"][0].to_gpt2()
    with pytest.raises(TokenizerError, match="the byte 0xc0 has no id"):
        ours["smollm2"][0].to_tiktoken()


def test_end_of_text_by_its_names(ours):
    for name, end in (("gpt2", "<|endoftext|>"), ("smollm2", "<|endoftext|>"), ("llama3", "<|end_of_text|>")):
        assert ours[name][0].end_of_text_id == ours[name][0].special_tokens[end]
