"""The embedded corpus is large, always the same, and read without importing anything."""

import ast
import sys
from itertools import islice

import pytest

from hornbook.config.data import EmbeddedSource
from hornbook.data import embedded
from hornbook.data.sources import SourceReport, open_source
from hornbook.errors import DataError


def test_docstrings_of_a_small_library(tmp_path, monkeypatch, read):
    """Topics first; then modules sorted, outer docstrings before inner ones; noise, repeats and tiny texts left out."""
    long = "words " * 10
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text(f'topics = {{"if": "Topic {long}", "x": "tiny"}}\n')
    (tmp_path / "b.py").write_text(
        f'"""Module {long}"""\nraise SystemExit\nif True:\n    class A:\n        """Class\n\n'
        f'            {long}\n        """\n        async def f(self):\n            """Method {long}"""\n'
    )
    (tmp_path / "a.py").write_text(f'def f():\n    """Function {long}"""\ndef g():\n    """Function {long}"""\n')
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "t.py").write_text(f'"""Test {long}"""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    documents, _ = read(EmbeddedSource())
    assert [d.where for d in documents] == ["pydoc_data/topics.py:1", "a.py:2", "b.py:1", "b.py:5", "b.py:10"]
    assert [d.text.decode().split()[0] for d in documents] == ["Topic", "Function", "Module", "Class", "Method"]
    assert documents[3].text.decode() == f"Class\n\n{long}\n"  # as inspect.cleandoc has it


def test_a_python_without_sources(tmp_path, monkeypatch, read):
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(DataError, match="use your own text"):
        read(EmbeddedSource())


def test_a_file_is_parsed_once_a_process(tmp_path, monkeypatch, read):
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text(f'topics = {{"if": "{"words " * 10}"}}\n')
    for name in ("a.py", "site-packages/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"""{name} {"words " * 10}"""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    parsed = []
    monkeypatch.setattr(embedded, "_parsed", lambda path: parsed.append(path.name) or ast.parse(path.read_bytes()))
    assert read(EmbeddedSource())[0] == read(EmbeddedSource())[0]
    assert parsed == ["topics.py", "a.py"]


@pytest.mark.medium
def test_this_python(read):
    before = set(sys.modules)
    documents, report = read(EmbeddedSource())
    assert set(sys.modules) <= before | {"unittest.util"}
    assert report.text_bytes > 1_500_000
    assert len({d.text for d in documents}) == len(documents) > 3000
    assert all(len(d.text.decode()) > embedded.SHORTEST for d in documents)
    again = open_source(EmbeddedSource(), on_error="stop", report=SourceReport())
    assert list(islice(again, 500)) == documents[:500]
