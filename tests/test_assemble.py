"""Whole runs of a tiny project: real windows, real checkpoints, everything switched on at once."""

import errno
import hashlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cut_run import cut_short
from hornbook import assemble
from hornbook.checkpoint.load import load_model
from hornbook.config.chat import TEMPLATES
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.prepare import prepare
from hornbook.errors import CheckpointError, HornbookError, TrainingError
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import LossOutput
from hornbook.replay import replay_step
from hornbook.storage.disk import StorageError
from hornbook.storage.run_dir import RunDir, pointed
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from hornbook.training import resume, run_record, saving
from hornbook.training.saving import Sampler
from hornbook.training.validation import Validation
from tiny_project import load, make_project

pytestmark = pytest.mark.medium

EVERYTHING = {
    "model__dropout": 0.1,
    "train__precision": "bf16",
    "train__activation_checkpointing": True,
    "train__sample_every": 3,
    "data__loader_threads": 2,
    "objective__label_smoothing": 0.1,
    "objective__z_loss": 1e-4,
    "checkpoint__light_every": 3,
    "checkpoint__full_every": 5,
    "checkpoint__full_keep": 1,
}
CLOCKS = (
    *("time", "name", "train/tokens_per_second", "train/data_wait"),
    *("train/seconds_left", "train/mfu", "train/peak_memory_bytes", "train/compile_seconds"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("assemble"))


@pytest.fixture
def configure(project: Path, tmp_path: Path) -> Iterator[Callable[..., Config]]:
    threads = torch.get_num_threads()
    yield lambda name="tiny", **changes: load(project, run__out_dir=str(tmp_path), run__name=name, **changes)
    torch.set_num_threads(threads)


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss of these steps (4 samples each) is not a number."""
    whole = NextToken.__call__

    def spoilt(self: NextToken, model: torch.nn.Module, batch) -> LossOutput:
        output = whole(self, model, batch)
        if not (model.training and int(batch.sample_ids[0]) // 4 in steps):
            return output
        return LossOutput(terms={name: term * math.nan for name, term in output.terms.items()}, metrics=output.metrics)

    monkeypatch.setattr(NextToken, "__call__", spoilt)


def content(run: Path) -> dict[str, str]:
    """Every file of every checkpoint, by its digest; LATEST and BEST too."""
    root = run / "checkpoints"
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def weights(run: Path) -> str:
    return content(run)["step-00000012/model.safetensors"]


def events(run: Path) -> list[dict[str, object]]:
    return [
        {key: value for key, value in event.items() if key not in CLOCKS and not key.endswith("path")}
        for event in read_metrics(run / "metrics.jsonl")
        if event["event"] not in ("start", "finish")
    ]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        (EVERYTHING, set()),
        (EVERYTHING, {4, 6, 8, 9}),
        ({"optim__kind": "adam", "model__dropout": 0.2, "train__nll_chunk_tokens": 5}, set()),
        ({**EVERYTHING, "optim__kind": "muon", "optim__ema_decay": 0.9}, {4}),
        ({**EVERYTHING, "optim__kind": "schedule_free_adamw", "schedule__kind": "constant"}, {4}),
        pytest.param(
            {**EVERYTHING, "optim__kind": "muon", "optim__ema_decay": 0.9, "train__compile": "on"},
            {4},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_broken_run_ends_with_the_very_files_of_an_unbroken_one(configure, tmp_path, monkeypatch, changes, bad):
    spoil(monkeypatch, bad)
    assemble.train(configure("whole", **changes))
    cut_short(configure("broken", **changes), 8, monkeypatch)
    broken = RunDir.open(tmp_path / "broken")
    assert broken.state == "failed"
    with broken.metrics_file.open("a") as file:
        file.write('{"event": "train", "st')  # as a kill in the middle of a write leaves it
    resumed = assemble.train(configure("broken", **changes), resume=broken.root)
    assert resumed.result.state.skipped == len(bad)
    assert broken.state == "finished"
    assert content(broken.root) == content(tmp_path / "whole")
    assert events(broken.root) == events(tmp_path / "whole")


def test_a_run_that_ran_out_of_memory_goes_on_from_before_as_it_did(configure, tmp_path, monkeypatch):
    whole = NextToken.__call__

    def limited(self: NextToken, model: torch.nn.Module, batch) -> LossOutput:
        if model.training and batch.n_rows > 2 and int(batch.sample_ids[0]) >= 4 * 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, model, batch)

    monkeypatch.setattr(NextToken, "__call__", limited)
    changes = {"train__micro_batch_size": 4, **EVERYTHING}
    assemble.train(configure("whole", **changes))
    cut_short(configure("broken", **changes), 8, monkeypatch)  # after step 5, 4 rows at a time, and two of 2
    broken = assemble.train(configure("broken", **changes), resume=tmp_path / "broken").run_dir
    assert content(broken.root) == content(tmp_path / "whole")
    choices = json.loads(broken.choices_file.read_text())
    assert (choices["micro_batch_size"], choices["shrunk"]) == (4, [[6, 2]])
    rows = replay_step(configure("broken", **changes), broken.root, step=9).rows
    assert {(row.origin.micro_batch, row.origin.row) for row in rows} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.medium
def test_what_only_watches_or_only_reads_ahead_changes_no_weight(configure, tmp_path):
    variants = {
        "plain": {},
        "threads": {"data__loader_threads": 2},
        "deep": {"data__loader_threads": 3, "data__prefetch": 7},
        "measured": {"tracking__norms_every": 1, "tracking__tensorboard": True, "tracking__histograms_every": 2},
        "watched": {"train__sample_every": 2, "train__log_every": 5, "train__eval_every": 1},
        "alone": {"train__eval_every": 0, "checkpoint__light_every": 0, "checkpoint__full_every": 0},
    }
    for name, changes in variants.items():
        assemble.train(configure(name, model__dropout=0.1, **changes))
    assert len({weights(tmp_path / name) for name in variants}) == 1
    assert "BEST" not in content(tmp_path / "alone")
    assert not [event for event in events(tmp_path / "alone") if event["event"] == "val"]


def test_validation_is_the_nll_of_the_fixed_windows_by_hand(configure, project, tmp_path):
    assemble.train(configure(objective__label_smoothing=0.3))
    logged = [event for event in events(tmp_path / "tiny") if event["event"] == "val"][-1]
    model, tokenizer, _ = load_model(tmp_path / "tiny")
    ids = torch.from_numpy(Dataset.open(project.parent / "data").split("valid").read(0, 1847).astype("int64"))
    starts = [min(16 * (number * 116 // 8), 1847 - 17) for number in range(8)]  # eval_tokens 128: 8 of 116 windows
    rows = torch.stack([ids[start : start + 17] for start in starts])
    nll = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
    n_bytes = sum(
        len(tokenizer.decode_bytes([i])) for i in rows[:, 1:].flatten().tolist() if i not in _special(tokenizer)
    )
    assert logged["val/loss"] == pytest.approx(nll.item() / 128, rel=1e-5)
    assert logged["val/perplexity"] == pytest.approx(math.exp(nll.item() / 128), rel=1e-4)
    assert logged["val/bits_per_byte"] == pytest.approx(nll.item() / math.log(2) / n_bytes, rel=1e-5)


def _special(tokenizer: Tokenizer) -> set[int]:
    return {int(i) for i, width in enumerate(tokenizer.byte_lengths()) if width == 0}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("owner", "name"), [(Validation, "__call__"), (Sampler, "__call__"), (saving, "save_checkpoint")]
)
def test_a_signal_between_steps_is_heard_after_the_next_one(configure, tmp_path, monkeypatch, owner, name):
    whole = getattr(owner, name)

    def interrupted(*arguments: object, **named: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(*arguments, **named)

    monkeypatch.setattr(owner, name, interrupted)
    changes = {"train__sample_every": 4, "checkpoint__light_every": 4}
    trained = assemble.train(configure(**changes))
    assert (trained.result.stop_reason, trained.result.state.step) == ("preempted", 5)
    assert trained.run_dir.state == "preempted"
    assert pointed(trained.run_dir.checkpoints, "latest") == trained.run_dir.checkpoints / "step-00000005"


class TestFailure:
    """Whatever ends a run early: one clear error, the last checkpoint whole, the state `failed`."""

    @pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
    def test_a_file_that_grows_too_large(self, configure, tmp_path):
        resource = pytest.importorskip("resource")
        before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
            with pytest.raises(StorageError, match=r"safetensors: .*ulimit -f"):
                assemble.train(configure())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert RunDir.open(tmp_path / "tiny").state == "failed"
        assert content(tmp_path / "tiny") == {}

    def test_a_disk_that_fills_up(self, configure, tmp_path, monkeypatch):
        whole = saving.save_checkpoint

        def full(*arguments: object, **named: object) -> Path:
            if named["step"] == 8:
                self._fill(monkeypatch)
            return whole(*arguments, **named)

        monkeypatch.setattr(saving, "save_checkpoint", full)
        with pytest.raises(StorageError, match="the disk is full"):
            assemble.train(configure())
        run = RunDir.open(tmp_path / "tiny")
        assert run.state == "failed"
        assert load_model(run.root)[2].step == 4

    def _fill(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", refuse)

    def test_a_lost_run_says_what_can_be_done(self, configure, tmp_path, monkeypatch):
        spoil(monkeypatch, set(range(5, 12)))
        with pytest.raises(TrainingError, match=r"steps 6 to 10: .*last good checkpoint is .*step-00000008"):
            assemble.train(configure())
        run = RunDir.open(tmp_path / "tiny")
        assert run.state == "failed"
        left_out = [json.loads(line) for line in run.skipped_file.read_text().splitlines()]
        assert [record["step"] for record in left_out] == [6, 7, 8, 9, 10]
        assert [row["sample"] for row in left_out[0]["rows"]] == [20, 21, 22, 23]
        with pytest.raises(TrainingError, match="steps 6 to 10"):
            assemble.train(configure(), resume=run.root)
        trained = assemble.train(configure(train__max_skipped_in_a_row=8), resume=run.root)
        assert trained.result.state.skipped_for == {"loss": 7}

    def test_a_tracker_that_cannot_start(self, configure, tmp_path, monkeypatch):
        def refuse(*_: object) -> None:
            raise HornbookError("no login")

        monkeypatch.setattr(run_record, "open_tracker", refuse)
        with pytest.raises(HornbookError, match="no login"):
            assemble.train(configure())
        assert RunDir.open(tmp_path / "tiny").state == "failed"


class TestResume:
    def test_from_a_named_checkpoint(self, configure, tmp_path):
        assemble.train(configure())
        before = weights(tmp_path / "tiny")
        root = tmp_path / "tiny/checkpoints"
        trained = assemble.train(configure(), resume=root / "step-00000008")
        assert [e["step"] for e in read_metrics(trained.run_dir.metrics_file) if e["event"] == "start"] == [0, 8]
        assert weights(tmp_path / "tiny") == before
        with pytest.raises(CheckpointError, match="a light checkpoint"):
            assemble.train(configure(), resume=root / "step-00000010")
        (root / "step-00000008/manifest.json").unlink()
        with pytest.raises(CheckpointError, match="incomplete"):
            assemble.train(configure(), resume=root / "step-00000008")

    def test_after_its_minutes_were_over(self, configure, tmp_path):
        short = assemble.train(configure("short", train__max_minutes=1e-6))
        assert (short.result.stop_reason, short.result.state.step) == ("max_minutes", 1)
        assert [event["step"] for event in events(short.run_dir.root) if event["event"] == "val"] == [1]
        assemble.train(configure("short"), resume=short.run_dir.root)
        assemble.train(configure("whole"))
        assert weights(tmp_path / "short") == weights(tmp_path / "whole")

    def test_killed_before_anything_was_saved(self, configure, tmp_path, monkeypatch):
        cut_short(configure(), 1, monkeypatch)
        for gone in ("config.toml", "provenance.json", "metrics.jsonl"):  # in its very first instant
            (tmp_path / "tiny" / gone).unlink()
        assert assemble.train(configure(), resume=tmp_path / "tiny").result.state.step == 12

    def test_another_number_of_steps_is_remarked_on_from_one_reading_of_its_settings(
        self, configure, tmp_path, monkeypatch
    ):
        assemble.train(configure(train__steps=4))
        read, load = [], resume.load_config

        def counted(path):
            read.append(path)
            return load(path)

        monkeypatch.setattr(resume, "load_config", counted)
        monkeypatch.setattr(assemble, "load_config", counted, raising=False)
        assemble.train(configure(train__steps=40), resume=tmp_path / "tiny")
        assert read == [tmp_path / "tiny/config.toml"]
        *_, start = (event for event in read_metrics(tmp_path / "tiny/metrics.jsonl") if event["event"] == "start")
        assert "train.steps = 40, in the run 4: the schedule is another" in start["warning"]

    def test_without_a_name_it_is_found_by_the_settings_that_it_has_now(self, configure, tmp_path):
        assemble.train(configure(train__steps=4))
        assemble.train(configure(train__steps=8), resume=tmp_path / "tiny")
        assert assemble.train(configure(train__steps=8), resume=True).run_dir.root == tmp_path / "tiny"
        origin = RunDir.open(tmp_path / "tiny").provenance()
        assert {"command", "started", "data_digest"} <= origin.keys()

    def test_other_data_is_another_run(self, project, tmp_path):
        root = tmp_path / "copy"
        shutil.copytree(project.parent, root, ignore=shutil.ignore_patterns("runs"))
        text = project.read_text(encoding="utf-8").replace(project.parent.as_posix(), root.as_posix())
        (root / "tiny.toml").write_text(text, encoding="utf-8")
        config = load(root / "tiny.toml")
        run = assemble.train(load(root / "tiny.toml", train__steps=4)).run_dir.root
        with (root / "text.txt").open("a") as file:
            file.write("one more line\n" * 30)
        shutil.rmtree(root / "data")
        prepare(config.data, Tokenizer.load(config.tokenizer.path))
        with pytest.raises(CheckpointError, match="data set"):
            assemble.train(config, resume=run)


class TestInitFrom:
    def test_a_model_that_would_read_the_weights_otherwise_is_refused(self, configure, tmp_path):
        assemble.train(configure())
        start = {"model__init_from": str(tmp_path / "tiny"), "train__steps": 1}
        with pytest.raises(CheckpointError, match=r"model\.n_heads is 1, was 2.*model\.position is 'none'"):
            assemble.train(configure("other", **start, model__n_heads=1, model__position="none"))
        assert not (tmp_path / "other").exists()
        assemble.train(configure("longer", **start, model__rope_theta=1e5, model__dropout=0.1))

    def test_shards_of_another_tokenizer_are_refused(self, configure, project, tmp_path):
        assemble.train(configure(train__steps=1))
        path = tmp_path / "tiny/checkpoints/step-00000001/tokenizer"
        other = Tokenizer.train(["some other text, other merges"], load(project).tokenizer)
        shutil.rmtree(path)
        other.save(path)
        self._sign(path.parent)
        with pytest.raises(HornbookError, match="tokenizer"):
            assemble.train(configure("other", model__init_from=str(tmp_path / "tiny")))

    def test_data_of_a_chat_template_make_the_vocabulary_grow(self, configure, tmp_path):
        assemble.train(configure(train__steps=1))
        before, base, _ = load_model(tmp_path / "tiny")
        changes = {
            "model__init_from": str(tmp_path / "tiny"),
            "data__path": str(tmp_path / "chat-data"),
            "optim__learning_rate": 1e-9,
        }
        config = configure("chat", **changes, train__steps=1)
        prepare(config.data, base.with_chat_template(TEMPLATES["chatml"]))
        assemble.train(config)
        after, tokenizer, _ = load_model(tmp_path / "chat")
        assert tokenizer.chat_template == TEMPLATES["chatml"]
        assert after.config.vocab_size == tokenizer.vocab_size == base.vocab_size + 2
        tokens = torch.arange(10, 20)[None]
        with torch.no_grad():
            torch.testing.assert_close(after(tokens)[..., :-2], before(tokens), rtol=0, atol=1e-5)
        assemble.train(configure("chat", **changes, train__steps=2), resume=tmp_path / "chat")

    def _sign(self, directory: Path) -> None:
        from hornbook.checkpoint.manifest import write_manifest

        step = json.loads((directory / "manifest.json").read_bytes())["step"]
        write_manifest(directory, step=step, kind="full")
