"""The submit file against what condor_submit(1) documents."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys

import pytest

from hornbook.sweeps import condor
from sweeps.job_request import request

OPTIONS = ['+Project = "lab"', 'requirements = (Arch == "X86_64")']
# condor_submit(1), SUBMIT DESCRIPTION FILE COMMANDS.
DOCUMENTED = {
    *("universe", "batch_name", "executable", "arguments", "initialdir", "environment", "should_transfer_files", "log"),
    *("request_cpus", "request_memory", "request_gpus", "kill_sig", "job_max_vacate_time", "on_exit_remove"),
    *("requirements", "want_graceful_removal"),
}


def parsed(text):
    """(commands, items): `name = value` lines, then one queue statement with its items in parentheses."""
    head, _, tail = text.partition("queue ")
    commands = {}
    for line in head.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"(\+?[A-Za-z_]\w*)\s*=\s*(.*)", line)
            assert match, line
            assert match[1] in DOCUMENTED or match[1].startswith("+"), line
            commands[match[1]] = match[2]
    match = re.fullmatch(r"(\w+) from \(\n((?:  \S+\n)*)\)\n", tail)
    assert match, tail
    assert f"$({match[1]})" in commands["arguments"]
    return commands, match[2].split()


def environment(value):
    """The new syntax: all in double quotes, which are doubled inside; then as `variables`."""
    assert value[0] == value[-1] == '"'
    assert '"' not in value[1:-1].replace('""', "")
    return variables(value[1:-1].replace('""', '"'))


def variables(text):
    """NAME=VALUE parted by white space, but for what stands in single quotes, which are doubled inside."""
    words, is_quoted, at = [""], False, 0
    while at < len(text):
        if is_quoted and text[at : at + 2] == "''":
            words[-1] += "'"
            at += 1
        elif text[at] == "'":
            is_quoted = not is_quoted
        elif text[at] == " " and not is_quoted:
            words.append("")
        else:
            words[-1] += text[at]
        at += 1
    assert not is_quoted
    return dict(word.split("=", 1) for word in words)


def test_one_job_a_point(tmp_path):
    commands, items = parsed(condor.script(request(tmp_path)))
    assert items == ["0", "1", "2", "4"]
    assert commands["executable"] == str(tmp_path / "a b" / "point.sh")
    assert commands["on_exit_remove"] == "ExitCode =!= 99"
    assert (commands["request_cpus"], commands["kill_sig"]) == ("1", "SIGTERM")
    assert not {"request_memory", "request_gpus"} & commands.keys()


def test_many_gpus(tmp_path):
    tables = {
        "resources": {"processes": 4, "gpu": True, "cpus": 6, "memory_gb": 1.5},
        "condor": {"grace_seconds": 300, "options": [*OPTIONS]},
        "setup": ["module load cuda"],
    }
    asked = request(tmp_path, **tables)
    commands, _ = parsed(condor.script(asked))
    assert (commands["request_cpus"], commands["request_gpus"], commands["request_memory"]) == ("24", "4", "6144MB")
    assert (commands["job_max_vacate_time"], commands["+Project"]) == ("300", '"lab"')
    program = condor.program(asked)
    assert "torch.distributed.run" not in program  # `sweep run` itself starts the four
    assert program.index("module load cuda") < program.index("-m hornbook")


def test_a_dollar_in_a_path_is_one(tmp_path):
    asked = dataclasses.replace(request(tmp_path), directory=tmp_path / "$HOME $(x)", logs=tmp_path / "$(y)")
    commands, _ = parsed(condor.script(asked))
    assert commands["initialdir"] == f"{tmp_path}/$(DOLLAR)HOME $(DOLLAR)(x)"
    assert commands["log"] == f"{tmp_path}/$(DOLLAR)(y)/condor.log"


def test_the_environment_comes_along_whatever_it_holds(tmp_path, monkeypatch):
    strange = """it's "so" $HOME, 100 %"""
    monkeypatch.setenv("HORNBOOK_DATA", strange)
    monkeypatch.setenv("SECRET_TOKEN", "x")
    commands, _ = parsed(condor.script(request(tmp_path)))
    found = environment(commands["environment"])
    assert found["HORNBOOK_DATA"].replace("$(DOLLAR)", "$") == strange
    assert found["HORNBOOK_JOB"] == "condor:$(ClusterId).$(ProcId)"
    assert "SECRET_TOKEN" not in found


def test_the_program_runs_its_point_and_keeps_what_it_says(tmp_path):
    asked = request(tmp_path)
    asked.logs.mkdir()
    text = condor.program(asked).replace(shlex.quote(sys.executable), "echo")
    done = subprocess.run(
        ["bash", "-c", text, "point.sh", "4"], env={"HORNBOOK_JOB": "condor:12.3", "PATH": "/usr/bin:/bin"}, check=False
    )
    assert done.returncode == 0
    (log,) = asked.logs.iterdir()
    assert log.name == "condor-12.3.log"
    assert log.read_text().split()[-2:] == ["--index", "4"]


def test_what_condor_q_says(tmp_path, monkeypatch):
    program = tmp_path / "condor_q"
    program.write_text("#!/bin/sh\nprintf '12 0 2\\n12 1 1\\n12 2 4\\n12 3 5\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert condor.live_jobs() == {"condor:12.0": "running", "condor:12.1": "queued", "condor:12.3": "queued"}
    program.rename(tmp_path / "condor_submit")
    (tmp_path / "condor_submit").write_text("#!/bin/sh\necho '12.0 - 12.5'\n")
    assert condor.submit(tmp_path / "job.sub") == "12"


def test_htcondor_reads_it_as_it_is_meant(tmp_path, monkeypatch):
    """By HTCondor's own parser where it is installed: pip install 'htcondor<24.1', whose later forms cannot do this."""
    monkeypatch.setenv("CONDOR_CONFIG", os.devnull)
    htcondor = pytest.importorskip("htcondor")
    strange = """it's "so" $HOME, 100 %"""
    monkeypatch.setenv("HORNBOOK_DATA", strange)
    tables = {"resources": {"processes": 4, "gpu": True, "cpus": 6, "memory_gb": 1.5}, "condor": {"options": OPTIONS}}
    jobs = list(htcondor.Submit(condor.script(request(tmp_path, **tables))).jobs(clusterid=12))
    assert [job["Args"] for job in jobs] == ["0", "1", "2", "4"]
    first = jobs[0]
    assert first["Cmd"] == str(tmp_path / "a b" / "point.sh")
    assert (first["RequestCpus"], first["RequestGPUs"], first["RequestMemory"]) == (24, 4, 6144)
    assert (first["Project"], first["JobBatchName"], first["KillSig"]) == ("lab", "seeds", "SIGTERM")
    found = variables(first["Environment"])
    assert (found["HORNBOOK_JOB"], found["HORNBOOK_DATA"]) == ("condor:12.0", strange)
    for ended, goes in (({"ExitCode": 99}, False), ({"ExitCode": 0}, True), ({"ExitBySignal": True}, True)):
        job = {"OnExitRemove": first.lookup("OnExitRemove"), **ended}
        assert htcondor.classad.ClassAd(job).eval("OnExitRemove") is goes
