"""The batch script against what sbatch(1) documents, and what is asked of SLURM against programs that stand for it."""

import dataclasses
import re
import shlex
import subprocess
import sys

import pytest

from hornbook.sweeps import slurm
from hornbook.sweeps.jobs import SchedulerError, index_list
from sweeps.job_request import request

# sbatch(1), OPTIONS: name, and what its value may be.
DOCUMENTED = {
    "job-name": r".+",
    "array": r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%\d+)?",
    "nodes": r"\d+(-\d+)?",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "gres": r"\w+(:\w+)?(:\d+)?",
    "mem": r"\d+[KMGT]?",
    "partition": r"[\w,-]+",
    "account": r"\w+",
    "time": r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}",
    "signal": r"([RB]+:)?(\w+)(@\d{1,5})?",
    "requeue": None,
    "open-mode": r"append|truncate",
    "chdir": r".+",
    "output": r".+",
    "constraint": r".+",
}


def options(script):
    """{name: value} of the #SBATCH lines, which end at the first line that is neither comment nor empty."""
    found = {}
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:])
    for line in lines[:first_command]:
        if line.startswith("#SBATCH"):
            (word,) = shlex.split(line.removeprefix("#SBATCH "))
            name, equals, value = word.removeprefix("--").partition("=")
            pattern = DOCUMENTED[name]
            assert (pattern is None and not equals) or re.fullmatch(pattern, value), line
            found[name] = value
    return found


def test_one_process_a_point(tmp_path):
    script = slurm.script(request(tmp_path))
    found = options(script)
    assert found["array"] == "0-2,4"
    assert found["ntasks-per-node"] == "1"
    assert found["signal"] == "USR1@120"  # the partition may have a limit
    assert not {"gres", "mem", "time", "partition"} & found.keys()
    assert f'-m hornbook sweep run {shlex.quote(str(tmp_path / "a b" / "sweep.toml"))} --index "$SLURM_ARRAY' in script


def sbatch_word(text):
    """The first word of a #SBATCH line, as sbatch parts it: either quote, and a backslash anywhere."""
    word, quote, at = "", "", 0
    while at < len(text) and (quote or not text[at].isspace()):
        if text[at] == "\\":
            at += 1
            word += text[at]
        elif quote and text[at] == quote:
            quote = ""
        elif not quote and text[at] in "\"'":
            quote = text[at]
        elif not quote and text[at] == "#":
            break
        else:
            word += text[at]
        at += 1
    assert not quote
    return word


@pytest.mark.parametrize("name", ["plain", "two words", "it's", 'a "b"', "back\\slash", "#1", "50%"])
def test_sbatch_reads_the_directories_as_they_are(tmp_path, name):
    directory = tmp_path / name
    asked = dataclasses.replace(request(tmp_path), directory=directory, logs=directory / "logs")
    words = [
        sbatch_word(line.removeprefix("#SBATCH ")) for line in slurm.script(asked).splitlines() if "#SBATCH" in line
    ]
    assert f"--chdir={directory}" in words
    assert f"--output={str(directory).replace('%', '%%')}/logs/slurm-%A_%a.log" in words


def test_a_little_memory_is_not_all_of_it(tmp_path):
    assert options(slurm.script(request(tmp_path, resources={"memory_gb": 0.0001})))["mem"] == "1M"


def test_many_gpus_and_nodes(tmp_path):
    resources = {"processes": 4, "gpu": True, "cpus": 6, "memory_gb": 1.5}
    limits = {"minutes": 90, "grace_seconds": 300, "partition": "gpu", "account": "lab", "nodes": 2, "max_running": 3}
    setup = ["module load cuda", "source ~/venv/bin/activate"]
    script = slurm.script(
        request(tmp_path, resources=resources, slurm={**limits, "options": ["--constraint=a100"]}, setup=setup)
    )
    found = options(script)
    assert (found["array"], found["nodes"], found["ntasks-per-node"]) == ("0-2,4%3", "2", "4")
    assert (found["gres"], found["mem"], found["cpus-per-task"]) == ("gpu:4", "6144M", "6")
    assert (found["time"], found["signal"], found["constraint"]) == ("90", "USR1@300", "a100")
    assert script.index("module load cuda") < script.index("source ~/venv") < script.index("srun")
    assert "srun --wait=300 " in script  # what waits for a process that died is ended


def test_the_script_is_a_shells(tmp_path):
    for tables in ({}, {"resources": {"processes": 2}}):
        text = slurm.script(request(tmp_path, **tables))
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Programs of one line that stand for the scheduler's."""

    def add(name, program):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return add


@pytest.mark.parametrize(
    ("status", "cancelled", "queued"), [(99, "", True), (99, "kill $PPID;", False), (1, "", False)]
)
def test_only_what_saved_by_itself_is_queued_again(tmp_path, stand_ins, status, cancelled, queued):
    stand_ins("srun", f"{cancelled} exit {status}")
    stand_ins("scontrol", f"echo $@ > {tmp_path}/asked")
    text = slurm.script(request(tmp_path))
    environment = {"SLURM_JOB_ID": "78", "SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_TASK_ID": "4"}
    done = subprocess.run(
        ["bash", "-c", text], env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", **environment}, check=False
    )
    assert done.returncode == status
    asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert asked == ("requeue 78\n" if queued else "")


def test_what_squeue_says(stand_ins):
    stand_ins("squeue", "printf '77_0 RUNNING\\n77_1 PENDING\\n78 COMPLETING\\n77_2 REQUEUED\\n'")
    assert slurm.live_jobs() == {
        "slurm:77_0": "running",
        "slurm:77_1": "queued",
        "slurm:78": "running",
        "slurm:77_2": "queued",
    }


def test_submitting(stand_ins, tmp_path):
    stand_ins("sbatch", "echo '77;cluster'")
    assert slurm.submit(tmp_path / "job.sh") == "77"
    stand_ins("sbatch", "echo 'sbatch: error: Invalid account' >&2; exit 1")
    with pytest.raises(SchedulerError, match="Invalid account"):
        slurm.submit(tmp_path / "job.sh")


def test_no_slurm_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="sbatch: not found"):
        slurm.submit(tmp_path / "job.sh")


def test_index_lists():
    assert index_list([0]) == "0"
    assert index_list([5, 0, 1, 2, 9, 8]) == "0-2,5,8-9"


def test_this_python_runs_the_points(tmp_path):
    assert f"srun {shlex.quote(sys.executable)} -P -m hornbook" in slurm.script(request(tmp_path))
