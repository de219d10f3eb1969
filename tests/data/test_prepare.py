"""Preparation gives the same bytes however it is run: in one piece, killed and restarted, by one thread or by more."""

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hornbook.config.data import DataConfig, HubSource, JsonlSource, SyntheticSource, TextSource
from hornbook.data import build, encoding, files
from hornbook.data.dataset import Dataset
from hornbook.data.prepare import prepare
from hornbook.data.sources import SourceReport, open_source
from hornbook.errors import DataError
from hornbook.storage.disk import StorageError
from hub_stub import Rows

pytestmark = pytest.mark.medium


@pytest.fixture
def small_steps(monkeypatch):
    """Blocks, batches and commits every few documents, so that a small corpus has many."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 200)
    monkeypatch.setattr(encoding, "BATCH_BYTES", 500)
    monkeypatch.setattr(build, "COMMIT_SECONDS", 0)


@pytest.fixture
def corpus(tmp_path) -> Path:
    """300 lines, two of them broken."""
    lines = [b"the cat %d sat on the mat %s" % (i, b"and saw a rat " * (i % 5)) for i in range(300)]
    lines[100] = lines[200] = b"broken \xff"
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"\n".join(lines))
    return path


def config(corpus, path, **settings) -> DataConfig:
    source = TextSource(paths=(corpus,), document_separator="line")
    defaults = {"valid_fraction": 0.2, "test_fraction": 0.1, "on_error": "skip", "shard_tokens": 1000}
    return DataConfig(**{"path": path, "source": source} | defaults | settings)


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def decoded(dataset, split, tokenizer) -> list[bytes]:
    stream = dataset.split(split)
    return [tokenizer.decode_bytes(stream.document(i)) for i in range(stream.n_documents)]


@pytest.mark.usefixtures("small_steps")
def test_every_document_comes_back(tmp_path, corpus, tokenizer):
    settings = config(corpus, tmp_path / "data")
    dataset = prepare(settings, tokenizer)
    found = {split: decoded(dataset, split, tokenizer) for split in ("train", "valid", "test")}
    documents = [d.text for d in open_source(settings.source, on_error="skip", report=SourceReport())]
    assert len(documents) == 298
    assert sorted(itertools.chain(*found.values())) == sorted(text + b"<|endoftext|>" for text in documents)
    order = {text + b"<|endoftext|>": i for i, text in enumerate(documents)}
    assert all([order[text] for text in texts] == sorted(order[text] for text in texts) for texts in found.values())
    for split, texts in found.items():
        stream = dataset.split(split)
        assert stream.text_bytes == sum(len(text) - len(b"<|endoftext|>") for text in texts)
        assert (stream.n_documents, stream.n_tokens) == (
            len(texts),
            sum(len(stream.document(i)) for i in range(len(texts))),
        )
    assert len(dataset.index.splits["train"].shards) > 3
    assert dataset.verify() == sum(p.stat().st_size for p in dataset.path.glob("*.bin"))
    skipped = dataset.index.skipped["invalid UTF-8"]
    assert (skipped.count, f"{corpus}:101:" in skipped.first) == (2, True)
    assert not list(tmp_path.glob("*.partial"))


def test_the_dtype_follows_the_vocabulary(tmp_path, corpus, tokenizer, monkeypatch):
    assert prepare(config(corpus, tmp_path / "a"), tokenizer).index.splits["train"].dtype == "uint16"
    monkeypatch.setattr(type(tokenizer), "vocab_size", 65_536)
    assert prepare(config(corpus, tmp_path / "b"), tokenizer).index.splits["train"].dtype == "uint16"
    monkeypatch.setattr(type(tokenizer), "vocab_size", 65_537)
    dataset = prepare(config(corpus, tmp_path / "c"), tokenizer)
    assert dataset.index.splits["train"].dtype == "uint32"
    assert decoded(dataset, "train", tokenizer) == decoded(Dataset.open(tmp_path / "a"), "train", tokenizer)


def test_without_end_of_text(tmp_path, corpus, tokenizer):
    dataset = prepare(config(corpus, tmp_path / "data", end_of_text=False), tokenizer)
    stream = dataset.split("valid")
    assert dataset.end_of_text_id is None
    assert tokenizer.end_of_text_id not in stream.read(0, stream.n_tokens)


def test_end_of_text_needs_the_token(tmp_path, corpus, letters):
    with pytest.raises(DataError, match=r"set data\.end_of_text = false"):
        prepare(config(corpus, tmp_path / "data"), letters)


def test_user_text_never_becomes_a_special_token(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("say <|endoftext|> aloud")
    source = TextSource(paths=(tmp_path / "a.txt",))
    dataset = prepare(DataConfig(path=tmp_path / "data", source=source, valid_fraction=0), tokenizer)
    ids = dataset.split("train").document(0)
    assert np.flatnonzero(ids == tokenizer.end_of_text_id).tolist() == [len(ids) - 1]


def test_by_position(tmp_path, corpus, letters):
    """As nanoGPT: the last tenth of the characters of the whole text."""
    text = "the quick brown fox jumps over the lazy dog " * 40
    (tmp_path / "a.txt").write_text(text)
    source = TextSource(paths=(tmp_path / "a.txt",))
    settings = {"split": "position", "valid_fraction": 0.1, "end_of_text": False}
    dataset = prepare(DataConfig(path=tmp_path / "data", source=source, **settings), letters)
    cut = int(len(text) * 0.9)
    for split, expected in (("train", text[:cut]), ("valid", text[cut:])):
        assert decoded(dataset, split, letters) == [expected.encode()]


def test_explicit_validation_documents(tmp_path, corpus, tokenizer):
    (tmp_path / "v.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    settings = config(corpus, tmp_path / "data", valid=JsonlSource(paths=(tmp_path / "v.jsonl",)), test_fraction=0.0)
    dataset = prepare(settings, tokenizer)
    assert decoded(dataset, "valid", tokenizer) == [b"one<|endoftext|>", b"two<|endoftext|>"]
    assert dataset.split("train").n_documents == 298  # nothing is held out of the main source


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("limit", [1, 700, 10**6])
def test_max_tokens_ends_with_the_document_that_reaches_it(tmp_path, corpus, tokenizer, limit):
    whole = prepare(config(corpus, tmp_path / "whole", test_fraction=0, valid_fraction=0), tokenizer).split("train")
    part = prepare(
        config(corpus, tmp_path / "part", test_fraction=0, valid_fraction=0, max_tokens=limit), tokenizer
    ).split("train")
    ends = [*whole.document_starts[1:].tolist(), whole.n_tokens]
    assert part.n_tokens == next((end for end in ends if end >= limit), whole.n_tokens)
    assert part.read(0, part.n_tokens).tolist() == whole.read(0, part.n_tokens).tolist()


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("workers", [1, 5])
def test_whether_bad_input_behind_the_limit_stops_does_not_depend_on_the_workers(tmp_path, corpus, tokenizer, workers):
    settings = {"on_error": "stop", "workers": workers, "valid_fraction": 0, "test_fraction": 0}
    part = prepare(config(corpus, tmp_path / "part", max_tokens=10, **settings), tokenizer).split("train")
    assert part.n_documents == 1
    with pytest.raises(DataError, match=r"corpus\.txt:101: "):
        prepare(config(corpus, tmp_path / "whole", **settings), tokenizer)


@pytest.mark.parametrize("workers", [1, 5])
def test_of_two_errors_the_first_in_the_text_is_told(tmp_path, letters, workers, small_steps):
    (tmp_path / "a.txt").write_bytes(b"abc\n" * 10 + b"ABC\n" + b"abc\n" * 500 + b"\xff\n")
    source = TextSource(paths=(tmp_path / "a.txt",), document_separator="line")
    settings = DataConfig(path=tmp_path / "data", source=source, end_of_text=False, workers=workers)
    with pytest.raises(DataError, match=r"a\.txt:11: "):
        prepare(settings, letters)


def test_max_documents(tmp_path, corpus, tokenizer):
    dataset = prepare(config(corpus, tmp_path / "data", max_documents=50), tokenizer)
    assert sum(split.documents for split in dataset.index.splits.values()) == 50


@pytest.mark.medium
def test_two_workers_write_the_same_bytes(tmp_path, corpus, tokenizer, small_steps):
    prepare(config(corpus, tmp_path / "one"), tokenizer)
    prepare(config(corpus, tmp_path / "two", workers=2), tokenizer)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("kind", ["line", "blank_line", "cat", "jsonl", "jsonl.gz"])
def test_whatever_the_workers_and_the_sizes_the_bytes_are_the_same(tmp_path, corpus, tokenizer, monkeypatch, kind):
    """With a limit too, though it is reached by a document of one split between those of others."""
    corpus.write_bytes(corpus.read_bytes().replace(b"7 sat on", b"7 sat\n\non"))
    source = TextSource(paths=(corpus,), document_separator=kind)
    if kind.startswith("jsonl"):
        records = [{"text": line.decode(errors="replace")} for line in corpus.read_bytes().splitlines()]
        data = "".join(json.dumps(record) + "\n" for record in records).encode()
        (tmp_path / f"a.{kind}").write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
        source = JsonlSource(paths=(tmp_path / f"a.{kind}",))
    for name, limits in (("all", {}), ("limited", {"max_tokens": 900}), ("position", {"split": "position"})):
        made = []
        for workers, size in ((1, 200), (3, 200), (2, 1 << 19)):
            monkeypatch.setattr(files, "BLOCK_BYTES", size)
            path = tmp_path / f"{name}-{workers}"
            prepare(config(corpus, path, source=source, workers=workers, **limits), tokenizer)
            made.append({name: data for name, data in content(path).items() if name.endswith(".bin")})
        assert made[0] == made[1] == made[2]


@pytest.mark.usefixtures("small_steps")
def test_an_interruption_may_fall_inside_a_block(tmp_path, corpus, tokenizer, monkeypatch):
    """Blocks of the next attempt may be of another size: it goes on after so many pieces, wherever those end."""
    settings = config(corpus, tmp_path / "data")

    def stop(at):
        if at.documents > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings, tokenizer, progress=stop)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 19)
    prepare(settings, tokenizer)
    prepare(config(corpus, tmp_path / "unbroken"), tokenizer)
    for file in (tmp_path / "unbroken").glob("*.bin"):
        assert (settings.path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.medium
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_is_prompt_and_what_was_done_is_kept(tmp_path, letters):
    letters.save(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("some words in a line\n" * 2_000_000)
    source = TextSource(paths=(tmp_path / "a.txt",), document_separator="line")
    settings = DataConfig(path=tmp_path / "data", source=source, end_of_text=False, workers=2)
    command = [sys.executable, "-c", SCRIPT, settings.model_dump_json(), str(tmp_path / "tokenizer")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        journal = tmp_path / "data.partial" / "journal.json"
        while not journal.exists() or not json.loads(journal.read_text())["pieces"]:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert process.wait(timeout=60) != 0
        assert time.monotonic() - asked < 5
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert json.loads(journal.read_text())["pieces"] > 0


@pytest.mark.medium
def test_an_error_of_a_worker_names_the_place(tmp_path, letters):
    (tmp_path / "a.txt").write_text("abc\nABC\n")
    source = TextSource(paths=(tmp_path / "a.txt",), document_separator="line")
    settings = DataConfig(path=tmp_path / "data", source=source, end_of_text=False, workers=2)
    with pytest.raises(DataError, match=r"a\.txt:2: .*"):
        prepare(settings, letters)


def test_text_that_cannot_be_encoded(tmp_path, letters):
    (tmp_path / "a.txt").write_text("abc\nABC\ndef\n")
    source = TextSource(paths=(tmp_path / "a.txt",), document_separator="line")
    settings = {"source": source, "end_of_text": False, "valid_fraction": 0.0}
    with pytest.raises(DataError, match=r"a\.txt:2: .*--on-error skip"):
        prepare(DataConfig(path=tmp_path / "data", **settings), letters)
    dataset = prepare(DataConfig(path=tmp_path / "data", **settings, on_error="skip"), letters)
    assert decoded(dataset, "train", letters) == [b"abc", b"def"]
    assert dataset.index.skipped["cannot be encoded"].count == 1
    assert dataset.split("train").text_bytes == 6


# Killing.

SCRIPT = """
import sys
from hornbook.config.data import DataConfig
from hornbook.data import build, encoding, files
from hornbook.data.prepare import prepare
from hornbook.tokenizer.tokenizer import Tokenizer

files.BLOCK_BYTES, encoding.BATCH_BYTES, build.COMMIT_SECONDS = 200, 500, 0
config = DataConfig.model_validate_json(sys.argv[1])
prepare(config, Tokenizer.load(sys.argv[2]), force="--force" in sys.argv)
"""


def run(
    settings: DataConfig, tokenizer_path: Path, *flags: str, crash: str = "", **options
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", SCRIPT, settings.model_dump_json(), str(tokenizer_path), *flags]
    environment = os.environ | {"HORNBOOK_CRASH": crash}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


POINTS = [
    "data:append@1",
    "data:append@3",
    "data:sync@2",
    "data:commit@1",
    "data:commit@4",
    "data:index",
    "data:rename",
]


@pytest.mark.parametrize(
    "crash", [pytest.param(p, marks=() if p == "data:sync@2" else pytest.mark.medium) for p in POINTS]
)
@pytest.mark.usefixtures("small_steps")
def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path, corpus, tokenizer, crash):
    tokenizer.save(tmp_path / "tokenizer")
    prepare(config(corpus, tmp_path / "unbroken"), tokenizer)
    settings = config(corpus, tmp_path / "data")
    assert run(settings, tmp_path / "tokenizer", crash=crash).returncode == -signal.SIGKILL
    assert not settings.path.exists()
    tokenised = []
    encode = encoding.Encoder.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding.Encoder, "encode", lambda self, b: tokenised.extend(b.texts) or encode(self, b))
        prepare(settings, tokenizer)
    assert content(settings.path) == content(tmp_path / "unbroken")
    assert not list(tmp_path.glob("*.partial"))
    if crash not in ("data:append@1", "data:sync@1"):  # something had been committed, and was not done again
        assert len(tokenised) < 298


@pytest.mark.medium
@pytest.mark.usefixtures("small_steps")
def test_killed_again_and_again_with_two_sources(tmp_path, corpus, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    valid = SyntheticSource(n_documents=40, document_length=100)
    prepare(config(corpus, tmp_path / "unbroken", valid=valid), tokenizer)
    settings = config(corpus, tmp_path / "data", valid=valid)
    kills = 0
    while run(settings, tmp_path / "tokenizer", crash="data:commit@3").returncode == -signal.SIGKILL:
        kills += 1
    assert kills >= 3
    assert content(settings.path) == content(tmp_path / "unbroken")


@pytest.mark.medium
@pytest.mark.usefixtures("small_steps")
def test_a_full_disk_is_told_and_survived(tmp_path, corpus, tokenizer):
    """A limit on file sizes stands for a full disk: the write fails in the same way."""
    resource = pytest.importorskip("resource")
    tokenizer.save(tmp_path / "tokenizer")
    prepare(config(corpus, tmp_path / "unbroken", shard_tokens=10**6), tokenizer)
    settings = config(corpus, tmp_path / "data", shard_tokens=10**6)

    limit = (tmp_path / "unbroken" / "train-00000.bin").stat().st_size - 500

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = run(settings, tmp_path / "tokenizer", preexec_fn=limit_files)
    assert "cannot be written" in result.stderr
    assert "What is prepared so far is kept; the same command goes on" in result.stderr
    assert not settings.path.exists()
    prepare(settings, tokenizer)
    assert content(settings.path) == content(tmp_path / "unbroken")


@pytest.mark.usefixtures("small_steps")
def test_a_full_disk_keeps_what_was_committed(tmp_path, corpus, tokenizer, monkeypatch):
    settings = config(corpus, tmp_path / "data")
    commits = itertools.count()

    def sync(path):
        if next(commits) > 20:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hornbook.data.shards.sync_file", sync)
        with pytest.raises(StorageError, match=r"the disk is full.*goes on from there"):
            prepare(settings, tokenizer)
    journal = json.loads((tmp_path / "data.partial" / "journal.json").read_text())
    assert journal["pieces"] > 0
    prepare(config(corpus, tmp_path / "unbroken"), tokenizer)
    assert content(prepare(settings, tokenizer).path) == content(tmp_path / "unbroken")


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("breaks_after", [1, 60, 99])
def test_a_broken_stream_goes_on_where_it_was(tmp_path, tokenizer, hub, breaks_after):
    """Rows that are empty or broken count, rows that were committed are not asked for again."""
    rows = [{"text": f"document {i} of a stream " * 4} for i in range(100)]
    rows[10], rows[20], rows[98] = {"text": ""}, {"story": "x"}, {"text": None}
    settings = {"source": HubSource(dataset="owner/name"), "on_error": "skip"}
    hub.gives = Rows(rows)
    prepare(DataConfig(path=tmp_path / "unbroken", **settings), tokenizer)
    hub.gives = Rows(rows, breaks_after=breaks_after)
    with pytest.raises(DataError, match=f"broke after row {breaks_after}"):
        prepare(DataConfig(path=tmp_path / "data", **settings), tokenizer)
    hub.gives = Rows(rows)
    dataset = prepare(DataConfig(path=tmp_path / "data", **settings), tokenizer)
    assert content(dataset.path) == content(tmp_path / "unbroken")
    assert {reason: skipped.count for reason, skipped in dataset.index.skipped.items()} == {
        "missing field": 1,
        "field is not text": 1,
    }
    assert (hub.gives.skipped > 0) == (breaks_after > 1)


# What stands there already.


def test_made_already_is_not_made_again(tmp_path, corpus, tokenizer, monkeypatch):
    settings = config(corpus, tmp_path / "data")
    prepare(settings, tokenizer)
    monkeypatch.setattr(build.Build, "run", lambda self: pytest.fail("made again"))
    faster = settings.model_dump() | {"workers": 2, "stride": 3, "order": "sequential"}  # these change no bytes
    assert prepare(DataConfig(**faster), tokenizer).splits == ("train", "valid", "test")


def test_another_data_set_is_not_overwritten(tmp_path, corpus, tokenizer):
    before = content(prepare(config(corpus, tmp_path / "data"), tokenizer).path)
    other = config(corpus, tmp_path / "data", valid_fraction=0.3)
    with pytest.raises(DataError, match=r"another data set \(valid_fraction: 0\.2 there, 0\.3 now\).*--force"):
        prepare(other, tokenizer)
    assert content(tmp_path / "data") == before
    replaced = prepare(other, tokenizer, force=True)
    assert replaced.index.made_from["valid_fraction"] == 0.3
    assert [path.name for path in tmp_path.iterdir() if "data" in path.name] == ["data"]


def test_changed_input_and_other_tokenizer_are_noticed(tmp_path, corpus, tokenizer, letters):
    settings = config(corpus, tmp_path / "data", end_of_text=False)
    prepare(settings, tokenizer)
    with pytest.raises(DataError, match="tokenizer: "):
        prepare(settings, letters)
    corpus.write_bytes(corpus.read_bytes() + b"\nmore")
    with pytest.raises(DataError, match="input files of source: "):
        prepare(settings, tokenizer)


def test_a_directory_of_other_things_is_left_alone(tmp_path, corpus, tokenizer):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("x")
    for force in (False, True):
        with pytest.raises(DataError, match="no data set; choose another"):
            prepare(config(corpus, tmp_path / "data"), tokenizer, force=force)
    (tmp_path / "data" / "thesis.tex").unlink()
    prepare(config(corpus, tmp_path / "data"), tokenizer)  # an empty directory is no obstacle


@pytest.mark.medium
@pytest.mark.usefixtures("small_steps")
def test_an_unfinished_preparation_of_something_else(tmp_path, corpus, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    run(config(corpus, tmp_path / "data"), tmp_path / "tokenizer", crash="data:commit@2")
    other = config(corpus, tmp_path / "data", max_documents=200)
    with pytest.raises(DataError, match=r"unfinished .*\(max_documents: null there, 200 now\).*--force"):
        prepare(other, tokenizer)
    prepare(config(corpus, tmp_path / "fresh", max_documents=200), tokenizer)
    assert content(prepare(other, tokenizer, force=True).path) == content(tmp_path / "fresh")


def test_two_at_once_do_not_mix(tmp_path, corpus, tokenizer):
    fcntl = pytest.importorskip("fcntl")
    (work := tmp_path / "data.partial").mkdir()
    other = os.open(work, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    for force in (False, True):
        with pytest.raises(DataError, match="another process is preparing this data set"):
            prepare(config(corpus, tmp_path / "data"), tokenizer, force=force)
    os.close(other)  # as the system does for a process that ends
    prepare(config(corpus, tmp_path / "data"), tokenizer)


@pytest.mark.medium
@pytest.mark.skipif(os.name == "nt", reason="needs a process group to look at")
def test_workers_end_with_a_killed_parent(tmp_path, corpus, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    result = run(
        config(corpus, tmp_path / "data", workers=2), tmp_path / "tokenizer", crash="data:append@2", timeout=60
    )
    # `run` reads the output to its end, which comes only when no worker holds the pipe any more.
    assert result.returncode == -signal.SIGKILL


def test_a_first_attempt_that_failed_at_once_stands_in_nobodys_way(tmp_path, corpus, tokenizer):
    with pytest.raises(DataError, match="not UTF-8"):
        prepare(config(corpus, tmp_path / "data", on_error="stop"), tokenizer)
    assert prepare(config(corpus, tmp_path / "data"), tokenizer).splits == ("train", "valid", "test")


# Little text.


def test_nothing_to_train_on(tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_text("broken\n")
    source = JsonlSource(paths=(tmp_path / "a.jsonl",))
    with pytest.raises(DataError, match=r"nothing to train on: 0 documents were read, 1 skipped \(.*a\.jsonl:1"):
        prepare(DataConfig(path=tmp_path / "data", source=source, on_error="skip"), tokenizer)
    assert not list(tmp_path.glob("data*"))


def test_an_empty_split_is_known(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("only one document")
    dataset = prepare(
        DataConfig(path=tmp_path / "data", source=TextSource(paths=(tmp_path / "a.txt",)), valid_fraction=1e-9),
        tokenizer,
    )
    assert (dataset.splits, dataset.empty_splits) == (("train",), ("valid",))
    with pytest.raises(DataError, match=r"an empty split 'valid', only train; prepare again with .*valid_fraction"):
        dataset.split("valid")


def test_progress_is_told(tmp_path, corpus, tokenizer, small_steps):
    told = []
    prepare(config(corpus, tmp_path / "data"), tokenizer, progress=told.append)
    assert told[-1].documents == 298
    assert told[-1].total_bytes == corpus.stat().st_size
    assert told[-1].skipped == 2
    assert [at.text_bytes for at in told] == sorted(at.text_bytes for at in told)


def test_memory_does_not_grow_with_the_text(tmp_path, letters, monkeypatch):
    """Four times the batches and shards: the same peak, but for what one index and journal need.

    Twice, because a table of the interpreter may happen to grow meanwhile.
    """
    monkeypatch.setattr(encoding, "BATCH_BYTES", 20_000)
    source = SyntheticSource(order=1, n_symbols=4, n_documents=2000, document_length=500)
    peaks = []
    for run, documents in enumerate((500, 2000, 2000)):
        settings = {"path": tmp_path / str(run), "max_documents": documents, "shard_tokens": 100_000}
        tracemalloc.start()
        prepare(DataConfig(source=source, end_of_text=False, **settings), letters)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks[1:]) < 1.2 * peaks[0]
