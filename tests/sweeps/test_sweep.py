"""A sweep read from its file: configurations of points, the frozen copy, and what is refused."""

from pathlib import Path

import pytest

from hornbook.errors import ConfigError
from hornbook.sweeps.sweep import Sweep
from tiny_project import write_project

AXES = """
extends = "tiny.toml"
[sweep.grid]
optim.learning_rate = [1e-2, 1e-3]
optim.betas = [[0.9, 0.95], [0.9, 0.99]]
[[sweep.list]]
schedule.kind = "wsd"
[[sweep.list]]
optim.kind = "muon"
"""


@pytest.fixture
def file(tmp_path):
    write_project(tmp_path)
    path = tmp_path / "rates.toml"
    path.write_text(AXES)
    return path


def test_a_point_is_the_file_with_its_settings(file):
    sweep = Sweep.load(file, ["train.steps=5"])
    config = sweep.config(sweep.points[5])
    assert (config.optim.kind, config.optim.learning_rate, config.optim.betas) == ("muon", 1e-3, (0.9, 0.95))
    assert config.train.steps == 5
    assert config.sweep is None
    assert config.run.out_dir == sweep.root == sweep.base.run.out_dir / "rates"
    assert config.run.name == sweep.points[5].id
    assert config.run.notes == sweep.points[5].label


def test_threads_are_the_cores_of_a_process_and_the_group_is_the_sweep(file):
    settings = ['run.threads="none"', "sweep.resources.cpus=3", "tracking.wandb={}"]
    sweep = Sweep.load(file, settings)
    config = sweep.config(sweep.points[0])
    assert (config.run.threads, config.tracking.wandb.group) == (3, "rates")
    assert Sweep.load(file).config(sweep.points[0]).run.threads == 1


def test_the_frozen_file_is_the_same_sweep(file, tmp_path):
    sweep = Sweep.load(file, ["train.steps=5", "sweep.slurm.minutes=7"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.toml").write_text(sweep.frozen())
    again = Sweep.load(elsewhere / "x.toml")
    assert again.points == sweep.points
    assert again.root == sweep.root
    assert again.table.slurm == sweep.table.slurm
    assert [again.config(p) for p in again.points] == [sweep.config(p) for p in sweep.points]
    assert sorted(again.frozen().splitlines()[1:]) == sorted(sweep.frozen().splitlines()[1:])


def test_a_directory_is_the_sweep_that_was_started_in_it(file, tmp_path):
    sweep = Sweep.load(file)
    with pytest.raises(ConfigError, match="no sweep has been started here"):
        Sweep.load(tmp_path)
    sweep.prepare()
    assert Sweep.load(sweep.root).points == sweep.points


def test_what_varies_is_not_for_set(file):
    for assignment in ("optim.learning_rate=1.0", "optim={}"):
        with pytest.raises(ConfigError, match="the sweep varies it"):
            Sweep.load(file, [assignment])


def test_a_file_without_sweep(tmp_path):
    with pytest.raises(ConfigError, match=r"tiny.toml: no \[sweep\]"):
        Sweep.load(write_project(tmp_path))


def test_every_wrong_point_is_named(file):
    file.write_text(AXES.replace("1e-3]", "-1, -2, -3, -4]"))
    with pytest.raises(ConfigError) as caught:
        Sweep.load(file).check()
    said = str(caught.value)
    assert "point 4 (optim.learning_rate=-1" in said
    assert "expected a number of at least 0" in said or "greater than 0" in said
    assert "and 11 more points like these" in said


def test_an_unknown_key_is_explained(file):
    file.write_text(AXES.replace("optim.betas", "optim.beta"))
    with pytest.raises(ConfigError, match=r"did you mean optim\.betas"):
        Sweep.load(file).check()


def test_a_directory_is_a_sweep_wherever_it_lies(file, tmp_path, monkeypatch):
    sweep = Sweep.load(file, ["run.out_dir='runs'"])
    monkeypatch.chdir(tmp_path)
    sweep.prepare()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Sweep.load(tmp_path / "runs/rates").root == tmp_path / "runs/rates"
    monkeypatch.chdir(tmp_path / "runs/rates")
    assert Sweep.load(Path()).root == tmp_path / "runs/rates"
    (tmp_path / "runs/rates").rename(tmp_path / "moved")
    moved = Sweep.load(tmp_path / "moved")
    assert moved.config(moved.points[0]).run.out_dir == tmp_path / "moved"
    (tmp_path / "again.toml").write_text(moved.frozen())
    assert Sweep.load(tmp_path / "again.toml").root == tmp_path / "moved"


def test_the_name_is_one_that_a_job_can_have(file, tmp_path):
    file = file.rename(tmp_path / "my rates.toml")
    with pytest.raises(ConfigError, match=r"'my rates' is no name for a sweep.*sweep\.name"):
        Sweep.load(file)
    assert Sweep.load(file, ["sweep.name='my-rates'"]).root.name == "my-rates"


@pytest.mark.parametrize(("device", "gpu", "words"), [("cuda", "false", "gpu = true"), ("cpu", "true", "for nothing")])
def test_gpus_are_asked_for_where_they_are_used(file, device, gpu, words):
    with pytest.raises(ConfigError, match=words):
        Sweep.load(file, [f"run.device='{device}'", f"sweep.resources.gpu={gpu}"]).check()
    Sweep.load(file, ["run.device='auto'", f"sweep.resources.gpu={gpu}"]).check()


def test_what_a_sweep_would_fill_in_may_vary(file):
    base = file.with_name("tiny.toml")
    base.write_text(base.read_text().replace("threads = 1\n", ""))
    sweep = Sweep.load(file, ["sweep.zip={run.notes=['x','y'], run.threads=[3, 4]}"])
    config = sweep.config(sweep.points[2])
    assert (config.run.notes, config.run.threads) == ("y", 4)


def test_the_frozen_file_survives_empty_tables(file, tmp_path):
    (tmp_path / "tiny.toml").write_text((tmp_path / "tiny.toml").read_text() + "[eval]\n")
    file.write_text("[run]\n" + AXES.replace('extends = "tiny.toml"', "").replace("[sweep.grid]", "[sweep.grid]", 1))
    sweep = Sweep.load(file)
    (tmp_path / "again.toml").write_text(sweep.frozen())
    assert Sweep.load(tmp_path / "again.toml").points == sweep.points


def test_a_key_in_two_spellings_is_told(file):
    file.write_text(AXES.replace("optim.betas", '"optim.learning_rate" = [1]\noptim.betas'))
    with pytest.raises(ConfigError, match=r"optim\.learning_rate stands there twice"):
        Sweep.load(file)
