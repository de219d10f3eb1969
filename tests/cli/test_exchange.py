"""`hornbook export` and `hornbook import`: what they print, write and refuse."""

import json

import pytest

from hornbook import api
from hornbook.checkpoint.load import load_checkpoint
from hornbook.cli.main import main
from hornbook.interop.gguf_file import read_gguf
from hornbook.interop.gguf_tokenizer import tokenizer_from_fields
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_checkpoint import save, tiny_tokenizer
from tiny_run import make_run


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch):
    """It takes five seconds to import; tests/interop compare with it."""
    monkeypatch.setattr("hornbook.interop.hf_check.importlib.util.find_spec", lambda name: None)


def test_a_run_goes_out_and_comes_back(tmp_path, capsys):
    checkpoint = make_run(tmp_path)
    capsys.readouterr()
    assert main(["export", "hf", str(checkpoint), str(tmp_path / "out")]) == 0
    (told,) = events(capsys)
    assert (told["event"], told["form"], told["layout"], told["checked_by"]) == ("export", "hf", "llama", "hornbook")
    assert told["largest_difference"] == 0.0
    assert main(["import", "hf", str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    (told,) = events(capsys)
    assert (told["event"], told["notes"]) == ("import", [])
    before, after = api.load(checkpoint), api.load(tmp_path / "back")
    assert told["tokenizer_ids"] == before.tokenizer.vocab_size
    weights = after.model.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in before.model.state_dict().items())


def test_nothing_is_written_over(tmp_path, capsys):
    checkpoint = save(tmp_path, 3)
    assert main(["import", "hf", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "nowhere: no such directory; expected one with config.json" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    assert main(["export", "hf", str(checkpoint), str(tmp_path / "out")]) == 2
    assert "out: exists already" in capsys.readouterr().err
    whole, mine = save(tmp_path / "whole", 3, tokenizer=tiny_tokenizer()), tmp_path / "tokenizer.json"
    mine.write_text("mine")
    assert main(["export", "tokenizer", str(whole), str(mine)]) == 2
    assert "tokenizer.json: exists already" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_gguf_file_goes_out_and_comes_back(tmp_path, capsys):
    checkpoint = save(tmp_path, 3)
    assert main(["export", "gguf", str(checkpoint), str(tmp_path / "model.gguf")]) == 0
    (told,) = events(capsys)
    assert (told["event"], told["form"], told["architecture"], told["error"]) == ("export", "gguf", "llama", 0.0)
    assert main(["import", "gguf", str(tmp_path / "model.gguf"), str(tmp_path / "back")]) == 0
    (told,) = events(capsys)
    assert (told["event"], told["vocab_size"], told["tokenizer_ids"]) == ("import", 260, None)
    before, after = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "back")
    assert all(tensor.equal(after.weights[name]) for name, tensor in before.weights.items())


@pytest.mark.parametrize("name", ["tokenizer.json", "ranks.tiktoken", "vocabulary.gguf"])
def test_the_tokenizer_of_a_checkpoint_goes_out(name, tmp_path, capsys):
    checkpoint = save(tmp_path, 3, tokenizer=tiny_tokenizer())
    assert main(["export", "tokenizer", str(checkpoint), str(tmp_path / name)]) == 0
    (told,) = events(capsys)
    assert (told["event"], told["vocab_size"]) == ("export", tiny_tokenizer().vocab_size)
    match name:
        case "tokenizer.json":
            back = Tokenizer.load(tmp_path / name)
        case "ranks.tiktoken":
            special = tiny_tokenizer().special_tokens
            back = Tokenizer.from_tiktoken(tmp_path / name, pattern="gpt2", special_tokens=special)
        case _:
            back, notes = tokenizer_from_fields(read_gguf(tmp_path / name).metadata, name)
            assert notes == []
    assert back.encode("to be or not") == tiny_tokenizer().encode("to be or not")
    assert back.special_tokens == tiny_tokenizer().special_tokens


def test_a_checkpoint_without_tokenizer_has_none_to_export(tmp_path, capsys):
    assert main(["export", "tokenizer", str(save(tmp_path, 3)), str(tmp_path / "tokenizer.json")]) == 2
    assert "holds no tokenizer/" in capsys.readouterr().err
