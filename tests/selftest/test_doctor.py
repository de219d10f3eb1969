"""The doctor's own health: what passes and fails, that a stage that breaks is told and not thrown, and each fault."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hornbook.errors import ConfigError, HornbookError, MissingExtraError
from hornbook.selftest import doctor, doctor_machine
from hornbook.selftest.doctor import STAGES, diagnose, examine
from hornbook.selftest.doctor_check import Check
from hornbook.selftest.doctor_machine import facilities

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "doctor_faults.py"


@pytest.mark.parametrize(
    ("value", "passed"), [(1.0, True), (0.9, True), (1.2, True), (0.89, False), (1.21, False), (math.nan, False)]
)
def test_a_number_passes_within_its_limits(value, passed):
    assert Check(what="", value=value, truth=1.0, below=0.1, above=0.2).passed is passed


def test_a_number_without_limits_must_be_the_truth():
    assert Check(what="", value=3, truth=3).passed
    assert not Check(what="", value=4, truth=3).passed


def raising(error):
    def stage(folder):
        raise error

    return stage


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (MissingExtraError("serving", package="fastapi", extra="serve"), "absent", "pip install 'hornbook[serve]'"),
        (HornbookError("no room"), "fail", "no room"),
        (ZeroDivisionError("by nothing"), "fail", "ZeroDivisionError: by nothing (test_doctor.py:"),
    ],
)
def test_what_a_stage_raises_is_told(error, status, message):
    found = diagnose("odd", raising(error))
    assert (found.stage, found.status, found.checks) == ("odd", status, ())
    assert message in found.message


def test_an_interrupt_ends_the_examination():
    with pytest.raises(KeyboardInterrupt):
        diagnose("odd", raising(KeyboardInterrupt()))


def test_a_stage_has_an_empty_folder_that_is_gone_afterwards():
    seen = []

    def stage(folder):
        seen.append((folder, [*folder.iterdir()]))
        (folder / "file").touch()
        return [Check(what="", value=0, truth=0)]

    assert diagnose("neat", stage).status == "pass"
    ((folder, held),) = seen
    assert held == []
    assert not folder.exists()


def test_stages_run_in_their_order_and_others_are_refused(monkeypatch):
    ran = []
    for name in STAGES:
        monkeypatch.setitem(doctor.STAGES, name, lambda folder, name=name: ran.append(name) or [])
    told = []
    found = examine(["data", "tokenizer"], told.append)
    assert ran == ["tokenizer", "data"]
    assert told == found
    with pytest.raises(ConfigError, match="no stage 'date'"):
        examine(["date"], told.append)


@pytest.mark.parametrize("name", ["data", "resume"])
def test_a_sound_stage_passes(name):
    found = diagnose(name, STAGES[name])
    assert (found.status, found.message) == ("pass", None)
    assert found.checks


def test_an_order_that_is_no_permutation_is_seen(monkeypatch):
    monkeypatch.setattr("hornbook.data.order.permute_range", lambda first, last, n, key: np.arange(first, last) // 2)
    found = diagnose("data", STAGES["data"])
    assert [check.passed for check in found.checks] == [True, True, False]


def test_what_is_missing_comes_with_advice(monkeypatch, tmp_path):
    required = [
        "torch>=2",
        "orjson>=3 ; extra == 'quick'",
        "no-such-package ; extra == 'slow'",
        "orjson; extra == 'all'",
    ]
    monkeypatch.setattr(doctor_machine.importlib.metadata, "requires", lambda name: required)
    monkeypatch.setattr(doctor_machine, "missing_compiler", lambda device: "no C++ compiler")
    monkeypatch.setattr(doctor_machine, "LEAST_DISK", 10**18)
    found = {each.name: each for each in facilities(tmp_path / "runs")}
    assert found["hornbook[quick]"].is_there
    assert (found["hornbook[slow]"].found, found["hornbook[slow]"].advice) == (
        "without no-such-package",
        "pip install 'hornbook[slow]'",
    )
    assert "hornbook[all]" not in found
    assert "g++" in found["compiler"].advice
    assert str(tmp_path) in found["disk"].found
    assert not found["disk"].is_there


def test_a_compiler_that_does_not_work_is_seen(monkeypatch, tmp_path):
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'fatal error: no libraries' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setattr(doctor_machine, "missing_compiler", lambda device: None)
    found = doctor_machine._compiler()
    assert not found.is_there
    assert "no libraries" in found.found


def test_every_fault_can_still_be_put_in():
    """The right text of each stands in its file once, and every stage has one."""
    code = (
        "from doctor_faults import FAULTS\n"
        "from seeded_bugs import ROOT\n"
        "source = ROOT / 'src' / 'hornbook'\n"
        "edits = [edit for each in FAULTS.values() for edit in each.edits]\n"
        "print(*FAULTS)\n"
        "print([(f, r) for f, r, w in edits if r == w or (source / f).read_text().count(r) != 1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{' '.join(STAGES)}\n[]\n", "")


@pytest.mark.slow
def test_this_installation_is_sound_in_less_than_a_minute(tmp_path):
    """The minute is for a machine that is not busy with something else: processor seconds are what is judged."""
    command = [sys.executable, "-m", "hornbook", "doctor", "--json"]
    before = os.times()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    after = os.times()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["stage"]: event["status"] for event in events if event["event"] == "doctor"} == dict.fromkeys(
        STAGES, "pass"
    ), done.stdout
    compiled = "Compiling the tokenizer's kernels, once on this machine"  # where nobody has done so before
    said = [line for line in done.stderr.splitlines() if not line.startswith(compiled)]
    assert (done.returncode, said) == (0, [])
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 60
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_fault_turns_its_stage_red_and_no_other():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(STAGES)} faults" in done.stdout
