"""The verb: what it refuses, what it prints, and that a wrong strategy does not pass."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.cli import verify_parallel
from hornbook.cli.main import main
from hornbook.selftest.parallel_cases import Case
from hornbook.selftest.parallel_difference import Difference

SOURCE = Path(__file__).parents[2] / "src"


def difference(losses: float) -> Difference:
    case = Case(name="DDP", number="float32", world_size=2)
    return Difference(case=case, parameters=0.0, losses=losses, grad_norms=0.0, seconds=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simulate", "--steps", "3"], "--steps has no effect with --simulate"),
        (["--simulate", "--full-size", "--dtype", "both"], "--dtype, --full-size has no effect with --simulate"),
        (["nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message, capsys):
    assert main(["verify-parallel", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_not_simulated_is_said(monkeypatch, capsys):
    monkeypatch.setattr(verify_parallel, "_measured", lambda config, n: None)
    monkeypatch.setattr(verify_parallel, "_simulated", lambda config: None)
    for strategy, says in (("ddp", False), ("fsdp", True)):
        assert main(["verify-parallel", "--simulate", "--set", f'distributed.strategy="{strategy}"']) == 0
        assert ('steps of "ddp"' in capsys.readouterr().err) == says


@pytest.mark.parametrize("text", ["1", "2,1", "2,2", "two", "2,", "0"])
def test_numbers_of_processes(text, capsys):
    with pytest.raises(SystemExit):
        main(["verify-parallel", "--nproc", text])
    assert "expected" in capsys.readouterr().err


def test_it_is_started_alone(monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["verify-parallel"]) == 2
    assert "start it alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("losses", "status", "last"),
    [
        ((1e-6, 0.0), 0, "all 2 cases train as one process does"),
        ((1e-6, 1.0), 1, "1 of 2 cases do not train as one process does: float32, DDP, 2 processes, 1 micro-batch(es)"),
    ],
)
def test_the_status_is_the_verdict(losses, status, last, monkeypatch, capsys):
    made = [difference(each) for each in losses]
    monkeypatch.setattr("hornbook.selftest.verify_parallel.verify", lambda config, settings, say: made)
    assert main(["verify-parallel"]) == status
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == last
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["losses"] for event in events] == list(losses)
    assert (events[0]["event"], events[0]["case"], events[0]["tolerance"]) == ("verify_parallel", "DDP", 1e-5)
    assert verify_parallel.conclusion(made) == last


@pytest.mark.medium
def test_a_wrong_strategy_does_not_pass(tmp_path):
    """The sum over processes is divided by them, as other libraries do, and then by the weights."""
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "src" / "hornbook" / "distributed" / "buckets.py"
    right, wrong = (
        "            self.work.wait()\n",
        "            self.work.wait()\n        self.flat /= dist.get_world_size()\n",
    )
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hornbook", "verify-parallel", "--nproc", "2", "--steps", "4"),
            *("--dtype", "float64", "--set", 'run.device="cpu"'),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = {(event["case"], event["accumulation"]): event["verdict"] for event in events}
    assert verdicts["one process", 3] == "within"
    assert {verdicts[name, 1] for name in ("DDP", "DDP, sharded optimizer")} == {"OVER"}
    assert "do not train as one process does" in done.stderr
