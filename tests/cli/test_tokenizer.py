"""`hornbook tokenizer`, in this process, on a tiny text."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from hornbook.cli.main import main
from hornbook.cli.tokenizer_train import TrainBars
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tokenizer.train import TrainProgress
from tiny_project import load, text, write_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Configuration and directory of a tokenizer that the verb itself trained."""
    config = write_project(tmp_path_factory.mktemp("tokenizer"))
    assert main(["tokenizer", "train", str(config)]) == 0
    return config, config.parent / "tokenizer"


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Runs the verb; gives (status, JSON lines, stderr)."""

    def run(*arguments, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        status = main(["tokenizer", *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err.decode()

    return run


def test_train_writes_and_tells(tmp_path, run):
    config = write_project(tmp_path)
    status, events, _ = run("train", config, "--set", 'tracking.console="auto"', "--set", "data.source.paths=[]")
    assert (status, events) == (2, [])
    status, events, _ = run("train", config, "--set", 'tracking.console="auto"')
    assert status == 0
    assert {event["task"] for event in events[:-1]} == {"tokenizer count", "tokenizer merge"}
    assert events[-1]["event"] == "tokenizer"
    assert (events[-1]["vocab_size"], events[-1]["documents"]) == (300, 400)
    assert 1 < events[-1]["bytes_per_token"] < 5
    assert Tokenizer.load(tmp_path / "tokenizer").fingerprint == events[-1]["fingerprint"]


def test_train_equals_the_python_face(trained):
    config, path = trained
    expected = Tokenizer.train(text().splitlines(), load(config).tokenizer)
    assert Tokenizer.load(path).fingerprint == expected.fingerprint


def test_train_replaces_another_tokenizer_only_by_force(tmp_path, run):
    config = write_project(tmp_path)
    assert run("train", config)[0] == 0
    assert run("train", config)[0] == 0  # the same one
    status, _, err = run("train", config, "--set", "tokenizer.vocab_size=280")
    assert status == 2
    assert "holds another tokenizer already" in err
    assert "--force" in err
    assert run("train", config, "--set", "tokenizer.vocab_size=280", "--force")[0] == 0
    assert Tokenizer.load(tmp_path / "tokenizer").vocab_size == 280


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("vocab_size=280", r"another tokenizer already (ids: 300 there, 280 now)"),
        ('kind="characters"', r"(kind: bpe there, characters now)"),
        ('pattern="cl100k"', r"(pattern: gpt2 there, cl100k now)"),
        ('special_tokens="pretraining"', r"<|pad|>, <|mask|> now)"),
        ("path='.'", "exists and is not a tokenizer"),
        ("path='damaged'", "another tokenizer already, which cannot be read (damaged"),
    ],
)
def test_what_saving_would_refuse_is_said_before_the_work(trained, run, tmp_path, monkeypatch, setting, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "vocab.json").write_text("{")

    def train(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(Tokenizer, "train", train)
    status, _, err = run("train", trained[0], "--set", f"tokenizer.{setting}")
    assert status == 2
    assert message in err
    assert "choose another directory" in err


def test_train_says_when_the_text_is_too_small(tmp_path, run):
    config = write_project(tmp_path)
    _, events, _ = run("train", config, "--set", 'tracking.console="json"', "--set", "tokenizer.vocab_size=5000")
    assert events[-1]["vocab_size"] < events[-1]["vocab_size_asked"] == 5000


def test_print_config(trained, capsys):
    assert main(["tokenizer", "train", str(trained[0]), "--print-config=json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokenizer"]["vocab_size"] == 300


def test_encode_text_files_and_stdin(trained, run, tmp_path):
    tokenizer = Tokenizer.load(trained[1])
    path = tmp_path / "a.txt"
    path.write_bytes(b"the cat\r\n")
    _, events, _ = run("encode", trained[1], path, "--text", "a dog<|end|>")
    assert [event["ids"] for event in events] == [tokenizer.encode("a dog<|end|>"), tokenizer.encode("the cat\r\n")]
    assert [event["source"] for event in events] == ["--text", str(path)]
    assert events[1]["n_bytes"] == 9
    _, events, _ = run("encode", trained[1], stdin="naïve".encode())
    assert events[0]["ids"] == tokenizer.encode("naïve")
    _, events, _ = run("encode", trained[1], "--text", "a<|end|>", "--special", "<|end|>")
    assert events[0]["ids"][-1] == tokenizer.special_tokens["<|end|>"]
    _, events, _ = run("encode", trained[1], "--text", "a<|end|>", "--special", "all")
    assert events[0]["n_tokens"] == 2


def test_decode_arguments_lines_and_what_encode_writes(trained, run, tmp_path):
    ids = Tokenizer.load(trained[1]).encode("the 你 cat")
    assert run("decode", trained[1], *ids)[1][0]["text"] == "the 你 cat"
    lines = f"{' '.join(map(str, ids))}\n\n{json.dumps(ids)}\n{json.dumps({'event': 'encode', 'ids': ids})}\n"
    assert [event["text"] for event in run("decode", trained[1], stdin=lines.encode())[1]] == ["the 你 cat"] * 3
    assert run("decode", trained[1], *ids[:3], "--out", tmp_path / "out.txt")[1] == []
    assert (tmp_path / "out.txt").read_bytes() == Tokenizer.load(trained[1]).decode_bytes(ids[:3])


@pytest.mark.parametrize("line", ["one two", "{}", "[1, null]", "{"])
def test_decode_of_no_ids(trained, run, line):
    status, _, err = run("decode", trained[1], stdin=f"1 2\n{line}\n".encode())
    assert status == 2
    assert "stdin line 2: got" in err
    assert "Traceback" not in err


def test_inspect(trained, run):
    _, events, _ = run("inspect", trained[1])
    assert events[0]["special_tokens"]["<|end|>"] == 290
    assert events[0]["vocab_size"] == 300
    _, events, _ = run("inspect", trained[1], "--text", "Xé\n<|end|>", "--special", "all")
    assert [event["text"] for event in events] == ["X", r"\xc3", r"\xa9", r"\n", "<|end|>"]
    assert [event["start"] for event in events] == [0, 1, 2, 3, 4]
    assert [event["special"] for event in events] == [False] * 4 + [True]


def test_export_and_import(trained, run, tmp_path):
    assert run("export", trained[1], tmp_path / "tokenizer.json")[1][0]["vocab_size"] == 300
    _, events, _ = run("import", tmp_path / "tokenizer.json", tmp_path / "back")
    assert events[0]["fingerprint"] == Tokenizer.load(trained[1]).fingerprint
    vocab, merges = trained[1] / "vocab.json", trained[1] / "merges.txt"
    assert run("import", vocab, tmp_path / "gpt2-form", "--merges", merges, "--special", "<|x|>")[0] == 0
    assert Tokenizer.load(tmp_path / "gpt2-form").special_tokens == {"<|x|>": 284}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "{dir}/nowhere", "--text", "x"], "no such tokenizer"),
        (["encode", "{tokenizer}", "{dir}/nowhere.txt"], "nowhere.txt: No such file"),
        (["encode", "{tokenizer}", "--text", "x", "--special", "<|x|>"], "'<|x|>' is no special token"),
        (["decode", "{tokenizer}", "300"], "token id 300: this tokenizer has the ids 0 to 299"),
        (["inspect", "{tokenizer}", "--text", "\ud800"], "lone surrogate"),
    ],
)
def test_errors_are_one_message(trained, run, tmp_path, arguments, message):
    filled = [a.format(dir=tmp_path, tokenizer=trained[1]) for a in arguments]
    status, events, err = run(*filled)
    assert (status, events) == (2, [])
    assert message in err
    assert err.startswith("hornbook tokenizer: ")


def test_invalid_utf8_from_stdin(trained, run):
    status, _, err = run("encode", trained[1], stdin=b"ab\xff")
    assert status == 2
    assert "stdin: invalid UTF-8: byte 0xff at byte offset 2" in err


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_inspect_on_a_terminal_is_coloured(trained):
    main_end, terminal = pty.openpty()
    command = [sys.executable, "-m", "hornbook", "tokenizer", "inspect", str(trained[1]), "--text", "the [cat]\n"]
    subprocess.run(command, stdin=terminal, stdout=terminal, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(main_end, 10_000).decode()
    os.close(main_end)
    assert "\x1b[" in shown
    assert "10 bytes" in shown
    assert '{"event"' not in shown


def test_bars_change_with_the_phase(capsys):
    with TrainBars("json") as bars:
        bars.show(TrainProgress(phase="count", done=10, total=None))
        bars.show(TrainProgress(phase="merge", done=5, total=5))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["task"], line["done"], line["total"]) for line in lines] == [
        ("tokenizer count", 10, None),
        ("tokenizer merge", 5, 5),
    ]
