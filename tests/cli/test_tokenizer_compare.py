"""`hornbook tokenizer compare`: tables, a page and JSON lines for any number of tokenizers."""

import io
import json
import re

import pytest
from rich.console import Console

from hornbook.cli import comparison_view
from hornbook.cli.main import main
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.samples import KINDS, LANGUAGES
from hornbook.tokenizer.tokenizer import Tokenizer
from html_outline import Outline
from tiny_project import text

pytestmark = pytest.mark.medium

CONFIG = TokenizerConfig(vocab_size=300, special_tokens="pretraining")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A directory with the tokenizers small, code and letters."""
    root = tmp_path_factory.mktemp("compare")
    Tokenizer.train([text(50)], CONFIG).save(root / "small")
    Tokenizer.train([KINDS["Python"] * 3], TokenizerConfig(vocab_size=330)).save(root / "code" / "tokenizer")
    Tokenizer.train(["the cat sees"], TokenizerConfig(kind="characters")).save(root / "letters")
    return root


@pytest.fixture
def run(places, capsysbinary, monkeypatch):
    """Runs `compare`; gives (status, JSON lines, stderr)."""
    monkeypatch.chdir(places)
    monkeypatch.setenv(
        "HORNBOOK_KERNELS", "off"
    )  # so little text is not worth loading them, all these runs together are

    def run(*arguments):
        status = main(["tokenizer", "compare", *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err.decode()

    return run


def numbers(events, text):
    """By tokenizer, what was measured on one kind of text."""
    return {e["tokenizer"]: e for e in events if e["event"] == "compare" and e["text"] == text}


def test_json_lines_of_everything(run, places):
    status, events, _ = run("small", "code/tokenizer", "letters", "--text", "the cat sees")
    assert status == 0
    about = {e["name"]: e for e in events if e["event"] == "tokenizer"}
    assert list(about) == ["small", "code", "letters"]
    assert about["small"]["vocab_size"] == 300
    assert about["small"]["digits"] == [1.0, 0.0, 0.0, 0.0]
    small, code = Tokenizer.load(places / "small"), Tokenizer.load(places / "code" / "tokenizer")
    assert about["code"]["only_here"] == len(set(code.scheme.tokens) - set(small.scheme.tokens) - {b" ", b"t"})
    given = numbers(events, "--text")
    assert given["small"]["n_tokens"] == len(small.encode("the cat sees"))
    assert given["small"]["bytes_per_token"] == pytest.approx(12 / given["small"]["n_tokens"], abs=1e-4)
    assert given["small"]["tokens_per_word"] == pytest.approx(given["small"]["n_tokens"] / 3, abs=1e-4)
    assert given["letters"]["n_tokens"] == 12
    assert all(e["comes_back"] for e in given.values())
    assert {e["text"] for e in events if e["event"] == "compare"} == {"--text", *LANGUAGES, *KINDS}
    chinese = numbers(events, "Chinese")
    assert chinese["small"]["tokens_per_word"] is None
    assert chinese["small"]["tokens_per_character"] == pytest.approx(3, abs=0.05)
    assert "has no id" in chinese["letters"]["error"] or "孩" in chinese["letters"]["error"]
    assert chinese["letters"]["bytes_per_token"] is None


def test_unused_tokens_are_counted_on_all_texts(run, places):
    _, events, _ = run("small")
    small = Tokenizer.load(places / "small")
    used = {i for sample in (*LANGUAGES.values(), *KINDS.values()) for i in small.encode(sample)}
    assert events[0]["unused"] == len(small.scheme.tokens) - len(used)


def test_labels_directories_and_what_is_no_text(run, places, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "deep" / "b.py").write_text("y = 22\n")
    (tmp_path / "c.bin").write_bytes(b"\xff\x00")
    (tmp_path / ".hidden").write_text("no")
    _, events, _ = run("mine=small", f"code={tmp_path}", f"code={tmp_path / 'a.py'}", tmp_path / "a.py")
    assert numbers(events, "code")["mine"]["n_bytes"] == 6 + 7 + 6
    assert numbers(events, str(tmp_path / "a.py"))["mine"]["n_bytes"] == 6
    assert [e["message"] for e in events if e["event"] == "skipped"] == [
        f"{tmp_path / 'c.bin'}: invalid UTF-8: byte 0xff at byte offset 0 (invalid start byte); convert the text to "
        "UTF-8, or pass errors='replace' where that is offered"
    ]


def test_the_same_ids_are_said(run, places, tmp_path):
    Tokenizer.load(places / "small").save(tmp_path / "copy")
    _, events, _ = run("small", tmp_path / "copy", "small", "code/tokenizer")
    about = {e["name"]: e["same_ids_as"] for e in events if e["event"] == "tokenizer"}
    assert about == {
        "small": ["copy", "small (2)"],
        "copy": ["small", "small (2)"],
        "small (2)": ["small", "copy"],
        "code": [],
    }


def test_files_of_ranks(run, places, tmp_path):
    import base64

    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    for name in ("r50k_base.tiktoken", "mine.tiktoken"):
        (tmp_path / name).write_text("\n".join([*lines, base64.b64encode(b"th").decode() + " 256"]))
    _, events, _ = run("small", tmp_path / "r50k_base.tiktoken", "--text", "th")
    assert numbers(events, "--text")["r50k_base"]["n_tokens"] == 1
    status, _, err = run(tmp_path / "mine.tiktoken")
    assert status == 2
    assert "pattern" in err
    assert run(tmp_path / "mine.tiktoken", "--pattern", "gpt2")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no tokenizer among these"),
        (["small", "nowhere.txt"], "nowhere.txt: no such file or directory"),
        (["small/vocab.json"], "no tokenizer among these"),
        (["small", "bad.txt"], "bad.txt: invalid UTF-8: byte 0xff at byte offset 3"),
        (["small", "empty"], "empty: no file of UTF-8 text"),
    ],
)
def test_mistakes_are_one_line(run, places, arguments, message):
    (places / "bad.txt").write_bytes(b"abc\xff")
    (places / "empty").mkdir(exist_ok=True)
    status, events, err = run(*arguments)
    assert (status, events) == (2, [])
    assert message in err
    assert err.count("\n") == 1


def test_the_page_is_whole(run, places, tmp_path):
    (places / "long.txt").write_text("a</script> b" * 300)
    _, events, _ = run("small", "code/tokenizer", "letters", "long.txt", "--html", tmp_path / "out.html")
    assert events[0]["event"] == "html"
    content = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = Outline(content)
    assert len(page.scripts) == 2
    assert set(json.loads(page.scripts[0])) == {"small", "code", "letters"}
    assert "long.txt: its first 1,500 of 3,600 bytes" in page.headings
    assert any(note.startswith("- letters cannot encode Chinese") for note in page.notes)
    assert re.search(r'<td class="bar best" style="--share: [0-9.]+%">[0-9.]+</td>', content)


def test_tables_on_a_terminal(run, places, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("hornbook.tracking.console.speaks_to_people", lambda: True)
    monkeypatch.setattr("rich.console.Console", lambda: Console(file=file, width=100, force_terminal=True))
    run("small", "code/tokenizer", "[b]=letters")
    shown = re.sub(r"\x1b[^m]*m", "", file.getvalue())
    assert "│ Python" in shown
    assert "[b]" in shown
    row = next(line for line in shown.splitlines() if line.startswith("│ Chinese"))
    assert row.split("│")[2:5] == ["  1.00 ", " 1.00 ", "   - "]
    assert "built-in samples" in shown


def test_ranges():
    assert comparison_view.ranges([1, 2, 3, 5, 8, 9]) == "1..3, 5, 8..9"
    assert comparison_view.ranges([]) == "never one token"
