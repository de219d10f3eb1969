import json

import pytest
from hypothesis import given, settings
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

TEXTS = ["The cat sat on 12345 mats; isn't it?\r\n", "naïve 你好 — e\u0301 😀"] * 4


def trained(**settings):
    return Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=320, **settings))


def theirs(tokenizer, *, pattern=None, ignore_merges=False, normalizer=None):
    """A tokenizer of the library `tokenizers` built by hand from our vocabulary."""
    written = [printable(token) for token in tokenizer.scheme.tokens]
    merges = [(written[left], written[right]) for left, right in tokenizer.scheme.merges]
    other = HuggingFaceTokenizer(
        models.BPE(vocab={token: i for i, token in enumerate(written)}, merges=merges, ignore_merges=ignore_merges)
    )
    by_regex = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(PATTERNS[pattern].expression), behavior="isolated")
        by_regex = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    other.pre_tokenizer = by_regex
    other.decoder = decoders.ByteLevel()
    other.normalizer = normalizer
    other.add_special_tokens([AddedToken(name, normalized=False) for name in tokenizer.special_tokens])
    return other


EXPORTED = {name: trained(pattern=name) for name in PATTERNS}
LOADED_BY_THEM = {name: HuggingFaceTokenizer.from_str(t.to_hugging_face()) for name, t in EXPORTED.items()}


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=40, deadline=None)
@given(text=strange_text)
def test_what_we_write_gives_them_the_same_ids(name, text):
    ids = EXPORTED[name].encode(text, allowed_special="all")
    assert LOADED_BY_THEM[name].encode(text).ids == ids
    assert LOADED_BY_THEM[name].decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", PATTERNS)
def test_what_we_write_we_read(name, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(EXPORTED[name].to_hugging_face(), encoding="utf-8")
    assert Tokenizer.load(path).fingerprint == EXPORTED[name].fingerprint
    assert Tokenizer.load(tmp_path).fingerprint == EXPORTED[name].fingerprint
    assert Tokenizer.load(path).scheme.pattern == name


@pytest.mark.medium
def test_gpt2_whole(gpt2):
    other = HuggingFaceTokenizer.from_str(gpt2.to_hugging_face())
    lines = needs("tokenizer/gpt2/reference_encodings.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        assert other.encode(record["text"]).ids == record["ids_special"]


THEIRS = {
    "gpt2": theirs(trained()),
    "llama3": theirs(trained(pattern="llama3"), pattern="llama3", ignore_merges=True),
    "qwen2": theirs(trained(pattern="qwen2"), pattern="qwen2", normalizer=normalizers.NFC()),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    loaded = {}
    for name, other in THEIRS.items():
        path = tmp_path_factory.mktemp(name) / "tokenizer.json"
        other.save(str(path))
        loaded[name] = Tokenizer.load(path)
    return loaded


@pytest.mark.parametrize("name", THEIRS)
@settings(max_examples=40, deadline=None)
@given(text=strange_text)
def test_what_they_write_gives_us_the_same_ids(name, ours, text):
    assert ours[name].encode(text, allowed_special="all") == THEIRS[name].encode(text).ids


def test_settings_of_what_they_write(ours, tmp_path):
    assert [ours[name].scheme.pattern for name in THEIRS] == list(THEIRS)
    assert ours["llama3"].scheme.whole_words_first
    assert ours["qwen2"].scheme.normalizer == "NFC"
    ours["qwen2"].save(tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == ours["qwen2"].fingerprint


def test_whole_words_first_matters_for_tokens_that_merging_cannot_reach():
    """(b, c) merges before (a, b), so "abc" is never made from its bytes."""
    scheme = trained(special_tokens="none").scheme
    written = [*map(printable, scheme.tokens[:256]), "bc", "ab", "abc"]
    vocabulary = {token: i for i, token in enumerate(written)}
    for ignore_merges, expected in ((True, [258]), (False, [vocabulary["a"], 256])):
        model = models.BPE(vocab=vocabulary, merges=[("b", "c"), ("a", "b"), ("ab", "c")], ignore_merges=ignore_merges)
        other = HuggingFaceTokenizer(model)
        other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        whole = json.loads(other.to_str())
        assert load(whole).encode("abc") == other.encode("abc").ids == expected


def load(whole):
    from hornbook.tokenizer import hugging_face

    return Tokenizer(*hugging_face.parse(json.dumps(whole), "tokenizer.json"))


def changed(*path, to):
    """A good tokenizer.json with one part replaced."""
    whole = json.loads(EXPORTED["gpt2"].to_hugging_face())
    part = whole
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = to
    return whole


def test_a_template_of_no_ids():
    for ids in ([[299]], ["<|endoftext|>"], [None], [299.0]):
        tokens = {"a": {"id": "a", "ids": ids, "tokens": ["a"]}}
        template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}, {"Sequence": {"id": "A"}}]}
        with pytest.raises(TokenizerError, match=r"^tokenizer.json: unsupported post_processor TemplateProcessing"):
            load(changed("post_processor", to={**template, "special_tokens": tokens}))


BOS = {"type": "TemplateProcessing", "single": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": []}}}


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (["model", "type"], "Unigram", "unsupported model.type 'Unigram'; hornbook reads byte-level BPE only"),
        (["model", "type"], "WordPiece", "unsupported model.type 'WordPiece'"),
        (["model", "dropout"], 0.1, "unsupported model.dropout = 0.1"),
        (["model", "byte_fallback"], True, "unsupported model.byte_fallback = True"),
        (["model", "end_of_word_suffix"], "</w>", "unsupported model.end_of_word_suffix"),
        (["model", "merges"], None, "model.merges is None; expected a JSON list"),
        (["model", "merges"], ["a b c"], "model.merges, entry 1: got 'a b c'; expected two tokens"),
        (["model", "merges"], [["a", "zzzz"]], "entry 1: the merge 'a' 'zzzz' needs the token 'zzzz'"),
        (["model", "merges"], [5], "entry 1: got 5; expected two tokens"),
        (["model", "vocab"], [], r"model.vocab is \[\]; expected a JSON object"),
        (["model"], None, "model is None; expected a JSON object"),
        (["normalizer"], {"type": "NFKC"}, "unsupported normalizer NFKC; hornbook reads none or NFC"),
        (
            ["normalizer"],
            {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace"}]},
            r"unsupported normalizer Prepend \+ Replace",
        ),
        (["pre_tokenizer", "add_prefix_space"], True, "unsupported pre_tokenizer with add_prefix_space = true"),
        (["pre_tokenizer", "use_regex"], False, "unsupported pre_tokenizer ByteLevel"),
        (["pre_tokenizer"], {"type": "Metaspace"}, "unsupported pre_tokenizer Metaspace"),
        (["pre_tokenizer"], {"type": "Sequence"}, "pre_tokenizer.pretokenizers is None; expected a JSON list"),
        (["pre_tokenizer"], None, "unsupported pre_tokenizer null"),
        (["post_processor"], BOS, "unsupported post_processor TemplateProcessing; hornbook reads ByteLevel, and one"),
        (["decoder"], {"type": "Metaspace"}, "unsupported decoder Metaspace"),
        (
            ["added_tokens", 0, "id"],
            0,
            r"added_tokens: '<\|endoftext\|>' has the id 0; expected 299, which model.vocab",
        ),
        (["added_tokens", 0, "id"], 999, r"added_tokens: '<\|endoftext\|>' has the id 999; expected 299"),
        (["added_tokens", 1, "content"], "<|endoftext|>", "stands there twice"),
        (["added_tokens", 1], 7, "expected an object with content and id"),
        (["added_tokens"], {"<s>": 1}, "added_tokens is {'<s>': 1}; expected a JSON list"),
        (
            ["added_tokens", 1, "content"],
            "<\ud800>",
            r"added_tokens: special tokens: the name '<\\ud800>' holds a lone sur",
        ),
    ],
)
def test_unsupported_and_damaged_parts_are_named(path, to, message):
    with pytest.raises(TokenizerError, match=f"^tokenizer.json: .*{message}"):
        load(changed(*path, to=to))


@pytest.mark.parametrize(
    "split",
    [
        {"pattern": {"String": "at. "}, "behavior": "Isolated", "invert": False},
        {"pattern": {"Regex": r"\d|\s+"}, "behavior": "Isolated", "invert": False},
        {"pattern": {"Regex": PATTERNS["llama3"].expression}, "behavior": "Removed", "invert": True},
    ],
)
def test_ways_to_split(split):
    """The last keeps what matches, as older files of the Llama 3 kind have it; that is every text."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    steps = [{"type": "Split", **split}, byte_level]
    whole = changed("pre_tokenizer", to={"type": "Sequence", "pretokenizers": steps})
    ours, theirs = load(whole), HuggingFaceTokenizer.from_str(json.dumps(whole))
    for text in [*TEXTS, "cat. cat.  sat.at. at", "a1b22  c", "\r\n x"]:
        assert ours.encode(text, allowed_special="all") == theirs.encode(text).ids
    back = load(json.loads(ours.to_hugging_face()))
    assert back.fingerprint == ours.fingerprint


@pytest.mark.parametrize(
    ("behavior", "invert"), [("Removed", False), ("Isolated", True), ("MergedWithNext", False), ("Contiguous", False)]
)
def test_ways_to_split_that_are_not_ours(behavior, invert):
    split = {"type": "Split", "pattern": {"Regex": " "}, "behavior": behavior, "invert": invert}
    steps = [split, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]
    with pytest.raises(
        TokenizerError, match=rf"unsupported pre_tokenizer Split \(behavior = {behavior}, invert = {invert}"
    ):
        load(changed("pre_tokenizer", to={"type": "Sequence", "pretokenizers": steps}))


@pytest.mark.parametrize(
    "single",
    [
        [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        [{"Sequence": {"id": "B", "type_id": 0}}],
        [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        [{"SpecialToken": {"id": "<y>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    ],
)
def test_templates_that_are_not_ours(single):
    template = {"type": "TemplateProcessing", "single": single, "special_tokens": {"<x>": {"id": "<x>", "ids": [0]}}}
    with pytest.raises(TokenizerError, match="unsupported post_processor TemplateProcessing"):
        load(changed("post_processor", to=template))


def test_an_unknown_token_instead_of_missing_bytes():
    whole = json.loads(EXPORTED["gpt2"].to_hugging_face())
    whole["model"]["unk_token"] = "<|pad|>"
    assert load(whole).fingerprint == EXPORTED["gpt2"].fingerprint  # never needed
    del whole["model"]["vocab"][printable(b"\xf1")]
    whole["added_tokens"] = []
    with pytest.raises(TokenizerError, match=r"unsupported model.unk_token = '<\|pad\|>', where bytes are missing"):
        load(whole)


def test_post_processor_that_adds_nothing_is_fine():
    whole = changed("post_processor", to={"type": "Sequence", "processors": [{"type": "ByteLevel"}]})
    assert load(whole).fingerprint == EXPORTED["gpt2"].fingerprint


def test_a_special_token_named_like_an_ordinary_one_cannot_be_written():
    tokenizer = trained(extra_special_tokens=("a",))
    with pytest.raises(TokenizerError, match="cannot hold the special token 'a' beside an ordinary token"):
        tokenizer.to_hugging_face()
