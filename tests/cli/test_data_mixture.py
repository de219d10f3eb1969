"""A mixture from the command line: looked at before, trained on, resumed, replayed, evaluated part by part."""

import json
import sys
from collections import Counter

import pytest

from cut_run import cut_short
from hornbook import assemble
from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.data.mixture import Mixture
from hornbook.data.prepare import prepare
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from tiny_project import load, make_project, text

WEIGHTS = (3.0, 1.0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A project whose second data set holds other sentences; the configuration of the mixture."""
    root = tmp_path_factory.mktemp("mixed")
    plain = make_project(root)
    (root / "more.txt").write_text(text(150, seed=1))
    config = load(plain, data__path=str(root / "more"), data__source__paths=[str(root / "more.txt")])
    prepare(config.data, Tokenizer.load(config.tokenizer.path))
    path = root / "mixed.toml"
    mixture = f'[data]\nmixture = ["{root.as_posix()}/data", "{root.as_posix()}/more"]\nweights = [3, 1]\n'
    path.write_text(f'extends = "tiny.toml"\n{mixture}\n[tracking]\nconsole = "auto"\n')
    return path


def run(capsys, *arguments):
    status = main(["data", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_inspect_tells_what_each_part_will_give(mixed, capsys):
    events = [json.loads(line) for line in run(capsys, "inspect", mixed).splitlines()]
    assert [event["name"] for event in events] == ["data", "more"]
    assert [event["samples"] for event in events] == [36, 12]  # 12 steps of 4 windows
    assert [event["achieved"] for event in events] == [event["wanted"] for event in events] == [0.75, 0.25]
    for event in events:
        assert event["epochs"] == event["samples"] / event["windows"]


def test_inspect_on_a_terminal(mixed, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    header, first, _, last = run(capsys, "inspect", mixed).splitlines()
    assert header.split() == ["data", "set", "weight", "wanted", "windows", "samples", "achieved", "epochs"]
    assert first.split()[:3] == ["data", "3", "75.000%"]
    assert last == "in 12 steps of 4 windows of 16 tokens"


@pytest.mark.parametrize("sample", [0, 2, 30])
def test_a_sample_is_the_row_that_training_reads(mixed, capsys, sample):
    config = load_config(mixed).config
    job, _ = assemble.build_job(config, Mixture.open(config.data), None, None)
    step, row = divmod(sample, 4)
    rows = [tokens.tolist() for batch in job.batches.step(step) for tokens in batch.tokens]
    shown = [json.loads(line) for line in run(capsys, "inspect", mixed, "--sample", sample).splitlines()]
    assert [token["id"] for token in shown] == rows[row]


def test_a_sample_of_a_single_data_set(mixed, capsys):
    shown = run(capsys, "inspect", mixed.parent / "tiny.toml", "--sample", 5).splitlines()
    assert len(shown) == 17


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MIXED", "--window", "0"], "--window means nothing here: data.mixture names several data sets"),
        (["MIXED", "--sample", "1", "--length", "4"], "--length means nothing here: the configuration says it"),
        (["MIXED", "--split", "valid"], "--split valid means nothing here"),
        (["DATA", "--sample", "1"], "--sample: which window is read when depends on the training"),
    ],
)
def test_what_means_nothing_is_refused(mixed, capsys, arguments, message):
    places = {"MIXED": str(mixed), "DATA": str(mixed.parent / "data")}
    assert main(["data", "inspect", *[places.get(word, word) for word in arguments]]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err


def test_eval_wants_to_know_which_part(mixed, tmp_path, capsys):
    from tiny_run import make_run

    own = make_run(tmp_path)
    command = ["eval", "perplexity", str(own), "--config", str(mixed)]
    unset = ["--set", 'data.path="data/default"']
    assert main([*command, *unset]) == 2
    assert "eval scores one data set, and data.mixture names 2; say which: --set 'data.path=" in capsys.readouterr().err


@pytest.mark.medium
class TestTraining:
    """Whole runs of the mixture."""

    def train(self, mixed, out, **changes):
        return assemble.train(load(mixed, run__out_dir=str(out), tracking__console="none", **changes))

    def test_proportions_and_the_loss_of_each_part_are_told(self, mixed, tmp_path):
        done = self.train(mixed, tmp_path)
        events = read_metrics(done.run_dir.metrics_file)
        told = [event for event in events if event["event"] == "mixture"]
        assert [event["step"] for event in told] == list(range(1, 13))
        config = load(mixed)
        job, _ = assemble.build_job(config, Mixture.open(config.data), None, None)
        seen = Counter()
        for event in told:
            seen += Counter(row.shard.split("/")[-2] for row in job.batches.rows(event["step"] - 1))
            for name in ("data", "more"):
                assert event[f"mixture/share/{name}"] == seen[name] / seen.total()
        assert told[-1]["mixture/share/data"] == 0.75
        validations = [event for event in events if event["event"] == "val"]
        assert len(validations) == 3
        for event in validations:
            rows = Counter(
                {
                    part: sum(
                        b.n_rows for b, own in zip(job.held_out.batches, job.held_out.parts, strict=True) if own == part
                    )
                    for part in ("data", "more")
                }
            )
            assert rows == {"data": 6, "more": 2}
            parts = 0.75 * event["val/loss/data"] + 0.25 * event["val/loss/more"]
            # float32 sums of 128 numbers: at most 128 roundings of 6e-8 each
            assert event["val/loss"] == pytest.approx(parts, rel=1e-5)
        start = next(event for event in events if event["event"] == "start")
        assert start["dataset"].endswith("/more (0.25)")
        assert "warning" not in start

    def test_a_broken_run_goes_on_where_it_was(self, mixed, tmp_path, monkeypatch):
        whole = self.train(mixed, tmp_path / "whole")
        config = load(mixed, run__out_dir=str(tmp_path / "broken"), tracking__console="none")
        cut_short(config, 8, monkeypatch)
        broken = assemble.train(config, resume=tmp_path / "broken/tiny")
        for left, right in zip(whole.model.parameters(), broken.model.parameters(), strict=True):
            assert left.equal(right)

    def test_a_path_that_is_not_read_is_told_of(self, mixed, tmp_path):
        done = self.train(mixed, tmp_path, data__path="elsewhere", train__steps=1)
        start = read_metrics(done.run_dir.metrics_file)[0]
        assert start["warning"] == "data.path = elsewhere is not in data.mixture, so training does not read it"

    def test_other_weights_are_another_run(self, mixed, tmp_path, capsys):
        done = self.train(mixed, tmp_path)
        changed = ["--set", "data.weights=[1, 1]", "--set", f'run.out_dir="{tmp_path.as_posix()}"']
        assert main(["train", str(mixed), "--resume", str(done.run_dir.root), *changed]) == 2
        assert "data.weights = (1.0, 1.0), in the run (3.0, 1.0)" in capsys.readouterr().err

    def test_moved_data_are_the_same_run(self, mixed, tmp_path):
        done = self.train(mixed, tmp_path, train__steps=12)
        moved = [tmp_path / "one", tmp_path / "two"]
        for link, name in zip(moved, ("data", "more"), strict=True):
            link.symlink_to(mixed.parent / name)
        changes = {"data__mixture": [str(path) for path in moved], "train__steps": 14}
        config = load(mixed, run__out_dir=str(tmp_path), tracking__console="none", **changes)
        assert assemble.train(config, resume=done.run_dir.root).result.state.step == 14
