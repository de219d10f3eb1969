"""Every side of a training step computes the same; how fast is never a test."""

from pathlib import Path

import pytest
import torch

from hornbook.benchmarks import training
from hornbook.benchmarks.comparison import rows_of
from hornbook.benchmarks.harness import run_case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.training import PRODUCTS, QUICK, SHAPES, train_cases
from hornbook.cli.main import main
from hornbook.models.accounting import parameter_counts

NANOGPT = Path(__file__).parent / "nanogpt_double"


@pytest.mark.medium
def test_all_sides_start_from_the_same_weights_and_learn(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer than all the rest
    cases = list(train_cases({"quick": QUICK}, tmp_path, nanogpt=NANOGPT))
    assert [case.name for case in cases] == ["train quick", "train quick, gpt2"]
    for case in cases:
        ours, products, *peers = rows_of(case, run_case(case, blocks=1))
        assert [row.failure for row in (ours, products, *peers)] == [None] * (2 + len(peers))
        assert {row.same for row in peers} == {("loss", "parameters", "learns")}
        assert ours.checks["learns"]
        assert all("trial in tokens/s" in row.checks["said"] for row in peers)
        assert "GFLOP/s" in products.checks["said"]
        shape = QUICK.model("gpt2" if "gpt2" in case.name else "llama").complete(vocab_size=QUICK.vocab_size)
        assert ours.checks["parameters"] == sum(parameter_counts(shape).values())


@pytest.fixture
def no_weights(monkeypatch):
    monkeypatch.setattr(training, "random_model", lambda directory, *_: directory)
    monkeypatch.setattr(training, "peer_python", lambda name: f"{name}/python")


def test_shapes_and_floors_are_those_of_the_design(no_weights, tmp_path):
    cases = {case.name: case for case in train_cases(SHAPES, tmp_path)}
    floors = {name: {bar.peer: bar.value for bar in case.bars} for name, case in cases.items()}
    assert floors == {
        f"train {name}": {"transformers": ratio, "litgpt": ratio, PRODUCTS: share}
        for name, ratio, share in (("a", 1.7, 0.33), ("b", 1.3, 0.65), ("c", 1.3, 0.5), ("d", 1.4, 0.55))
    }
    sizes = {
        name: sum(parameter_counts(shape.model("gpt2").complete(vocab_size=1)).values())
        for name, shape in SHAPES.items()
    }
    assert 0.79e6 < sizes["a"] < 0.81e6, "nanoGPT's small model for processors"


def test_the_products_are_as_many_operations_as_the_steps(no_weights, tmp_path):
    (case,) = train_cases({"quick": QUICK}, tmp_path)
    one_layer = 4 * 32 * 32 + 2 * 32 * QUICK.context + 3 * 32 * 96  # q k v o; scores and values; gate, up, down
    per_token = 3 * 2 * (one_layer + 32 * QUICK.vocab_size)
    assert {side.settings["operations"] for side in case.sides} == {per_token * case.amount}
    assert case.amount == QUICK.steps * QUICK.rows * QUICK.context
    assert case.bars == []


def test_a_checkout_of_nanogpt_adds_a_gpt2(no_weights, tmp_path):
    llama, gpt2 = train_cases({"a": SHAPES["a"]}, tmp_path, nanogpt=NANOGPT)
    assert [side.name for side in llama.sides] == ["hornbook", PRODUCTS, "transformers", "litgpt"]
    assert [side.name for side in gpt2.sides] == ["hornbook", PRODUCTS, "transformers", "nanogpt"]
    assert gpt2.sides[-1].python == "transformers/python", "a checkout has no environment of its own"


def test_a_gpu_makes_longer_blocks(no_weights, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("hornbook.cli.bench._measure", lambda _, cases: seen.extend(cases) or 0)
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert main(["bench", "train", "--shape", "d"]) == 0
    assert [case.sides[0].settings["steps"] for case in seen] == [SHAPES["d"].steps, 40 * SHAPES["d"].steps]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shape", "a,e"), "--shape a,e: no shape is called e; there are a, b, c, d"),
        (("--json", "/no/such/rows.json"), "--json /no/such/rows.json: there is no folder /no/such; make it first"),
        (("--nanogpt", "/no/such"), "--nanogpt /no/such: no model.py there; expected a checkout of nanoGPT"),
    ],
)
def test_mistakes_are_one_message(arguments, message, capsys):
    assert main(["bench", "train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_litgpt_is_left_out_and_told_where_it_is_missing(no_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HORNBOOK_PEERS", str(tmp_path))
    monkeypatch.setattr("hornbook.cli.bench._measure", lambda _, cases: len(list(cases)) - 4)
    if peer_python("litgpt"):
        pytest.skip("litgpt is installed beside hornbook itself")
    assert main(["bench", "train"]) == 0
    assert "left out: litgpt; to have it: hornbook bench peers litgpt" in capsys.readouterr().err
