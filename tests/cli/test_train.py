"""`hornbook train`, in this process, on a tiny project."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from hornbook.cli.main import main, verb_parser
from hornbook.errors import HornbookError
from hornbook.storage.lock import alone
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import read_metrics
from tiny_project import make_project


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("train"))


@pytest.fixture
def project(source, tmp_path):
    """The prepared project with runs of its own."""
    text = source.read_text(encoding="utf-8").replace(f"{source.parent.as_posix()}/runs", f"{tmp_path.as_posix()}/runs")
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _events(out: str) -> list[dict]:
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


def test_stdout_is_json_lines_when_it_is_no_terminal(project, capsys):
    assert main(["train", str(project), "--set", 'tracking.console="auto"']) == 0
    events = _events(capsys.readouterr().out)
    train = [e for e in events if e["event"] == "train"]
    assert [e["step"] for e in train] == list(range(1, 13))
    assert [e["step"] for e in events if e["event"] == "val"] == [4, 8, 12]
    assert {
        "train/loss",
        "train/perplexity",
        "train/bits_per_byte",
        "train/learning_rate",
        "train/grad_norm",
        "train/tokens_per_second",
        "train/mfu",
        "train/peak_memory_bytes",
        "train/seconds_left",
    } <= set(train[0])


def test_every_event_has_its_own_step(project, tmp_path):
    assert main(["train", str(project), "--set", "train.log_every=7", "--set", "train.eval_every=5"]) == 0
    lines = _events((tmp_path / "runs/tiny/metrics.jsonl").read_text(encoding="utf-8"))
    assert [e["step"] for e in lines if e["event"] == "val"] == [5, 10, 12]
    assert [e["step"] for e in lines if e["event"] == "train"] == [7, 12]


def test_the_run_directory_repeats_the_run(project, tmp_path):
    assert main(["train", str(project)]) == 0
    run = RunDir.open(tmp_path / "runs/tiny")
    assert run.state == "finished"
    assert main(["train", str(run.config_file), "--set", 'run.name="again"']) == 0
    weights = [
        (tmp_path / "runs" / name / "checkpoints/step-00000012/model.safetensors").read_bytes()
        for name in ("tiny", "again")
    ]
    assert weights[0] == weights[1]


def test_a_run_is_never_overwritten(project, capsys):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    assert main(["train", str(project), "--set", "train.steps=2"]) == 2
    message = capsys.readouterr().err
    assert "--resume" in message
    assert "Traceback" not in message


def test_resume_without_a_name_finds_the_run_and_a_finished_one_has_nothing_left(project, tmp_path):
    assert main(["train", str(project)]) == 0
    before = (tmp_path / "runs/tiny/checkpoints/step-00000012/manifest.json").read_bytes()
    assert main(["train", str(project), "--resume"]) == 0
    assert (tmp_path / "runs/tiny/checkpoints/step-00000012/manifest.json").read_bytes() == before


def test_resume_does_not_take_a_run_of_another_name(project, tmp_path):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    assert main(["train", str(project), "--set", "train.steps=2", "--set", 'run.name="repeated"', "--resume"]) == 0
    assert RunDir.open(tmp_path / "runs/repeated").state == "finished"
    lines = _events((tmp_path / "runs/tiny/metrics.jsonl").read_text(encoding="utf-8"))
    assert [event["event"] for event in lines].count("start") == 1


def test_resume_before_the_file_means_the_run_of_that_file(project, tmp_path, capsys):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    assert main(["train", "--resume", str(project), "--set", "train.steps=3"]) == 0
    assert (tmp_path / "runs/tiny/checkpoints/step-00000003").is_dir()
    assert main(["train", "--resume", str(project), "--set", "model.n_layers=3"]) == 2
    assert "model.n_layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words", "command"),
    [
        ([], "Finished at step 2 of 2.", "train --resume {run} --set train.steps=4"),
        (["train.steps=100_000", "train.max_minutes=1e-9"], "Out of time at step 1 of 100,000, and saved.", "--resume"),
    ],
)
def test_a_person_is_told_where_the_run_lies_and_what_comes_next(
    project, tmp_path, capsys, monkeypatch, settings, words, command
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    chosen = [word for each in ["train.steps=2", *settings] for word in ("--set", each)]
    assert main(["train", str(project), *chosen, "--set", 'tracking.console="auto"']) == 0
    closing = capsys.readouterr().out.splitlines()[-5:]
    run = tmp_path / "runs/tiny"
    assert closing[0] == f"{words} The run lies in {run}. Try next:"
    assert command.format(run=run) in closing[-1]
    for line in closing[1:]:
        words = shlex.split(line)[shlex.split(line).index("hornbook") + 1 :]
        verb_parser(words[0]).parse_args(words[1:])


def test_a_trunk_is_offered_a_cooldown_unless_it_averages(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for kind, offered in (("adamw", True), ("schedule_free_adamw", False)):
        settings = ["train.steps=2", f'run.name="{kind}"', f'optim.kind="{kind}"', 'schedule.kind="constant"']
        chosen = [word for each in [*settings, 'tracking.console="auto"'] for word in ("--set", each)]
        assert main(["train", str(project), *chosen]) == 0
        assert ("--branch-from" in capsys.readouterr().out) == offered


def test_a_program_is_told_nothing_but_events(project, capsys):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    assert capsys.readouterr() == ("", "")


def test_resume_can_train_longer(project, tmp_path):
    constant = ["--set", 'schedule={kind="constant"}']
    assert main(["train", str(project), *constant, "--set", 'run.name="long"']) == 0
    assert main(["train", str(project), *constant, "--set", "train.steps=8"]) == 0
    assert main(["train", "--resume", str(tmp_path / "runs/tiny"), "--set", "train.steps=12"]) == 0
    weights = [
        (tmp_path / "runs" / name / "checkpoints/step-00000012/model.safetensors").read_bytes()
        for name in ("tiny", "long")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("kind", "warned"), [("constant", False), ("cosine", True)])
def test_resume_says_when_more_steps_move_the_learning_rate(project, tmp_path, kind, warned):
    schedule = ["--set", f'schedule={{kind="{kind}"}}']
    assert main(["train", str(project), *schedule, "--set", "train.steps=6"]) == 0
    run = tmp_path / "runs/tiny"
    assert main(["train", "--resume", str(run), *schedule, "--set", "train.steps=24"]) == 0
    starts = [event for event in read_metrics(run / "metrics.jsonl") if event["event"] == "start"]
    assert "warning" not in starts[0]
    assert ("train.steps = 24, in the run 6" in starts[1].get("warning", "")) == warned


def test_resume_follows_data_and_tokenizer_that_have_moved(source, project, tmp_path):
    assert main(["train", str(project), "--set", "train.steps=4"]) == 0
    moved = []
    for name in ("data", "tokenizer"):
        shutil.copytree(source.parent / name, tmp_path / "elsewhere" / name)
        moved += ["--set", f'{name}.path="{(tmp_path / "elsewhere" / name).as_posix()}"']
    assert main(["train", "--resume", str(tmp_path / "runs/tiny"), "--set", "train.steps=6", *moved]) == 0


@pytest.mark.skipif(os.name == "nt", reason="no flock")
def test_a_run_that_is_being_trained_is_left_alone(project, tmp_path, capsys):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    run = tmp_path / "runs/tiny"
    with alone(run, otherwise=HornbookError("somebody else")):
        assert main(["train", "--resume", str(run), "--set", "train.steps=4"]) == 2
    assert "another process is training this run" in capsys.readouterr().err
    assert RunDir.open(run).state == "finished", "the state is the other's to set"


def test_resume_refuses_another_model(project, tmp_path, capsys):
    assert main(["train", str(project), "--set", "train.steps=2"]) == 0
    assert main(["train", "--resume", str(tmp_path / "runs/tiny"), "--set", "model.n_layers=3"]) == 2
    assert "model.n_layers" in capsys.readouterr().err


def test_init_from_takes_weights_but_not_the_step(project, tmp_path, capsys):
    assert main(["train", str(project), "--set", "train.steps=4"]) == 0
    start = [
        "train",
        str(project),
        "--set",
        f'model.init_from="{(tmp_path / "runs/tiny").as_posix()}"',
        "--set",
        "train.steps=1",
    ]
    assert main([*start, "--set", 'run.name="tuned"', "--set", "optim.learning_rate=1e-12"]) == 0
    import torch

    from hornbook.checkpoint.load import load_checkpoint

    old, new = (
        load_checkpoint(tmp_path / "runs" / name).weights
        for name in ("tiny/checkpoints/step-00000004", "tuned/checkpoints/step-00000001")
    )
    assert all(torch.allclose(old[name], new[name], atol=1e-9) for name in old)
    assert main([*start, "--set", 'run.name="wide"', "--set", "model.d_model=32"]) == 2
    message = capsys.readouterr().err
    assert "token_embedding.weight" in message
    assert "layers.1" in message, "all mismatches stand in one message"


def test_a_sample_prompt_that_cannot_be_continued_is_refused_before_the_first_step(project, tmp_path, capsys):
    prompts = "train.sample_prompts=['" + "the cat " * 40 + "']"
    assert main(["train", str(project), "--set", "train.sample_every=2", "--set", prompts]) == 2
    assert "train.sample_prompts" in capsys.readouterr().err
    assert not (tmp_path / "runs/tiny").exists(), "the name is free for the next attempt"


def test_shards_of_another_tokenizer_are_refused(project, source, tmp_path, capsys):
    from hornbook.config.tokenizer import TokenizerConfig
    from hornbook.tokenizer.tokenizer import Tokenizer

    Tokenizer.train(["some other text, other merges"], TokenizerConfig(vocab_size=280)).save(tmp_path / "other")
    assert main(["train", str(project), "--set", f'tokenizer.path="{(tmp_path / "other").as_posix()}"']) == 2
    assert "tokenizer" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["data", "tokenizer"])
def test_missing_preparation_says_which_command_to_run(source, project, tmp_path, missing, capsys):
    root = tmp_path / "copy"
    shutil.copytree(source.parent, root)
    shutil.rmtree(root / missing)
    path = root / "tiny.toml"
    path.write_text(
        source.read_text(encoding="utf-8").replace(source.parent.as_posix(), root.as_posix()), encoding="utf-8"
    )
    assert main(["train", str(path)]) == (2 if missing == "data" else 0)
    if missing == "data":
        assert "hornbook data prepare" in capsys.readouterr().err


@pytest.mark.medium
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_and_the_run_can_go_on(project, tmp_path, name):
    command = [
        sys.executable,
        "-m",
        "hornbook",
        "train",
        str(project),
        "--set",
        "train.steps=5000",
        "--set",
        "checkpoint.light_every=0",
    ]
    command += ["--set", "checkpoint.full_every=0", "--set", "train.eval_every=0", "--set", 'tracking.console="json"']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if json.loads(line)["step"] >= 3 and json.loads(line)["event"] == "train":
            break
    os.kill(process.pid, getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    run = RunDir.open(tmp_path / "runs/tiny")
    assert run.state == "preempted"
    step = int((run.checkpoints / "LATEST").read_text().strip().removeprefix("step-"))
    assert main(["train", "--resume", str(run.root), "--set", f"train.steps={step + 2}"]) == 0
    assert run.state == "finished"


def test_a_branch_cools_down_from_a_trunk(project, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert main(["train", str(project), "--set", 'schedule.kind="constant"', "--set", "train.steps=4"]) == 0
    assert main(["train", "--branch-from", f"{runs / 'tiny'}@4", "--cooldown", "2"]) == 0
    assert RunDir.open(runs / "tiny-step4-cooldown2").state == "finished"
    again = ["train", "--branch-from", f"{runs / 'tiny'}@4", "--cooldown", "2"]
    assert main(again) == 2  # never overwritten
    assert "exists already" in capsys.readouterr().err
    assert main([*again, "--resume"]) == 0  # a job script may always say it
    assert main([*again, "--print-config"]) == 0
    assert "decay_steps = 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["--branch-from", "RUN@4"], ["--cooldown", "3"], ["x.toml", "--branch-from", "RUN@4", "--cooldown", "3"]],
)
def test_a_branch_needs_its_trunk_and_length_and_nothing_else(words, capsys):
    assert main(["train", *words]) == 2
    message = capsys.readouterr().err
    assert "--branch-from" in message
    assert "Traceback" not in message
