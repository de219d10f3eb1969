"""`hornbook tokenizer encode --out` and `warmup`."""

import json

import numpy as np
import pytest

from hornbook.cli.main import main
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer import compiled
from hornbook.tokenizer.tokenizer import Tokenizer

TEXT = "The cat sat on the mat.<|endoftext|>Naïve, the mat!\n" * 20
TOKENIZER = Tokenizer.train([TEXT], TokenizerConfig(vocab_size=300))


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs the verb in a folder with a tokenizer and a text; gives (status, JSON lines, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HORNBOOK_KERNELS", "off")
    TOKENIZER.save(tmp_path / "small")
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")

    def run(*arguments):
        status = main(["tokenizer", *arguments])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


@pytest.mark.parametrize("special", [(), ("--special", "all"), ("--special", "<|endoftext|>", "--threads", "2")])
def test_a_file_of_ids(run, special):
    status, lines, _ = run("encode", "small", "text", "--out", "ids.bin", *special)
    ids = np.fromfile("ids.bin", np.uint16).tolist()
    assert status == 0
    assert ids == TOKENIZER.encode(TEXT, allowed_special=["<|endoftext|>"] if special else ())
    told = lines[-1]
    assert (told["event"], told["n_tokens"], told["n_bytes"]) == ("encode", len(ids), len(TEXT.encode()))
    assert (told["dtype"], told["source"], told["out"]) == ("uint16", "text", "ids.bin")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "text", "--out", "ids"], "expected exactly one FILE, and no --text"),
        (["text", "--text", "the", "--out", "ids"], "expected exactly one FILE, and no --text"),
        (["--text", "the", "--threads", "2"], "--threads and --replace are for a file of ids; give --out too"),
        (["nothing", "--out", "ids"], "nothing: no such text file"),
        (["text", "--out", "no/ids"], "no/ids"),
        (["broken", "--out", "ids"], "broken: invalid UTF-8: byte 0xff at byte offset 4"),
    ],
)
def test_what_cannot_be(run, tmp_path, arguments, message):
    (tmp_path / "broken").write_bytes(b"the \xff cat")
    status, _, err = run("encode", "small", *arguments)
    assert status == 2
    assert message in err
    assert not (tmp_path / "ids").exists()


def test_broken_text_can_be_replaced(run, tmp_path):
    (tmp_path / "broken").write_bytes(b"the \xff cat")
    assert run("encode", "small", "broken", "--out", "ids", "--replace")[0] == 0
    assert TOKENIZER.decode(np.fromfile("ids", np.uint16)) == "the \ufffd cat"


def test_warming_up(run, monkeypatch):
    warmed = []
    monkeypatch.setattr(compiled, "warm_up", warmed.append)
    monkeypatch.setattr(compiled, "kept_in", lambda: "here")
    status, lines, _ = run("warmup")
    assert (status, warmed) == (0, ["train", "encode"])
    assert [(line["event"], line["task"], line["directory"]) for line in lines] == [
        ("warmup", "train", "here"),
        ("warmup", "encode", "here"),
    ]
    monkeypatch.setattr(compiled, "warm_up", lambda _: "numba is missing")
    status, _, err = run("warmup")
    assert (status, "kernels cannot be used: numba is missing" in err) == (2, True)
