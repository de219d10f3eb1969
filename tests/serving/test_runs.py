"""What the run view is told: of runs that go on, are damaged, or are none; and nothing from outside of the folder."""

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hornbook.serving.page import chat_page, headers_for
from hornbook.serving.runs import runs_router


def write_run(root, events, state="running"):
    root.mkdir(parents=True)
    (root / "state").write_text(state)
    (root / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture
def asked(tmp_path):
    """Asks the routes over tmp_path/runs."""
    application = FastAPI()
    application.include_router(runs_router(tmp_path / "runs"))
    return TestClient(application).get


def test_runs_are_listed_with_where_they_stand(tmp_path, asked):
    assert asked("/ui/runs").json() == {"folder": "runs", "runs": []}
    events = [
        {"event": "start", "step": 0, "total_steps": 50},
        {"event": "train", "step": 4, "train/loss": 3.5},
        {"event": "val", "step": 5, "val/loss": 3.25},
        {"event": "eval", "step": 90, "perplexity": 1.0},  # of an evaluation, which may be of any step
    ]
    write_run(tmp_path / "runs/a", events)
    write_run(tmp_path / "runs/b", [{"event": "train", "step": 1, "train/loss": None}], state="nonsense")
    (tmp_path / "runs/a folder").mkdir()
    (tmp_path / "runs/a file").touch()
    runs = {run.pop("name"): run for run in asked("/ui/runs").json()["runs"]}
    assert runs["a"].pop("changed") > 1e9
    assert runs["a"] == {"state": "running", "step": 5, "total_steps": 50, "train_loss": 3.5, "val_loss": 3.25}
    assert (runs["b"]["state"], runs["b"]["train_loss"], runs["b"]["total_steps"]) == ("unknown", None, None)
    assert set(runs) == {"a", "b"}


def test_curves_keep_gaps_and_extremes_and_forget_what_was_superseded(tmp_path, asked):
    events = [{"event": "train", "step": i, "train/loss": None if i == 7 else float(i == 500)} for i in range(1000)]
    write_run(tmp_path / "runs/a", [*events, {"event": "start", "step": 900, "total_steps": 2000}])
    found = asked("/ui/runs/a/curves?points=50").json()
    curve = found["curves"]["train/loss"]
    points = dict(zip(curve["steps"], curve["values"], strict=True))
    assert (points[500], points[7], max(points)) == (1.0, None, 900)
    assert len(points) < 100
    assert list(found["curves"]) == ["train/loss"]
    assert (found["step"], found["total_steps"]) == (900, 2000)


def test_damaged_lines_are_told_and_the_rest_is_shown(tmp_path, asked):
    write_run(tmp_path / "runs/a", [{"event": "train", "step": 1, "train/loss": 2.0}])
    with (tmp_path / "runs/a/metrics.jsonl").open("a") as file:
        file.write(
            'broken\n[1]\n{"event": "train", "step": "x", "train/loss": 1e999}\n' + "[" * 9000 + "\n" + '{"event": "tra'
        )
    found = asked("/ui/runs/a/curves")
    assert found.status_code == 200
    assert "not JSON" in found.json()["problems"][0]
    assert found.json()["curves"]["train/loss"] == {"steps": [1], "values": [2.0]}
    assert asked("/ui/runs").json()["runs"][0]["train_loss"] is None  # the newest, which is infinite


def test_a_folder_that_is_a_run_is_shown_alone(tmp_path):
    write_run(tmp_path / "mine", [{"event": "train", "step": 1, "train/loss": 2.0}])
    application = FastAPI()
    application.include_router(runs_router(tmp_path / "mine"))
    client = TestClient(application)
    assert [run["name"] for run in client.get("/ui/runs").json()["runs"]] == ["mine"]
    assert client.get("/ui/runs/mine/curves").json()["curves"]["train/loss"]["values"] == [2.0]


@pytest.mark.parametrize(
    "name", ["none", "..", "%2e%2e", "..%2fsecret", "%2fetc", "a%00b", "%ff", "a%5c..", "x" * 5000]
)
def test_no_name_leads_out_of_the_folder(tmp_path, asked, name):
    write_run(tmp_path / "secret", [{"event": "train", "step": 1, "train/loss": 2.0}])
    (tmp_path / "runs").mkdir()
    answer = asked(f"/ui/runs/{name}/curves")
    assert answer.status_code == 404
    assert "train/loss" not in answer.text


def test_the_page_names_its_own_script_and_style_alone():
    body, headers = chat_page()
    assert headers == {"Content-Type": "text/html; charset=utf-8", **headers_for(body.decode())}
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["script-src"].count("'sha256-") == policy["style-src"].count("'sha256-") == 1
    assert policy["default-src"] == "'none'"
    digest = "'sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ='"  # of "hello"
    assert f"script-src {digest};" in headers_for("<script>hello</script>")["Content-Security-Policy"]


def test_the_page_has_no_way_to_turn_text_into_markup():
    text = chat_page().body.decode()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "://cdn",
    ):
        assert way not in text, way
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")
    assert "https://" not in text
