"""`hornbook tokenizer import` and `export`, in this process, without a network."""

import hashlib
import io
import json
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub
import pytest

from data_paths import needs
from hornbook.cli.main import main
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.tokenizer import Tokenizer

CL100K = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
TOKENIZER = Tokenizer.train(["the cat sat on the mat"] * 3, TokenizerConfig(vocab_size=290))


@pytest.fixture
def run(capsysbinary):
    """Runs the verb; gives (status, the last JSON line or None, stderr)."""

    def run(*arguments):
        status = main(["tokenizer", *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        lines = [json.loads(line) for line in out.splitlines()]
        return status, lines[-1] if lines else None, err.decode()

    return run


@pytest.fixture
def saved(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Nothing is cached and nobody answers; lists what was asked for."""
    asked = []

    def refuse(url, timeout):
        asked.append((url, timeout))
        raise urllib.error.URLError("no network")

    def unknown(_, repository, timeout):
        asked.append((repository, timeout))
        raise ConnectionError("no network")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no-cache"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unknown)
    return asked


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("gpt2", "openai-community/gpt2", "pass them: hornbook tokenizer import vocab.json OUT --merges merges.txt"),
        (
            "cl100k_base",
            CL100K,
            "Then fetch that file on another machine and pass it: hornbook tokenizer import cl100k",
        ),
        ("someone/small-model", "someone/small-model", "cannot be read from the hub (no network). Check the name"),
    ],
)
def test_offline_is_one_message_that_says_what_to_do(run, offline, tmp_path, name, asked, message):
    status, event, err = run("import", name, tmp_path / "out")
    assert (status, event) == (2, None)
    assert message in err
    assert err.startswith(f"hornbook tokenizer: {name if '/' in name or '_' in name else asked}: ")
    assert "Traceback" not in err
    assert [what for what, _ in offline] == [asked]
    assert not (tmp_path / "out").exists()


def test_the_hub_without_its_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    status, _, err = run("import", "owner/name", tmp_path / "out")
    assert status == 2
    assert "pip install 'hornbook[hf]'" in err


def test_a_repository_of_the_hub(run, offline, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text(TOKENIZER.to_hugging_face(), encoding="utf-8")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    fetched = []

    def download(*what):
        fetched.append(what)
        return str(tmp_path / "tokenizer.json")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    status, event, _ = run("import", "owner/name", tmp_path / "out")
    assert (status, event["fingerprint"]) == (0, TOKENIZER.fingerprint)
    run("import", "gpt2", tmp_path / "gpt2")
    assert fetched == [("owner/name", "tokenizer.json"), ("openai-community/gpt2", "tokenizer.json")]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "tokenizer.json"))
    assert run("import", "owner/name", tmp_path / "again")[0] == 0
    assert len(fetched) == 2


def test_a_path_goes_before_a_name(run, offline, saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    saved.rename(saved.parent / "gpt2")
    assert run("import", "gpt2", "out")[1]["fingerprint"] == TOKENIZER.fingerprint
    assert offline == []


@pytest.mark.medium
def test_ranks_from_tiktokens_cache_and_from_its_server(run, offline, tmp_path, monkeypatch):
    data = needs("tokenizer/cl100k_base.tiktoken").read_bytes()
    cached = tmp_path / "cache" / hashlib.sha1(CL100K.encode()).hexdigest()
    cached.parent.mkdir()
    cached.write_bytes(data)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cached.parent))
    status, event, _ = run("import", "cl100k_base", tmp_path / "a")
    assert (status, event["vocab_size"], offline) == (0, 100277, [])
    assert event["special_tokens"]["<|endofprompt|>"] == 100276
    cached.write_bytes(data[:-1])  # damaged, so as good as absent
    assert run("import", "cl100k_base", tmp_path / "b")[0] == 2
    assert len(offline) == 1
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(data))
    assert run("import", "cl100k_base", tmp_path / "b")[1]["fingerprint"] == event["fingerprint"]
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"<html>"))
    assert "is damaged (its SHA-256 is wrong)" in run("import", "cl100k_base", tmp_path / "c")[2]


@pytest.mark.medium
def test_gpt2_from_tiktokens_cache(run, offline, tmp_path, monkeypatch):
    """The two files in OpenAI's own form; their digests are known, so ours stand in under digests of their own."""
    from hornbook.tokenizer import published

    folder, cache = needs("tokenizer/gpt2"), tmp_path / "cache"
    cache.mkdir()
    for constant, file in (("_GPT2_VOCAB", "gpt2_vocab.json"), ("_GPT2_MERGES", "gpt2_merges.txt")):
        data, url = (folder / file).read_bytes(), getattr(published, constant).url
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(data)
        monkeypatch.setattr(published, constant, published._Published(url, hashlib.sha256(data).hexdigest()))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    status, event, _ = run("import", "gpt2", tmp_path / "out")
    assert (status, event["vocab_size"], offline) == (0, 50257, [])
    assert event["special_tokens"] == {"<|endoftext|>": 50256}


def test_export_and_import_in_every_form(run, saved, tmp_path):
    special = [argument for name in TOKENIZER.special_tokens for argument in ("--special", name)]
    _, event, _ = run("export", saved, tmp_path / "tokenizer.json")
    assert (event["format"], event["not_held"]) == ("tokenizer.json", {})
    assert run("import", tmp_path / "tokenizer.json", tmp_path / "a")[1]["fingerprint"] == TOKENIZER.fingerprint
    _, event, _ = run("export", saved, tmp_path / "gpt2-form", "--format", "gpt2")
    assert event["not_held"] == {"pattern": "gpt2"}
    assert sorted(p.name for p in (tmp_path / "gpt2-form").iterdir()) == [
        "added_tokens.json",
        "merges.txt",
        "vocab.json",
    ]
    assert run("import", tmp_path / "gpt2-form", tmp_path / "b")[1]["fingerprint"] == TOKENIZER.fingerprint
    _, event, _ = run("export", saved, tmp_path / "x.tiktoken")
    assert (event["format"], event["not_held"]["special_tokens"]) == ("tiktoken", TOKENIZER.special_tokens)
    assert run("import", tmp_path / "x.tiktoken", tmp_path / "c", "--pattern", "gpt2", *special)[0] == 0
    back = Tokenizer.load(tmp_path / "c")
    assert back.special_tokens == TOKENIZER.special_tokens
    assert back.encode("the mat") == TOKENIZER.encode("the mat")
    status, _, err = run("export", saved, tmp_path / "gpt2-form", "--format", "gpt2")
    assert (status, "exists already" in err) == (2, True)


def test_special_tokens_with_ids(run, tmp_path):
    ranks = Tokenizer(BytePairScheme([bytes([byte]) for byte in range(256)], None), [])
    (tmp_path / "x.tiktoken").write_text(ranks.to_tiktoken(), encoding="utf-8")
    arguments = ["import", tmp_path / "x.tiktoken", tmp_path / "out", "--pattern", "cl100k"]
    status, event, _ = run(*arguments, "--special", "<|a=b|>=300", "--special", "<|c|>=256")
    assert (status, event["special_tokens"]) == (0, {"<|c|>": 256, "<|a=b|>": 300})
    status, _, err = run(*arguments, "--special", "<|a|>=300", "--special", "<|c|>")
    assert (status, "expected NAME=ID for all of them or for none" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["import", "{tokenizer}", "{out}", "--pattern", "cl100k"],
            "--pattern and --special are for a vocab.json with",
        ),
        (["import", "{tokenizer}", "{out}", "--special", "<|x|>"], "other sources say themselves what these are"),
        (["import", "{out}.tiktoken", "{out}"], "does not say how text was split"),
        (["import", "{out}.tiktoken", "{out}", "--pattern", "gpt2"], "no such file; expected a .tiktoken file"),
        (["import", "nowhere", "{out}"], "nowhere: no such tokenizer"),
        (["export", "{characters}", "{out}.json"], "tokenizer.json holds byte-pair tokenizers only"),
        (["export", "{characters}", "{out}.tiktoken"], ".tiktoken holds byte-pair tokenizers only"),
        (["export", "{characters}", "{out}", "--format", "gpt2"], "vocab.json with merges.txt holds byte-pair"),
    ],
)
def test_errors_are_one_message(run, saved, tmp_path, arguments, message):
    Tokenizer.train(["abc"], TokenizerConfig(kind="characters")).save(tmp_path / "characters")
    places = {"tokenizer": saved, "out": tmp_path / "out", "characters": tmp_path / "characters"}
    status, event, err = run(*(argument.format(**places) for argument in arguments))
    assert (status, event) == (2, None)
    assert message in err
    assert "Traceback" not in err
    assert not Path(tmp_path / "out").exists()
