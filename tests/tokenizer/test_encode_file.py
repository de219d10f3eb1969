"""Files of text to files of ids."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.storage.disk import StorageError
from hornbook.tokenizer.tokenizer import Tokenizer

TEXTS = ["The cat sat on the mat. The cat, the mat!\n\n    if x == 10:\n", "Mice — “they’re” naïve.\r\n\n"] * 5
TOKENIZERS = {
    name: Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=340, pattern=name))
    for name in ("gpt2", "cl100k", r"\w+|\s")
}
PIECES = [
    "the ",
    "cat",
    "\n",
    "\r\n\r\n",
    "  ",
    "é",
    "1 ",
    "mat.\n",
    "<|endoftext|>",
    "<|user|>",
    " \n<|user|>",
    "a" * 40,
]


@pytest.fixture(params=["on", "off"])
def kernels(request, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", request.param)
    return request.param


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("hornbook.tokenizer.encode_file.CHUNK_BYTES", 500)
    monkeypatch.setattr("hornbook.tokenizer.encode_file._WINDOW_BYTES", 40)


def text_of(n, seed=1):
    return "".join(random.Random(seed).choices(PIECES, k=n))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def written(path, dtype=np.uint16):
    return np.fromfile(path, dtype).tolist()


@pytest.mark.usefixtures("kernels", "small_chunks")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("allowed", [(), "all", ["<|user|>"]])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_equal_those_of_the_text(tmp_path, name, allowed, threads):
    tokenizer, text = TOKENIZERS[name], text_of(4000)
    (tmp_path / "text").write_bytes(text.encode())
    counts = tokenizer.encode_file(tmp_path / "text", tmp_path / "ids.bin", threads=threads, allowed_special=allowed)
    expected = tokenizer.encode(text, allowed_special=allowed)
    assert written(tmp_path / "ids.bin") == expected
    assert (counts.n_bytes, counts.n_ids, counts.paths) == (len(text.encode()), len(expected), (tmp_path / "ids.bin",))
    assert names_in(tmp_path) == ["ids.bin", "text"]


@pytest.mark.usefixtures("kernels", "small_chunks")
@pytest.mark.parametrize("run", ["a", " ", "=", "é", "\n", "<|endoftext|>", " <|user|>", "x\n<|user|>"])
def test_no_place_to_cut_or_only_wrong_ones(tmp_path, run):
    tokenizer = TOKENIZERS["gpt2"]
    text = "the cat " + run * (5000 // len(run)) + " sat"
    (tmp_path / "text").write_bytes(text.encode())
    for allowed in ((), "all"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", allowed_special=allowed, threads=2)
        assert written(tmp_path / "ids") == tokenizer.encode(text, allowed_special=allowed)


@pytest.mark.usefixtures("kernels", "small_chunks")
def test_shards(tmp_path):
    tokenizer, text = TOKENIZERS["gpt2"], text_of(1000)
    (tmp_path / "text").write_bytes(text.encode())
    expected = tokenizer.encode(text)
    counts = tokenizer.encode_file(tmp_path / "text", tmp_path / "ids.bin", shard_tokens=700, dtype=np.uint32)
    assert [path.name for path in counts.paths] == [f"ids-{i:05d}.bin" for i in range(-(-len(expected) // 700))]
    parts = [written(path, np.uint32) for path in counts.paths]
    assert {len(part) for part in parts[:-1]} == {700}
    assert [i for part in parts for i in part] == expected
    with pytest.raises(TokenizerError, match="shard_tokens = 0; expected at least 1"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids.bin", shard_tokens=0)


@pytest.mark.usefixtures("kernels")
def test_an_empty_file(tmp_path):
    (tmp_path / "text").touch()
    counts = TOKENIZERS["gpt2"].encode_file(tmp_path / "text", tmp_path / "ids")
    assert (counts.n_bytes, counts.n_ids, (tmp_path / "ids").read_bytes()) == (0, 0, b"")


@pytest.mark.usefixtures("kernels", "small_chunks")
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("broken", [b"\xff", b"\xe2\x82 ", b"\xc3"])
def test_malformed_files(tmp_path, broken, threads):
    tokenizer, before = TOKENIZERS["gpt2"], text_of(500).encode()
    (tmp_path / "text").write_bytes(before + broken + b" the cat" * 300 + b"\xff" + before)
    (tmp_path / "ids").write_bytes(b"what was there")
    with pytest.raises(
        TokenizerError, match=f"text: invalid UTF-8: byte 0x{broken[0]:02x} at byte offset {len(before)} "
    ):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", threads=threads)
    assert (tmp_path / "ids").read_bytes() == b"what was there"
    assert names_in(tmp_path) == ["ids", "text"]
    tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", threads=threads, errors="replace")
    assert written(tmp_path / "ids") == tokenizer.encode((tmp_path / "text").read_bytes().decode(errors="replace"))


def test_what_cannot_be(tmp_path):
    tokenizer = TOKENIZERS["gpt2"]
    with pytest.raises(TokenizerError, match="nothing: no such text file"):
        tokenizer.encode_file(tmp_path / "nothing", tmp_path / "ids")
    (tmp_path / "text").write_text("the cat")
    with pytest.raises(StorageError, match="no/ids"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "no" / "ids")
    with pytest.raises(TokenizerError, match="is no special token"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", allowed_special=["<|x|>"])
    with pytest.raises(TokenizerError, match="threads = 0"):
        tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", threads=0)


@pytest.mark.usefixtures("kernels", "small_chunks")
def test_progress_grows_to_the_size(tmp_path):
    (tmp_path / "text").write_text("the cat sat. " * 300)
    seen = []
    TOKENIZERS["gpt2"].encode_file(tmp_path / "text", tmp_path / "ids", progress=lambda *numbers: seen.append(numbers))
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == (3900, 3900)


class _StoppedError(Exception):
    pass


@pytest.mark.usefixtures("kernels", "small_chunks")
def test_nothing_is_left_of_an_interrupted_one(tmp_path):
    (tmp_path / "text").write_text("the cat sat. " * 300)

    def stop(*_):
        raise _StoppedError

    with pytest.raises(_StoppedError):
        TOKENIZERS["gpt2"].encode_file(tmp_path / "text", tmp_path / "ids", progress=stop, threads=2)
    assert names_in(tmp_path) == ["text"]


_INTERRUPTED = """
import sys
from hornbook.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1])
def say(done, total):
    print("under way", flush=True)
try:
    tokenizer.encode_file(sys.argv[2], sys.argv[3], threads=2, progress=say)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.medium
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_it_at_once(tmp_path):
    TOKENIZERS["gpt2"].save(tmp_path / "tokenizer")
    (tmp_path / "text").write_bytes(text_of(100_000).encode() * 400)
    command = [sys.executable, "-c", _INTERRUPTED, *(str(tmp_path / name) for name in ("tokenizer", "text", "ids"))]
    environment = {**os.environ, "HORNBOOK_KERNELS": "on"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "under way\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        said = process.stdout.read()
        process.wait()
    assert said.endswith("interrupted\n")
    assert time.monotonic() - started < 2
    assert names_in(tmp_path) == ["text", "tokenizer"]


_MEASURED = """
import sys
from hornbook.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1])
tokenizer.encode_file(sys.argv[2], sys.argv[3], threads=2, allowed_special="all")
print("torch" in sys.modules)
status = dict(line.split(":") for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.medium
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by Linux's /proc")
def test_memory_is_bounded(gpt2, tmp_path):
    """Twelve times as large a file needs no more, and torch is not imported."""
    source = needs("pretrain/tinystories/tinystories_train_a.txt").read_bytes()[: 8 * 2**20]
    gpt2.save(tmp_path / "tokenizer")
    environment = {**os.environ, "HORNBOOK_KERNELS": "on"}
    megabytes = []
    for times in (1, 1, 12):  # the first may compile
        (tmp_path / "text").write_bytes(source * times)
        command = [sys.executable, "-c", _MEASURED, *(str(tmp_path / name) for name in ("tokenizer", "text", "ids"))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
        torch, peak = done.stdout.split()
        assert torch == "False"
        megabytes.append(int(peak))
    assert megabytes[2] < megabytes[1] + 30
    assert megabytes[2] < 270
