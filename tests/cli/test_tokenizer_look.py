"""`hornbook tokenizer inspect`: tokens on a terminal, in a page and as JSON lines; texts and prepared documents."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hornbook.cli.main import main
from hornbook.cli.token_documents import GivenTexts, StoredDocuments
from hornbook.cli.token_pager import Pager
from hornbook.cli.token_rows import in_turns_with_bytes, rows, widths
from hornbook.cli.token_text import Part, Token, parts, quoted, tokens_of, visible
from hornbook.data.dataset import Dataset
from hornbook.tokenizer.tokenizer import Tokenizer
from html_outline import Outline
from tiny_project import make_project

pytestmark = pytest.mark.medium

HOSTILE = "</script><script>alert('x')</script> & <b> \"q\" naïve 你好 👩‍👩‍👧 e\u0301\r\n\t\x00\u00a0 <|end|>\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with text, tokenizer and data."""
    return make_project(tmp_path_factory.mktemp("look")).parent


@pytest.fixture(scope="module")
def tokenizer(project):
    return Tokenizer.load(project / "tokenizer")


@pytest.fixture
def run(project, capsysbinary, monkeypatch):
    """Runs `inspect` of the project's tokenizer; gives (status, JSON lines, stderr)."""

    def run(*arguments):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        status = main(["tokenizer", "inspect", str(project / "tokenizer"), *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err.decode()

    return run


def test_an_odd_path_is_text_in_a_page_and_a_text_is_never_replaced(project, tmp_path, capsys):
    odd = tmp_path / "<script>alert(1)<"
    odd.symlink_to(project / "tokenizer")
    text = tmp_path / "text.txt"
    text.write_text("the cat", encoding="utf-8")
    assert main(["tokenizer", "inspect", str(odd), str(text), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;") >= 3  # title, heading, facts
    for action in (["inspect", str(odd)], ["compare", str(project / "tokenizer")]):
        with pytest.raises(SystemExit):
            main(["tokenizer", *action, str(text), "--html", str(text)])
        assert "expected a name that ends with .html" in capsys.readouterr().err
    assert text.read_text(encoding="utf-8") == "the cat"


def test_parts_tell_escapes_from_text():
    assert list(parts(b"a\\n\n")) == [Part("a\\n", False), Part("\\n", True)]
    assert visible("\u00a0é".encode() + b"\xe4\xbd") == "\\xa0é\\xe4\\xbd"
    assert visible("\u0301x".encode()) == "\u0301x"
    assert next(iter(parts("\u0301x".encode()))).is_escape  # something to carry the accent
    assert list(parts(b"a\tb", as_text="\t")) == [Part("a\tb", False)]
    assert quoted([b"ab\n", b"-" * 40]) == ['"ab\\n"', '"----------------…" (40)']


def test_rows_show_every_token_and_fit(tokenizer):
    ids = tokenizer.encode(HOSTILE * 5, allowed_special="all")
    sides = widths(60)
    shown = list(rows(tokens_of(tokenizer, ids), sides, in_turns_with_bytes))
    assert sum(row.n_tokens for row in shown) == len(ids)
    assert all(line.cell_len <= 60 for row in shown for line in row.lines)
    left = "".join(line.plain[: sides.raw].rstrip() for row in shown for line in row.lines)
    assert left.count("\\x00") == 5
    assert left.count("你") == 5  # whole, though its bytes are three tokens
    number = iter(ids)
    for row in shown:
        text = " ".join(line.plain[sides.raw :] for line in row.lines).split()
        for i in [next(number) for _ in range(row.n_tokens)]:
            assert str(i) in text
            assert tokenizer.token_bytes(i).hex() in text


def test_a_token_wider_than_the_screen_is_folded():
    shown = list(rows([Token(7, b"x" * 100, False), Token(8, b"y", False)], widths(50)))
    assert [row.n_tokens for row in shown] == [1, 1]
    assert "".join(line.plain for line in shown[0].lines).count("x") == 200
    assert all(line.cell_len <= 50 for row in shown for line in row.lines)


def test_the_page_holds_every_token_and_nothing_breaks_out(run, tokenizer, tmp_path):
    status, events, _ = run("--text", HOSTILE, "--special", "all", "--html", tmp_path / "out.html")
    assert status == 0
    ids = tokenizer.encode(HOSTILE, allowed_special="all")
    assert (events[0]["tokens"], events[0]["cut"]) == (len(ids), False)
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = Outline(text)
    assert [i for i, _ in page.tokens] == ids
    assert page.special == [tokenizer.special_tokens["<|end|>"]]
    shown = "".join(text for _, text in page.tokens)
    for piece in ("</script><script>alert('x')</script> & <b> \"q\" na", "\\r\n\t", "\\x00", "<|end|>\n"):
        assert piece in shown
    assert text.count("<script") == len(page.scripts) == 2
    vocabulary = json.loads(page.scripts[0])[""]
    assert {int(i) for i in vocabulary} == set(ids)
    for i in ids:
        assert vocabulary[str(i)][0] == tokenizer.token_bytes(i).hex()
    assert text.count('data-of="你"') == 3
    merged = next(i for i in ids if 256 <= i < 284)
    assert vocabulary[str(merged)][1][0] == "rank"
    assert "://" not in text


def test_the_page_is_cut_and_says_so(run, project, tmp_path):
    out = tmp_path / "out.html"
    _, events, _ = run("--data", project / "data", "--document", 2, "--max-tokens", 30, "--html", out)
    assert (events[0]["tokens"], events[0]["cut"]) == (30, True)
    page = Outline(out.read_text(encoding="utf-8"))
    assert len(page.tokens) == 30
    assert page.headings[0].endswith("document 2 of 306")
    assert "cut at 30 tokens" in page.notes[0]
    assert page.notes[-1].startswith("Cut here: ")
    _, events, _ = run("--data", project / "data", "--max-tokens", 10**6, "--html", out)
    assert (events[0]["documents"], events[0]["cut"]) == (306, False)
    assert not any("cut" in note.lower() for note in Outline(out.read_text(encoding="utf-8")).notes)


def test_documents_as_json_lines(run, project, tokenizer):
    _, events, _ = run("--data", project / "data", "--split", "valid")
    dataset = Dataset.open(project / "data")
    stream = dataset.split("valid")
    assert [event["document"] for event in events] == list(range(stream.n_documents))
    assert events[5]["ids"] == stream.document(5).tolist()
    assert events[5]["text"] == tokenizer.decode(stream.document(5)[:-1])
    assert events[5]["source_is_same"] is True
    lines = (project / "text.txt").read_text().splitlines()
    path, _, line = events[5]["source"].rpartition(":")
    assert path == str(project / "text.txt")
    assert lines[int(line) - 1] == events[5]["source_text"] == events[5]["text"]
    _, events, _ = run("--data", project / "data", "--document", 7)
    assert [event["document"] for event in events] == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--document", "1"], "--document means nothing without --data"),
        (["--split", "valid", "--text", "x"], "--split means nothing without --data"),
        (["--data", "{project}/data", "--text", "x"], "leave out FILE, --text"),
        (["--data", "{project}/data", "--document", "306"], "document 306 is outside 0..305"),
        (["--data", "{project}/data", "--split", "test"], "no split 'test'"),
        (["--data", "{project}"], "no index.json here"),
        (["--text", "x", "--html", "{project}/nowhere/out.html"], "nowhere"),
        (["--text", "x", "--max-tokens", "5"], "--max-tokens means nothing without --html"),
    ],
)
def test_mistakes_are_one_line(run, project, arguments, message):
    status, events, err = run(*[a.format(project=project) for a in arguments])
    assert (status, events) == (2, [])
    assert message in err
    assert err.count("\n") == 1


def test_another_tokenizer_is_refused(project, tmp_path, capsys):
    Tokenizer.train(["the cat"]).save(tmp_path / "other")
    assert main(["tokenizer", "inspect", str(tmp_path / "other"), "--data", str(project / "data")]) == 2
    assert "made with another tokenizer" in capsys.readouterr().err


class Reader:
    """Pages through documents with answers from a list."""

    def __init__(self, documents, tokenizer, answers, *, height=24, width=100):
        self.asked, self.answers = [], list(answers)
        self.file = io.StringIO()
        console = Console(file=self.file, width=width, height=height, legacy_windows=False)
        self.pager = Pager(documents, tokenizer, console, self.answer)

    def answer(self, prompt):
        self.asked.append(prompt)
        self.file.write(f"<{len(self.asked)}>")
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)

    def screens(self, first=0):
        """What was shown before each question."""
        self.pager.run(first)
        return re.split(r"<[0-9]+>", self.file.getvalue())


def given(where, ids):
    return GivenTexts([(where, np.array(ids), 1000)])


@pytest.fixture
def stored(project, tokenizer, monkeypatch):
    monkeypatch.setattr("hornbook.data.source_texts.PATIENCE", 60.0)  # the machine may be busy
    monkeypatch.chdir(project)  # where titles are short
    return StoredDocuments(Dataset.open(Path("data")), "train", tokenizer)


def titles(screens):
    return [re.findall(r"document ([0-9]+) of 306", screen) for screen in screens]


def test_paging_by_number_and_step(stored, tokenizer):
    reader = Reader(stored, tokenizer, ["", "n", "p", "b", "300", "999", "?", "q"])
    screens = reader.screens()
    assert titles(screens)[:6] == [["0"], ["1"], ["2"], ["1"], ["2"], ["300"]]
    assert "document 999 is outside 0..305" in screens[6]
    assert "a number: that document" in screens[7]
    assert "source text is the same, byte for byte" in " ".join(screens[0].split())  # a long path breaks the line
    assert reader.answers == []


def test_paging_starts_where_asked_and_ends_at_the_end(stored, tokenizer):
    screens = Reader(stored, tokenizer, ["", "n", "", "never asked"]).screens(304)
    assert titles(screens)[:2] == [["304"], ["305"]]
    assert "this is the last document" in screens[2]
    assert len(screens) == 4
    assert "reading began" in Reader(stored, tokenizer, ["b"]).screens(3)[1]


def test_a_long_document_takes_several_screens_which_hold_all_of_it(tokenizer):
    text = "".join(f"line {n} of the text\n" for n in range(60))
    ids = tokenizer.encode(text)
    reader = Reader(given("a.txt", ids), tokenizer, [""] * 30, height=20)
    screens = reader.screens()
    assert len(screens) > 5
    assert all(screen.count("\n") <= 20 for screen in screens)
    shown = "".join(screens)
    assert [n for n in range(60) if f"line {n} of the text\\n" not in shown] == []
    assert reader.asked[0].startswith("0..")


def test_bytes_that_are_no_text_are_searched_for(stored, tokenizer):
    reader = Reader(stored, tokenizer, ["/\udcff\udcfe", "q"])
    assert r"'\udcff\udcfe' is not in what follows" in "".join(reader.screens(304))


def test_what_fits_a_screen_asks_nothing(tokenizer):
    reader = Reader(given("a.txt", tokenizer.encode("the cat")), tokenizer, [])
    assert len(reader.screens()) == 1
    assert reader.asked == []


def test_search_finds_across_tokens_and_documents(stored, tokenizer):
    wanted = stored.text(40)[-12:].decode()
    first = next(n for n in range(1, 306) if wanted in stored.text(n).decode())
    screens = Reader(stored, tokenizer, [f"/{wanted}", "/nowhere at all", "/", "q"]).screens()
    assert titles(screens)[1] == [str(first)]
    assert "'nowhere at all' is not in what follows" in screens[2]
    assert "'nowhere at all' is not in what follows" in screens[3]


def test_search_shows_the_line_that_holds_it(tokenizer):
    text = "".join(f"line {n} of the text\n" for n in range(60))
    documents = given("a.txt", tokenizer.encode(text))
    screens = Reader(documents, tokenizer, ["/47 of", "q"], height=12).screens()
    assert "line 47 of the text" in screens[1].splitlines()[1]
    assert "line 46" not in screens[1]


def test_search_finds_what_lies_across_two_parts_of_a_document(tokenizer, monkeypatch):
    monkeypatch.setattr("hornbook.cli.token_pager._SEARCHED_TOKENS", 7)
    text = "".join(f"line {n} of the text\n" for n in range(60))
    ids = tokenizer.encode(text)
    pager = Reader(given("a.txt", ids), tokenizer, []).pager
    for wanted in range(1, 60):
        token = pager._find(f"line {wanted} of".encode(), 0, 0)
        assert tokenizer.decode(ids[:token]).count("\n") in (wanted, wanted - 1)
        assert tokenizer.decode(ids[token : token + 30]).find(f"line {wanted} of") >= 0


def test_a_reader_that_goes_away_ends_it(project):
    """In the middle: what is left to write is more than a pipe holds."""
    command = [sys.executable, "-m", "hornbook", "tokenizer", "inspect", str(project / "tokenizer")]
    with subprocess.Popen(
        [*command, "--data", str(project / "data")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline().startswith(b'{"event": "document"')
        process.stdout.close()
        assert process.wait(50) == 141
        assert process.stderr.read() == b""


def terminal_session(command, answers, *, cwd, size=(30, 100)):
    """Run a command on a pseudo-terminal in `cwd`, answer each prompt in turn, and give all that was shown."""
    import fcntl
    import struct
    import termios

    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, cwd=cwd)
    os.close(terminal)
    shown, answers, asked, deadline = b"", list(answers), 0, time.monotonic() + 50
    while time.monotonic() < deadline:
        if select.select([main_end], [], [], 0.3)[0]:
            try:
                shown += os.read(main_end, 65536)
            except OSError:  # the other end is closed
                break
        elif process.poll() is not None:
            break
        elif shown.count(b"/text ? q]") > asked and answers:  # it is quiet: the prompt is there, and not being redrawn
            asked = shown.count(b"/text ? q]")
            os.write(main_end, answers.pop(0).encode() + b"\n")
    os.close(main_end)
    return process.wait(10), shown.decode()


@pytest.mark.medium
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_paging_on_a_real_terminal(project):
    command = [sys.executable, "-m", "hornbook", "tokenizer", "inspect", "tokenizer", "--data", "data"]
    status, shown = terminal_session(command, ["", "200", "q"], cwd=project)  # where titles are short
    assert status == 0
    assert re.findall(r"document ([0-9]+) of 306", shown) == ["0", "1", "200"]
    assert "\x1b[" in shown
    assert '{"event"' not in shown
