"""The verb: its lines, its JSON, and its exit status."""

import json

import pytest

from hornbook.cli import doctor as verb
from hornbook.cli.main import main
from hornbook.errors import HornbookError
from hornbook.selftest import doctor
from hornbook.selftest.doctor_check import Check, Diagnosis
from hornbook.selftest.doctor_machine import Facility


@pytest.fixture
def stages(monkeypatch):
    """Two stages that need no time; what they are about is on this machine."""

    def set_to(data, serve):
        monkeypatch.setattr(doctor, "STAGES", {"data": lambda folder: data, "serve": serve})
        monkeypatch.setattr(
            "hornbook.selftest.doctor_machine.facilities",
            lambda out_dir: [
                Facility(name="disk", found="1 GB"),
                Facility(name="compiler", found="none", advice="get g++"),
            ],
        )

    return set_to


def check(value):
    return Check(what="tokens", value=value, truth=3)


def broken(folder):
    raise HornbookError("it is dark")


def test_sound_stages_end_with_status_0(stages, capsys):
    stages([check(3)], lambda folder: [check(3)])
    assert main(["doctor", "--json"]) == 0
    said = capsys.readouterr()
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["event"] for event in events] == ["doctor", "doctor", "doctor_machine", "doctor_machine"]
    assert events[0]["checks"] == [{"what": "tokens", "value": 3, "truth": 3, "below": 0, "above": 0, "passed": True}]
    assert (events[0]["status"], events[0]["message"]) == ("pass", None)
    assert (events[3]["name"], events[3]["advice"]) == ("compiler", "get g++")
    assert said.err == ""


def test_a_failure_is_the_status_and_the_last_line(stages, capsys):
    stages([check(4)], broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["status"] for line in said.out.splitlines()[:2]] == ["fail", "fail"]
    assert said.err.splitlines()[-1].startswith("2 of 2 stages fail: data, serve (")


def test_one_stage_alone(stages, capsys):
    stages([check(3)], broken)
    assert main(["doctor", "--only", "data", "--json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["stage"] == "data"
    assert main(["doctor", "--only", "date"]) == 2
    assert "no stage 'date'; stages are data, serve" in capsys.readouterr().err


def test_help_names_every_stage(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"({', '.join(doctor.STAGES)})" in said


def test_lines_for_people():
    checks = (
        check(3),
        Check(what="nats", value=1.44, truth=1.4263, below=0.02, above=0.05),
        Check(what="loss", value=0.9, truth=0.5, below=0.1, above=0.1),
        Check(what="gained", value=0.99, truth=1.0, below=0.05),
        Check(what="difference", value=0.5, truth=0.0, above=1e-9),
    )
    found = Diagnosis(stage="dpo", status="fail", checks=checks, message=None, seconds=1.23)
    assert verb.lines(found, coloured=False) == [
        "dpo             pass   3 tokens; expected 3   (1.2 s)",
        "                pass   1.44 nats; expected 1.4263, at most 0.02 less and 0.05 more",
        "                fail   0.9 loss; expected 0.5, give or take 0.1",
        "                pass   0.99 gained; expected 1, at most 0.05 less",
        "                fail   0.5 difference; expected 0, at most 1e-09 more",
    ]
    assert "\033[31mfail  \033[0m 0.9 loss" in verb.lines(found, coloured=True)[2]


def test_what_is_missing_stands_apart():
    machine = [Facility(name="disk", found="1 GB"), Facility(name="compiler", found="none", advice="get g++")]
    assert verb.machine_lines(machine) == [
        "On this machine:",
        "disk                  1 GB",
        "",
        "Missing here:",
        "compiler              none: get g++",
        "",
    ]
    assert verb.machine_lines([]) == []


def test_a_stage_that_cannot_be_examined_is_no_failure():
    absent = Diagnosis(stage="serve", status="absent", checks=(), message="needs fastapi", seconds=0.0)
    sound = Diagnosis(stage="data", status="pass", checks=(check(3),), message=None, seconds=0.0)
    assert (
        verb.conclusion([sound, absent], 30.2) == "1 of 2 stages pass, none fails; serve could not be examined (30 s)"
    )
    assert verb.lines(absent, coloured=False) == ["serve           absent needs fastapi   (0.0 s)"]
