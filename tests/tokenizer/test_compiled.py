"""When kernels are compiled or loaded, and what happens where they cannot be; with kernels that only pretend."""

import logging
import re
import subprocess
import sys
import threading
import types
from collections import Counter

import pytest

from hornbook.tokenizer import compiled

SMALL, SOME, MUCH = compiled.SMALLEST - 1, compiled.LOADING_PAYS, compiled.COMPILING_PAYS


@pytest.fixture
def kernels(monkeypatch):
    """A package that notes what is loaded, in a process that has not seen any text."""
    fake = types.SimpleNamespace(loaded=[], compiled=False)
    fake.is_compiled = lambda task: fake.compiled
    fake.load = fake.loaded.append
    fake.cache_directory = lambda: "here"
    monkeypatch.setattr(compiled.importlib, "import_module", lambda _: fake)
    for name, value in (
        ("_loaded", {}),
        ("_seen_bytes", Counter()),
        ("_failed", []),
        ("_pays_from", dict.fromkeys(compiled.TASKS, 0)),
    ):
        monkeypatch.setattr(compiled, name, value)
    monkeypatch.delenv("HORNBOOK_KERNELS", raising=False)
    return fake


def test_small_texts_compile_nothing(kernels):
    for _ in range(3):
        assert compiled.kernels_for("encode", SOME // 4) is None
    assert kernels.loaded == []


@pytest.mark.parametrize(("before", "pays"), [(True, SOME), (False, MUCH)])
def test_what_is_compiled_is_loaded_earlier(kernels, before, pays):
    kernels.compiled = before
    assert compiled.kernels_for("encode", pays - 1) is None
    assert compiled.kernels_for("encode", 1) is kernels
    assert kernels.loaded == ["encode"]


def test_much_at_once_compiles_at_once(kernels):
    assert compiled.kernels_for("encode", MUCH) is kernels


def test_tasks_are_loaded_by_themselves(kernels):
    assert compiled.kernels_for("train", MUCH) is kernels
    assert compiled.kernels_for("encode", SMALL) is None
    assert kernels.loaded == ["train"]


def test_once_loaded_all_but_the_smallest_texts_use_them(kernels):
    compiled.kernels_for("encode", MUCH)
    assert compiled.kernels_for("encode", SMALL) is None
    assert compiled.kernels_for("encode", compiled.SMALLEST) is kernels
    assert kernels.loaded == ["encode"]


def test_compiling_is_said_in_one_line_and_loading_is_not(kernels, caplog):
    compiled.kernels_for("encode", MUCH)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Compiling the tokenizer's kernels, once on this machine" in caplog.text
    kernels.compiled = True
    compiled.kernels_for("train", MUCH)
    assert len(caplog.records) == 1


def test_off_and_on(kernels, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "off")
    assert compiled.kernels_for("encode", MUCH) is None
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")
    assert compiled.kernels_for("encode", 1) is kernels
    assert compiled.kernels_for("encode", 0) is kernels


def test_warming_up_compiles_whatever_it_costs(kernels):
    assert compiled.warm_up("encode") is None
    assert compiled.warm_up("encode") is None
    assert kernels.loaded == ["encode"]
    assert compiled.kernels_for("encode", compiled.SMALLEST) is kernels


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'numba'"), "numba is missing .*pip install numba"),
        (RuntimeError("LLVM is sad\nfor long reasons"), "RuntimeError: LLVM is sad; .*please report this"),
    ],
)
def test_without_kernels_it_goes_on_in_python(kernels, caplog, error, said):
    def load(_):
        raise error

    kernels.load = load
    for _ in range(3):
        assert compiled.kernels_for("encode", MUCH) is None
    assert len([record for record in caplog.records if "pure Python" in record.message]) == 1
    assert re.search(said, caplog.records[-1].message)
    assert "\n" not in caplog.records[-1].message
    assert compiled.warm_up("train")


def test_threads_load_once(kernels):
    threads = [threading.Thread(target=compiled.kernels_for, args=("encode", MUCH)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kernels.loaded == ["encode"]


_WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer.train(["the cat sat on the mat"] * 9, TokenizerConfig(vocab_size=300))
assert tokenizer.decode(tokenizer.encode("the cat " * 1000)) == "the cat " * 1000
print(tokenizer.encode_batch([b"the cat"])[0].tolist() == tokenizer.encode("the cat"))
"""

_SMALL_TEXTS = """
import sys
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer.train(["the cat sat on the mat"] * 9, TokenizerConfig(vocab_size=300))
tokenizer.decode(tokenizer.encode("the cat " * 1000))
print([name for name in ("numba", "torch", "pandas", "hornbook.tokenizer.kernels") if name in sys.modules])
"""


def _run(code, **environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.medium
def test_without_numba():
    out, said = _run(_WITHOUT_NUMBA, HORNBOOK_KERNELS="on")
    assert out == "True"
    assert len(said.splitlines()) == 1
    assert "numba is missing" in said


@pytest.mark.medium
def test_small_texts_import_nothing_heavy():
    assert _run(_SMALL_TEXTS) == ("[]", "")


@pytest.mark.medium
def test_compiled_code_is_kept_where_it_is_told(tmp_path):
    """A process that finds nothing compiled compiles, and the next one does not."""
    code = "from hornbook.tokenizer import compiled; print(compiled.warm_up('encode'), compiled.kept_in())"
    out, said = _run(code, HORNBOOK_CACHE=str(tmp_path))
    assert out.startswith(f"None {tmp_path}")
    assert "Compiling" in said
    assert _run(code, HORNBOOK_CACHE=str(tmp_path)) == (out, "")
