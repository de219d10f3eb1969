"""A run's metrics.jsonl, TensorBoard and W&B files hold the names that docs/formats.md lists, each at its own step."""

import dataclasses
import re
from pathlib import Path

import pytest

from documented_events import documented
from hornbook import assemble
from hornbook.benchmarks.comparison import Row
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import read_metrics
from tiny_project import load, make_project
from tracking.wandb_file import records, rows

pytestmark = pytest.mark.medium

STEPS, EVERY = 16, {"train": 7, "val": 5, "norms": 4, "histograms": 8, "sample": 6, "samples": 6}
ELSEWHERE = {
    *("choices", "warning", "train/loss_scale", "train/overflows", "train/skipped", "train/skipped_gradient"),
    *("train/compile_seconds", "world_size", "val/loss/NAME", "val/excess", "trained_parameters"),
    *("train/peak_memory_bytes", "train/mfu"),  # not known everywhere
    *("train/diffusion_nll", "train/mask_ratio"),  # with other objectives, as the next four
    *(f"train/rewards/{name}" for name in ("chosen", "rejected", "margin", "accuracy", "score_variance")),
    *(f"train/{logps}/{side}" for logps in ("logps", "logps_per_token") for side in ("chosen", "rejected")),
    *(f"train/nll_{bucket}" for bucket in ("p0_25", "p25_50", "p50_75", "p75_100")),
}
"""Documented names that this run need not have."""
ON_STDOUT = (
    *("doctor", "doctor_machine"),
    *("progress", "compare_cache", "generate_compare", "sweep_point", "sweep_submission", "sweep_result"),
    *("export", "import", "serve", "request", "bench", "bench_perplexity", "speedrun"),
    *("verify_parallel", "scaling_measured", "scaling_simulated"),
    *("eval_checkpoints", "eval_compare"),
    "profile",
    *("plan", "plan_optimum", "plan_shape", "plan_order"),
)
OTHER_EVENTS = ("skipped", "notice", "mixture", "eval", "generate", *ON_STDOUT)
SCALARS = ("train", "val", "norms", "samples")
Points = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    root = tmp_path_factory.mktemp("names")
    path = make_project(root)
    path.write_text(path.read_text() + '\n[tracking.wandb]\nproject = "letters"\ngroup = "tests"\n')
    every = {f"train__{name}_every": EVERY[event] for name, event in (("log", "train"), ("eval", "val"))}
    every |= {f"tracking__{event}_every": EVERY[event] for event in ("norms", "histograms")}
    with pytest.MonkeyPatch.context() as patch:
        for place in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"WANDB_{place}_DIR", str(root / place.lower()))
        config = load(
            path,
            run__tags=["a"],
            tracking__tensorboard=True,
            train__steps=STEPS,
            train__sample_every=EVERY["sample"],
            train__sample_prompts=["the", "a cat"],
            **every,
        )
        return assemble.train(config).run_dir


def general(name: str) -> str:
    """A name as the document has it."""
    name = re.sub(r"^((norms|histograms)/\w+)/.*", r"\1/MODULE", name)
    return re.sub(r"^sample/\d+$", "sample/NUMBER", name)


def due(event: str) -> list[int]:
    """Validation, log and samples are made at the end too."""
    at_end = {STEPS} if event in ("train", "val", "sample", "samples") else set()
    return sorted({*range(EVERY[event], STEPS + 1, EVERY[event])} | at_end)


def by_name(pairs: list[tuple[str, int, object]]) -> Points:
    points: Points = {}
    for name, step, value in pairs:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            points.setdefault(name, []).append((step, float(value)))
    return points


def json_points(run: RunDir) -> Points:
    events = [event for event in read_metrics(run.metrics_file) if event["event"] in SCALARS]
    return by_name([(name, e["step"], value) for e in events for name, value in e.items() if "/" in name])


def tensorboard(run: RunDir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def wandb_file(run: RunDir) -> Path:
    (path,) = (run.root / "wandb").glob("offline-run-*/*.wandb")
    return path


def wandb_points(run: RunDir) -> Points:
    found = []
    for row in rows(wandb_file(run)):
        (axis,) = [name for name in row if name.endswith("/step")]
        found += [(name, row[axis], value) for name, value in row.items() if name != axis]
    return by_name([entry for entry in found if entry[0].partition("/")[0] in SCALARS])


def test_metrics_jsonl_has_the_documented_names(run):
    names: dict[str, set[str]] = {}
    for event in read_metrics(run.metrics_file):
        values = {general(name) for name in event if name not in ("event", "step", "time")}
        names.setdefault(event["event"], set()).update(values)
    assert names.pop("sample") == {"name", "text"}
    expected = {event: each for event, each in documented().items() if event not in OTHER_EVENTS}
    assert set(names) == set(expected) - {"histograms", "sample"}
    for event, found in names.items():
        assert found <= expected[event], event
        assert expected[event] - ELSEWHERE <= found, event


def test_rows_of_benchmarks_have_the_documented_names():
    assert documented()["bench"] == {field.name for field in dataclasses.fields(Row)}


def test_tensorboard_has_the_documented_names(run):
    tags = tensorboard(run).Tags()
    wanted = {name for event in SCALARS for name in documented()[event]}
    assert {general(tag) for tag in tags["scalars"]} - ELSEWHERE == wanted - ELSEWHERE
    assert {general(tag) for tag in tags["scalars"]} <= wanted
    assert {general(tag) for tag in tags["histograms"]} == documented()["histograms"]
    texts = {general(tag.removesuffix("/text_summary")) for tag in tags["tensors"]}
    assert texts == {"run", "status", *documented()["sample"]}


def test_wandb_has_the_documented_names(run):
    names = {
        re.sub(r"\.(_type|sha256|size|path|values|bins)$", "", name) for row in rows(wandb_file(run)) for name in row
    }
    events = [*SCALARS, "histograms", "sample", "checkpoint"]
    wanted = {name for event in events for name in documented()[event]} | {f"{event}/step" for event in events}
    assert {general(name) for name in names} - ELSEWHERE == wanted - ELSEWHERE
    assert {general(name) for name in names} <= wanted


def test_every_event_has_its_own_step_everywhere(run):
    """log_every 7 and eval_every 5: each validation stands at 5, 10, 15, whatever else is logged when."""
    of_json = json_points(run)
    board = tensorboard(run)
    of_tensorboard = {tag: [(p.step, p.value) for p in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    of_wandb = wandb_points(run)
    assert set(of_json) == set(of_tensorboard) == set(of_wandb)
    for name, points in of_json.items():
        if name.startswith("norms/update_ratio"):
            continue
        assert [step for step, _ in points] == due(name.partition("/")[0]), name
        for others in (of_tensorboard, of_wandb):
            assert [step for step, _ in others[name]] == [step for step, _ in points], name
            # TensorBoard keeps float32
            assert [v for _, v in others[name]] == pytest.approx([v for _, v in points], rel=1e-6), name
    assert {e.step for tag in board.Tags()["histograms"] for e in board.Histograms(tag)} == set(due("histograms"))
    samples = [(e["step"], e["name"]) for e in read_metrics(run.metrics_file) if e["event"] == "sample"]
    assert samples == [(step, name) for step in due("sample") for name in ("sample/0", "sample/1")]
    assert [e.step for e in board.Tensors("sample/1/text_summary")] == due("sample")
    assert [row["sample/step"] for row in rows(wandb_file(run)) if "sample/1.path" in row] == due("sample")
    assert sorted(path.name for path in run.samples.iterdir()) == [f"step-{step:08d}.txt" for step in due("sample")]


def test_architecture_and_data_set_reach_everybody(run):
    known = run.provenance()
    assert known["architecture"].endswith("2 layers, d_model 16, rotary, swiglu")
    assert known["dataset"].endswith("data")
    (start,) = [event for event in read_metrics(run.metrics_file) if event["event"] == "start"]
    (text,) = tensorboard(run).Tensors("run/text_summary")
    (sent,) = [r.run for r in records(wandb_file(run)) if r.WhichOneof("record_type") == "run"][:1]
    config = {update.key: update.value_json for update in sent.config.update}
    for name in ("architecture", "dataset"):
        assert start[name] == known[name]
        assert f"{name}: {known[name]}" in text.tensor_proto.string_val[0].decode()
        assert known[name] in config["details"]
    assert (sent.project, sent.run_group, sent.display_name, [*sent.tags]) == ("letters", "tests", "tiny", ["a"])
    assert '"n_layers":2' in config["model"]


def test_every_event_has_an_axis_of_its_own_in_wandb(run):
    metrics = [r.metric for r in records(wandb_file(run)) if r.WhichOneof("record_type") == "metric"]
    axes = {metric.glob_name.partition("/")[0] for metric in metrics if metric.glob_name}
    told_otherwise = {"start", "artifact", "finish", *ON_STDOUT}
    assert axes == set(documented()) - told_otherwise


def test_artifacts_are_sent_and_not_copied(run):
    sent = [r.artifact for r in records(wandb_file(run)) if r.WhichOneof("record_type") == "artifact"]
    assert [(a.name, a.type) for a in sent] == [
        ("tiny-best", "checkpoint"),
        ("tiny-final", "checkpoint"),
        ("tiny-tokenizer", "tokenizer"),
        ("tiny-samples", "samples"),
    ]
    files = {a.name: {entry.path: Path(entry.local_path) for entry in a.manifest.contents} for a in sent}
    final = run.checkpoints / f"step-{STEPS:08d}"
    assert files["tiny-final"]["model.safetensors"] == final / "model.safetensors"
    assert files["tiny-tokenizer"]["merges.txt"] == final / "tokenizer/merges.txt"
    assert {path.parent for path in files["tiny-samples"].values()} == {run.samples}
    copies = [path for path in run.root.parents[1].rglob("*.safetensors") if run.checkpoints not in path.parents]
    assert copies == []
