"""When kernels are compiled or loaded, and what happens where they cannot be; with kernels that only pretend."""

import importlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections import Counter

import pytest

from hornbook.errors import TokenizerError
from hornbook.storage import kernel_cache
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


def test_any_other_choice_is_one_message(kernels, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "of")
    with pytest.raises(TokenizerError, match="HORNBOOK_KERNELS = 'of'; expected on, off or auto"):
        compiled.kernels_for("encode", 0)


def test_warming_up_compiles_whatever_it_costs(kernels):
    assert compiled.warm_up("encode") is None
    assert compiled.warm_up("encode") is None
    assert kernels.loaded == ["encode"]
    assert compiled.kernels_for("encode", compiled.SMALLEST) is kernels


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'numba'"), "numba is missing .*pip install numba"),
        (OSError(28, "No space left on device"), r"No space left on device; .*set HORNBOOK_CACHE to a directory"),
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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The real package of kernels, which keeps what it compiles below a directory of the test."""
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path))
    package = importlib.import_module("hornbook.tokenizer.kernels")
    kernel_cache.cache_directory.cache_clear()
    yield package
    kernel_cache.cache_directory.cache_clear()


def test_a_copy_or_another_time_is_not_compiled_yet(package, tmp_path):
    """numba finds its code by path and time of the source, so it would compile again without a word."""
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        source = tmp_path / name / "kernel.py"
        for text, seconds in (("a = 1", 1), ("a = 1", 2), ("a = 2", 2)):
            source.write_text(text)
            os.utime(source, (seconds, seconds))
            digests.add(kernel_cache._digest(source.parent))
            assert kernel_cache._digest(source.parent) in digests
    assert len(digests) == 6


def test_compiling_sweeps_what_nobody_has_looked_for_in_90_days(package, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "_MODULES", {"encode": ()})
    now = time.time()
    for name, days in (("kernels-old", 91), ("kernels-used", 89), ("benchmarks", 999)):
        (tmp_path / name / "kept").mkdir(parents=True)
        os.utime(tmp_path / name, (now - days * 86400,) * 2)
    package.load("encode")
    here = package.cache_directory()
    assert {path.name for path in tmp_path.iterdir()} == {"kernels-used", "benchmarks", here.name}
    os.utime(here, (now - 100 * 86400,) * 2)
    kernel_cache.cache_directory.cache_clear()  # as a new process, which uses it
    assert package.cache_directory().stat().st_mtime > now - 60
    os.utime(here, (now - 100 * 86400,) * 2)
    package.load("encode")  # it is compiled: this sweeps nothing, itself least of all
    assert package.is_compiled("encode")


def test_a_directory_that_another_process_swept_is_made_again(package, monkeypatch):
    monkeypatch.setattr(package, "_MODULES", {"encode": ("all",)})
    swept = types.SimpleNamespace(exercise=lambda: package.cache_directory().rmdir())
    monkeypatch.setattr(package, "module", lambda name: swept)
    package.load("encode")
    assert package.is_compiled("encode")


def test_nowhere_to_keep_compiled_code(package, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(kernel_cache, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(OSError, match="no directory for compiled code can be written"):
        package.cache_directory()
