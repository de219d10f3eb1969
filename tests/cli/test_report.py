"""`hornbook report`, in this process, on runs that were really trained."""

import json

import pytest

from hornbook import assemble
from hornbook.cli.main import main
from hornbook.training.branches import branch_config
from html_outline import Outline
from tiny_project import load, make_project

SETTINGS = {
    "schedule__kind": "constant",
    "train__sample_every": 6,
    "tracking__norms_every": 3,
    "train__sample_prompts": ("the <b>",),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    assemble.train(load(make_project(root), run__name="trunk", **SETTINGS))
    assemble.train(branch_config(f"{root}/runs/trunk@8", 4))
    return root / "runs"


@pytest.mark.medium
def test_a_trained_run_becomes_a_page_in_its_directory(runs, capsys):
    assert main(["report", str(runs / "trunk")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["path"]) == ("report", str(runs / "trunk/report.html"))
    text = (runs / "trunk/report.html").read_text(encoding="utf-8")
    Outline(text)
    for said in ("Branches of trunk", "trunk-step8-cooldown4", "Norms by module", "layers.1.attention", "Samples"):
        assert said in text
    assert "the &lt;b&gt;" in text


@pytest.mark.medium
def test_several_runs_and_a_picture(runs, tmp_path, capsys):
    out = tmp_path / "both.html"
    names = [str(runs / name) for name in ("trunk", "trunk-step8-cooldown4", "trunk/")]
    assert main(["report", *names, "--out", str(out), "--png"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2  # each once
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert main(["report", *names]) == 0
    assert (runs / "report.html").exists()


@pytest.mark.medium
def test_a_run_keeps_where_its_settings_were_written_what_it_read_and_on_what(tmp_path, capsys):
    path = make_project(tmp_path)
    assert main(["train", str(path), "--set", "train.steps=2", "--set", "train.eval_every=0"]) == 0
    run = tmp_path / "runs/tiny"
    known = json.loads((run / "provenance.json").read_text())
    line = path.read_text().splitlines().index("learning_rate = 1e-2") + 1
    assert known["origins"]["optim.learning_rate"] == f"{path}:{line}"
    assert known["origins"]["train.steps"] == "--set"
    assert "train.precision" not in known["origins"], "a default"
    assert known["hardware"]["cores"] >= 1
    (card,) = known["data"]
    assert card["splits"]["train"]["tokens"] > card["splits"]["valid"]["tokens"] > 0
    assert card["digest"] == known["data_digest"]
    assert main(["train", "--resume", str(run), "--set", "train.steps=3"]) == 0
    after = json.loads((run / "provenance.json").read_text())["origins"]
    assert after == known["origins"], "the run's own file is no origin"
    assert main(["report", str(run)]) == 0
    capsys.readouterr()
    text = (run / "report.html").read_text(encoding="utf-8")
    assert f"<td>{path}:{line}</td>" in text
    assert 'value="flops" class="by-flops"' in text


@pytest.mark.medium
def test_what_cannot_be_is_one_message(runs, tmp_path, capsys):
    precious = tmp_path / "notes.txt"
    precious.write_text("mine")
    for words, said in (
        (["report", str(tmp_path)], "not a run"),
        (["report", str(runs / "trunk"), "--out", str(precious)], "ends with .html"),
        (["report", str(runs / "trunk"), "--out", str(tmp_path / "no/where.html")], "no/where.html"),
    ):
        assert main(words) == 2
        message = capsys.readouterr().err
        assert said in message
        assert "Traceback" not in message
    assert precious.read_text() == "mine"
