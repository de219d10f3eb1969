"""`hornbook profile`, in this process, on a tiny project and a tiny run."""

import gzip
import json
import time

import pytest
import torch

from hornbook.benchmarks.step_profile import StepSettings, profile_steps
from hornbook.cli.main import main
from hornbook.training import hooks
from html_outline import Outline
from tiny_project import load
from tiny_run import make_run

pytestmark = pytest.mark.medium

DIFFUSION = {"kind": "masked_diffusion"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("profile"), train__steps=40)


def check_files(folder, kind):
    told = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    page = (folder / f"{kind}.html").read_text(encoding="utf-8")
    Outline(page)
    assert "://" not in page.replace("http://www.w3.org", "")
    events = json.loads(gzip.decompress((folder / f"{kind}-trace.json.gz").read_bytes()))["traceEvents"]
    return told, page, {event.get("name") for event in events}


def test_steps_of_a_run_are_profiled_into_it(run, capsys):
    assert main(["profile", str(run), "--steps", "3"]) == 0
    said = capsys.readouterr()
    event = json.loads(said.out)
    assert said.err.splitlines() == ["warming up: 3 steps", "timing 3 steps", "tracing 3 steps"]
    told, page, names = check_files(run / "profile", "train")
    assert (event["event"], event["kind"]) == ("profile", "train")
    assert event["seconds"] == pytest.approx(sum(event["parts"].values()))
    assert [path.rpartition("/")[2] for path in event["files"]] == ["train.html", "train.json", "train-trace.json.gz"]
    assert told["ranks"][0]["steps"] == 3
    assert told["ranks"][0]["parts"] == event["parts"]
    assert "versions" in told["machine"]
    assert {"forward", "backward", "layers.1.attention", "aten::mm"} <= names
    assert {each["name"] for each in told["operators"]} >= {"aten::mm", "aten::bmm"}
    assert "layers.1.attention" not in {each["name"] for each in told["operators"]}
    for words in ("backward", "aten::mm", "tokens a second"):
        assert words in page
    assert sorted(path.name for path in run.iterdir() if path.name.startswith("checkpoints")) == ["checkpoints"]


def test_parts_add_up_to_the_step_as_another_clock_has_it(run, tmp_path, monkeypatch):
    """The other clock stands in a hook: from one step's hooks to those of the next."""
    instants = []

    class Clock(hooks.Log):
        def __call__(self, at):
            instants.append(time.perf_counter())
            super().__call__(at)

    monkeypatch.setattr("hornbook.benchmarks.step_profile.Log", Clock)
    larger = {"model__context_length": 64, "model__d_model": 64, "train__tokens_per_step": 512}
    config = load(run.parents[1] / "tiny.toml", train__steps=40, **larger)
    found = profile_steps(config, StepSettings(out=tmp_path, warm_up=2, steps=10, traced=1))
    [breakdown] = found.ranks
    between = (instants[11] - instants[1]) / 10
    named = {name: seconds for name, seconds in breakdown.parts().items() if name != "other"}
    assert breakdown.step == pytest.approx(between, rel=0.05)
    assert breakdown.fastest <= breakdown.step <= breakdown.slowest
    assert sum(named.values()) > 0.8 * breakdown.step
    assert named["backward"] > 0.0
    assert found.tokens_per_second == pytest.approx(512 / breakdown.step)


def test_texts_are_profiled_with_every_decoder(run, tmp_path_factory, capsys):
    assert main(["profile", "--decode", str(run), "--steps", "2", "--prompt", "the cat"]) == 0
    event = json.loads(capsys.readouterr().out)
    told, _, names = check_files(run / "profile", "decode")
    assert event["kind"] == "decode"
    assert event["parts"]["prefill"] > 0.0
    assert event["parts"]["decode"] > event["parts"]["text"]
    assert event["parts"]["denoise"] == 0.0
    assert told["facts"]["backend"] == "torch, float32"
    assert {"prefill", "decode", "choose", "layers.1"} <= names
    other = make_run(tmp_path_factory.mktemp("diffusion"), DIFFUSION, tokenizer__special_tokens="pretraining")
    short = ["--prompt", "the", "--set", "generate.max_new_tokens=4"]
    assert main(["profile", "--decode", str(other), "--steps", "1", *short]) == 0
    event = json.loads(capsys.readouterr().out)
    assert event["parts"]["denoise"] > 0.0
    assert event["parts"]["decode"] == 0.0


def test_beams_have_their_choosing_and_their_backend(run, tmp_path, capsys):
    asked = ["--set", 'generate.strategy="beam"', "--set", 'generate.precision="bfloat16"']
    assert main(["profile", "--decode", str(run), "--steps", "2", "--out", str(tmp_path), *asked]) == 0
    event = json.loads(capsys.readouterr().out)
    assert min(event["parts"]["decode"], event["parts"]["choose"]) > 0.0
    told = json.loads((tmp_path / "decode.json").read_text(encoding="utf-8"))
    assert told["facts"]["backend"] == "torch, bfloat16"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has NVTX")
def test_nvtx_ranges_that_cannot_be_had_are_said(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HORNBOOK_NVTX", "1")
    assert main(["profile", str(run), "--steps", "1", "--out", str(tmp_path)]) == 0
    assert "HORNBOOK_NVTX=1 has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a TOML file or a run"),
        (["CONFIG", "--prompt", "x"], "--prompt has no effect without --decode"),
        (["CONFIG", "--set", "train.max_minutes=1e-9"], "training ended after 1 steps (max_minutes)"),
        (["CONFIG", "--steps", "100"], "makes 106 with its warm-up and trace"),
        (["--decode", "RUN", "--memory"], "leave them out with --decode"),
        (["--decode", "RUN", "--nproc", "2"], "leave them out with --decode"),
        (["--decode", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_message(run, tmp_path, capsys, arguments, said):
    names = {"CONFIG": str(run / "config.toml"), "RUN": str(run)}
    command = ["profile", *(names.get(each, each) for each in arguments), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    last = err.splitlines()[-1]  # after what was being done
    assert last.startswith("hornbook profile: ")
    assert said in last


def test_the_configuration_is_printed_and_nothing_is_made(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["profile", str(run), "--out", str(out), "--set", "train.steps=77", "--print-config"]) == 0
    assert "steps = 77" in capsys.readouterr().out
    assert not out.exists()


def test_a_profile_begins_no_run(run, capsys):
    config = load(run.parents[1] / "tiny.toml", train__steps=40)
    before = {path.name for path in config.run.out_dir.iterdir()}
    assert main(["profile", str(run.parents[1] / "tiny.toml"), "--set", "train.steps=40", "--steps", "1"]) == 0
    capsys.readouterr()
    [new] = {path.name for path in config.run.out_dir.iterdir()} - before
    assert new.startswith("profile-")
    assert sorted(path.name for path in (config.run.out_dir / new).iterdir()) == [
        "train-trace.json.gz",
        "train.html",
        "train.json",
    ]


@pytest.mark.slow
def test_processes_are_profiled_together(run, tmp_path, capfd):
    assert main(["profile", str(run), "--steps", "3", "--nproc", "2", "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert len(told["ranks"]) == 2
    for rank in told["ranks"]:
        assert rank["parts"]["communication"] > 0.0
        assert {"communication/gradients", "communication/parameters"} <= set(rank["seconds"])
    assert (tmp_path / "train-trace-rank-1.json.gz").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device_the_clock_waits_and_memory_is_told(run, tmp_path, capsys):
    command = ["profile", str(run), "--set", 'run.device="cuda"', "--steps", "3", "--memory", "--out", str(tmp_path)]
    assert main(command) == 0
    event = json.loads(capsys.readouterr().out)
    told, page, _ = check_files(tmp_path, "train")
    assert event["seconds"] == pytest.approx(sum(event["parts"].values()))
    assert event["parts"]["other"] < 0.2 * event["seconds"]
    assert event["peaks"]["allocated_peak_bytes"] > 0
    assert max(each["device"] for each in told["operators"]) > 0.0
    assert "device, ms" in page
    assert (tmp_path / "train-memory.json").stat().st_size > 0
    assert (tmp_path / "train-memory.html").stat().st_size > 0
