import gzip
import json

import pytest

from hornbook.benchmarks import corpus
from hornbook.benchmarks.corpus import Corpus, corpus_of, make_corpus, repeated, sample_of
from hornbook.errors import DataError

END = b"<|endoftext|>"


def lines(word, n=20):
    return "".join(f"{word} number {i}\n" for i in range(n))


@pytest.fixture
def tree(tmp_path):
    """A folder with text in every form, and with what must stay out."""
    root = tmp_path / "texts"
    (root / "deep" / "__pycache__").mkdir(parents=True)
    (root / "one.txt").write_text(lines("one"))
    (root / "copy-of-one.txt").write_text(lines("one"))
    (root / "deep" / "two.py").write_text(lines("two"))
    (root / "three.md.gz").write_bytes(gzip.compress(lines("three").encode()))
    rows = [{"text": lines("four")}, {"text": lines("five")}, {"other": lines("not")}]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "page.html").write_text(f"<style>not shown</style><p>{lines('six')} &amp; more</p>")
    (root / "both.txt").write_text(lines("seven") + END.decode() + lines("eight"))
    (root / "short.txt").write_text("not enough")
    (root / "latin.txt").write_bytes(b"not UTF-8 \xe4" + lines("not").encode())
    (root / "zeros.txt").write_text("not text \0" + lines("not"))
    (root / "picture.png").write_text(lines("not"))
    (root / "broken.txt.gz").write_bytes(gzip.compress(lines("not").encode())[:-9])
    (root / "deep" / "__pycache__" / "x.py").write_text(lines("not"))
    (root / ".hidden.txt").symlink_to(root / "one.txt")
    return root


def documents(made):
    *found, rest = made.path.read_bytes().split(END)
    assert rest == b""
    return found


def test_a_folder_becomes_documents_each_once(tree, tmp_path):
    made = corpus_of(tree, tmp_path, 10**9)
    found = documents(made)
    assert sorted(text.decode().split()[0] for text in found) == sorted(
        ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    )
    assert not any(b"not" in text for text in found)
    assert any(b" & more" in text for text in found)
    assert made.n_bytes == made.path.stat().st_size


def test_the_order_is_the_same_each_time_and_not_that_of_the_names(tree, tmp_path):
    for i in range(30):
        (tree / f"more-{i:02}.txt").write_text(lines(f"more-{i:02}"))
    first = documents(corpus_of(tree, tmp_path / "a", 10**9))
    assert documents(corpus_of(tree, tmp_path / "b", 10**9)) == first
    assert first != sorted(first)


def test_it_stops_when_there_is_enough(tree, tmp_path):
    made = corpus_of(tree, tmp_path, 700)
    assert 700 <= made.n_bytes < 1500


def test_a_file_of_the_users_own_is_taken_as_it_is(tree, tmp_path):
    made = corpus_of(tree / "short.txt", tmp_path, 10**9)
    assert (made.path, made.n_bytes) == (tree / "short.txt", 10)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        corpus_of(tmp_path / "nowhere", tmp_path, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files below"):
        corpus_of(tmp_path / "empty", tmp_path, 1)


def test_a_sample_has_every_nth_document(tmp_path):
    path = tmp_path / "many.txt"
    path.write_bytes(b"".join(b"%04d" % i * 25 + END for i in range(100)))
    whole = Corpus(name="many", path=path, n_bytes=path.stat().st_size)
    sample = sample_of(whole, whole.n_bytes // 10, tmp_path)
    assert documents(sample) == [b"%04d" % i * 25 for i in range(0, 100, 10)]
    assert sample_of(sample, 10**9, tmp_path) is sample


def test_repeating_reaches_the_size(tmp_path):
    path = tmp_path / "small.txt"
    path.write_bytes(b"abc" + END)
    made = repeated(Corpus(name="small", path=path, n_bytes=16), 100, tmp_path)
    assert made.path.read_bytes() == (b"abc" + END) * 7


def test_the_machines_text_is_gathered_once(tmp_path, monkeypatch, tree):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus, "_english", lambda: [corpus._Tree(root=tree, suffixes=(".txt",))])
    first = make_corpus("english", 10**9)
    (tree / "new.txt").write_text(lines("new"))
    assert make_corpus("english", 10**9) == first
    assert make_corpus("english", 10**9, again=True).n_bytes > first.n_bytes


def test_a_machine_without_such_text_hears_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus, "_multilingual", list)
    with pytest.raises(DataError, match="apt-get install manpages-de"):
        make_corpus("multilingual", 10**9)
    assert not list((tmp_path / "cache").rglob("*.txt"))


@pytest.mark.parametrize(
    ("place", "foreign"),
    [
        ("debian-handbook/html/de-DE/index.html", True),
        ("debian-handbook/html/en-US/index.html", False),
        ("installation-guide-amd64/zh_CN/ch01.html", True),
        ("debian-reference/debian-reference.ja.txt.gz", True),
        ("debian-reference/debian-reference.en.txt.gz", False),
        ("maint-guide-ru/html/index.ru.html", True),
        ("debian-handbook/changelog.txt", False),
    ],
)
def test_handbooks_are_told_apart_by_language(tmp_path, place, foreign):
    root = tmp_path / place.partition("/")[0]
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("x")
    tree = corpus._Tree(root=root, suffixes=(".html", ".txt"), foreign=True)
    assert bool(list(corpus._files(tree))) is foreign


def test_a_corpus_a_little_larger_than_wanted_is_its_own_sample(tmp_path):
    path = tmp_path / "whole.txt"
    path.write_bytes((b"some text" + END) * 100)
    whole = Corpus(name="whole", path=path, n_bytes=path.stat().st_size)
    assert sample_of(whole, whole.n_bytes - 5, tmp_path) is whole
