"""Memory by strategy, the dry run, step times and the cache of the probe."""

import json
from pathlib import Path

import pytest
import torch

from hornbook.cli.plan_view import plan_lines
from hornbook.config.load import load_config
from hornbook.config.model import ModelConfig, ModelTable
from hornbook.config.optim import AdamWConfig, LionConfig
from hornbook.distributed.device import keep_freed_memory
from hornbook.models.accounting import parameter_counts
from hornbook.models.memory import training_memory
from hornbook.models.transformer import Transformer
from hornbook.optim.build import state_tensors
from hornbook.planning import machine as machine_module
from hornbook.planning.dry_run import DryRun, dry_run
from hornbook.planning.estimate import PROCESS_BYTES, Wishes, make_plan
from hornbook.planning.machine import LENGTHS, WIDTHS, Machine, machine
from hornbook.planning.shrink import Demand, changes
from hornbook.planning.step_time import step_seconds
from hornbook.planning.strategies import cache_bytes, memory_of
from hornbook.profiling.accelerators import accelerator_named

MEMORY = {"weights": 400, "gradients": 400, "optimizer": 800, "activations": 1000, "logits": 100}
RATES = {
    **{f"linear/{width}": 1e-10 for width in WIDTHS},
    **{f"attention/{way}/{length}": 1e-9 for way in ("plain", "kernel") for length in LENGTHS},
    **dict.fromkeys(("norm/rms_norm", "norm/layer_norm", "rotate", "residual", "loss", "update"), 1e-9),
    **{f"activation/{kind}": 1e-9 for kind in ("swiglu", "gelu", "gelu_tanh", "relu", "relu2")},
}


def shape(**settings: object) -> ModelConfig:
    table = {"d_model": 128, "n_layers": 3, "n_heads": 4, "context_length": 64, **settings}
    return ModelTable.model_validate(table).complete(vocab_size=512)


def test_strategies_share_what_they_say() -> None:
    config = shape()
    assert memory_of(MEMORY, config, "ddp", 4) == MEMORY
    assert memory_of(MEMORY, config, "fsdp", 1) == MEMORY
    assert memory_of(MEMORY, config, "ddp, sharded optimizer", 4) == {**MEMORY, "optimizer": 200}
    cut = memory_of(MEMORY, config, "fsdp", 4)
    assert (cut["weights"], cut["gradients"], cut["optimizer"], cut["activations"]) == (100, 100, 200, 1000)
    counts = parameter_counts(config)
    assert cut["gathered"] == 12 * (counts["attention"] + counts["feed_forward"]) // 3


def test_a_cache_holds_keys_and_values() -> None:
    assert cache_bytes(shape(n_kv_heads=2), rows=3) == 3 * 64 * 3 * 2 * 64 * 4


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_dry_run_needs_what_the_formula_says(half: bool, checkpointing: bool) -> None:
    """Many rows, so that activations are most of it: the formula counts gradients and logits as if both were there.

    The process has much free memory of its own, as after other work: that is no memory which the step does without.
    """
    keep_freed_memory()
    blocks = [bytearray(200_000) for _ in range(1000)]
    del blocks
    config, rows = shape(), 64
    with torch.device("meta"):
        model = Transformer(config).train()
    model.use_plain_attention(0)
    model.activation_checkpointing = checkpointing
    found = dry_run(model, rows=rows, length=64, micro_batches=1, half=half, state_tensors=2, chunk_tokens=512)
    told = training_memory(
        config, rows=rows, half=half, state_tensors=2, chunk_tokens=512, activation_checkpointing=checkpointing
    )
    assert found.live == pytest.approx(sum(told.values()), rel=0.3 if checkpointing else 0.1)
    assert found.held >= 0.9 * found.live


def test_a_step_is_the_sum_of_its_pieces() -> None:
    config = shape()
    given = {"rows": 4, "plain_attention": True, "chunk_tokens": 2048}
    one = step_seconds(config, RATES, micro_batches=1, **given)  # type: ignore[arg-type]
    matrices = parameter_counts(config)["attention"] + parameter_counts(config)["feed_forward"]
    assert one["linear"] == pytest.approx(6 * 256 * matrices * 1e-10)
    assert one["attention"] == pytest.approx(3 * 4 * 64 * 256 * 1e-9)
    assert one["head"] == pytest.approx(6 * 256 * 128 * 512 * 1e-10)
    assert one["update"] == pytest.approx(sum(parameter_counts(config).values()) * 1e-9)
    two = step_seconds(config, RATES, micro_batches=2, **given)  # type: ignore[arg-type]
    assert sum(two.values()) - sum(one.values()) == pytest.approx(sum(one.values()) - one["update"])
    again = step_seconds(config, RATES, micro_batches=1, activation_checkpointing=True, **given)  # type: ignore[arg-type]
    assert again["linear"] == pytest.approx(one["linear"] * 4 / 3)
    assert again["loss"] == one["loss"]


def test_changes_save_and_are_sorted() -> None:
    demand = Demand(rows=16, half=False, state_tensors=2, chunk_tokens=2048, checkpointing=False, plain=True)
    made = changes(shape(), demand)
    assert [each.total for each in made] == sorted(each.total for each in made)
    assert made[-1].total < demand.total(shape())
    assert "train.activation_checkpointing = true" in [each.setting for each in made]


@pytest.mark.parametrize(("rows", "reads", "sizes"), [(16, 1, [8, 2]), (9, 1, [3]), (24, 4, [3]), (2, 2, [])])
def test_smaller_micro_batches_divide_what_there_is(rows: int, reads: int, sizes: list[int]) -> None:
    """In sequences, of which the model may read several rows."""
    demand = Demand(rows=rows, half=True, state_tensors=1, chunk_tokens=1, checkpointing=True, plain=True, reads=reads)
    assert [each.setting for each in changes(shape(), demand)] == [
        f"train.micro_batch_size = {size}" for size in reversed(sizes)
    ]


def test_adapters_alone_are_trained() -> None:
    """Gradients and optimizer are of the adapters; a frozen product costs two passes and not three."""
    values = {
        "model": {"d_model": 128, "n_layers": 3, "n_heads": 4, "context_length": 64, "vocab_size": 512},
        "train": {"steps": 10, "tokens_per_step": 1024, "micro_batch_size": 4},
    }
    wishes = Wishes(rows=4, plain=True, compiled=False, tokens=None, world_sizes=(1,), mfu=0.5, price=None)
    here = Machine(rates=RATES, measured=0.0, was_kept=True)
    whole, tuned = (
        make_plan(
            load_config(None, values=each).config, shape(), wishes, [], machine=here, held=None, free=None, remarks=[]
        )
        for each in (values, {**values, "lora": {"rank": 2, "targets": ["q_proj"]}, "model.init_from": "learnt"})
    )
    adapters = 3 * 2 * (128 + 128)
    assert tuned.parameters["adapters"] == adapters
    (memory,) = (each.memory for each in tuned.held)
    assert (memory["gradients"], memory["optimizer"]) == (4 * adapters, 8 * adapters)
    assert tuned.step is not None
    assert whole.step is not None
    assert tuned.step["update"] == pytest.approx(adapters * 1e-9)
    assert tuned.step["linear"] == pytest.approx(whole.step["linear"] * 2 / 3)
    assert tuned.training_flops == pytest.approx(whole.training_flops * 2 / 3)


def test_a_pair_is_two_rows_and_a_reference_is_a_copy() -> None:
    values = {
        "model": {"d_model": 128, "n_layers": 3, "n_heads": 4, "context_length": 64, "vocab_size": 512},
        "data.stage": "dpo",
        "objective.kind": "preference",
        "train": {"steps": 10, "sequences_per_step": 4, "micro_batch_size": 4},
    }
    config = load_config(None, values=values).config
    wishes = Wishes(
        rows=8, plain=True, compiled=False, tokens=None, world_sizes=(1,), mfu=0.5, price=None, has_reference=True
    )
    plan = make_plan(config, shape(), wishes, [], machine=None, held=None, free=None, remarks=[])
    forward = sum(plan.flops.values())
    assert plan.tokens == 10 * 4 * 2 * 64
    assert plan.training_flops == pytest.approx(3 * forward)
    assert plan.held[0].memory["reference"] == 4 * sum(parameter_counts(shape()).values())


@pytest.mark.parametrize(
    ("free", "live", "kept", "fits"),
    [(None, 1, 2, None), (2, 1, 2, "yes"), (2, 1, 3, "perhaps"), (2, 3, 4, "no"), (0, None, None, "no")],
)
def test_what_fits(free: int | None, live: int | None, kept: int | None, fits: str | None) -> None:
    config = load_config(None, values={"model": {"d_model": 128, "n_layers": 3, "vocab_size": 512}}).config
    wishes = Wishes(rows=4, plain=True, compiled=False, tokens=None, world_sizes=(1,), mfu=0.5, price=None)
    held = None if live is None or kept is None else DryRun(live=live * 10**9, held=kept * 10**9)
    room = None if free is None else free * 10**9 + (0 if held is None else PROCESS_BYTES)
    plan = make_plan(config, shape(), wishes, [], machine=None, held=held, free=room, remarks=[])
    assert plan.fits == fits
    assert plan.values()["fits"] == fits
    (told,) = [line for line in plan_lines(plan, {}) if "free here" in line] or [""]
    words = {None: "", "yes": "it fits", "perhaps": "may NOT fit", "no": "does NOT fit"}
    assert words[fits] in told
    assert bool(told) == (fits is not None)


def test_the_probe_is_kept_and_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(machine_module, "measure", lambda precision, *_, **__: measured.append(precision) or RATES)
    assert not machine("fp32", "exact", folder=tmp_path).was_kept
    assert machine("fp32", "exact", folder=tmp_path).was_kept
    assert not machine("bf16", "exact", folder=tmp_path).was_kept
    for broken in (json.dumps({"measured": 1.0, "rates": RATES}), "{", '{"rates": 3}'):
        for each in (tmp_path / "probe").iterdir():
            each.write_text(broken)
        assert not machine("fp32", "exact", folder=tmp_path).was_kept
    assert measured == ["fp32", "bf16", "fp32", "fp32", "fp32"]


def test_a_plan_adds_up() -> None:
    config = load_config(
        None,
        values={
            "model": {"d_model": 128, "n_layers": 3, "n_heads": 4, "context_length": 64, "vocab_size": 512},
            "train": {"steps": 10, "tokens_per_step": 1024, "micro_batch_size": 4},
        },
    ).config
    wishes = Wishes(rows=4, plain=True, compiled=False, tokens=None, world_sizes=(1, 4), mfu=0.5, price=2.0)
    machine_here = Machine(rates=RATES, measured=0.0, was_kept=True)
    l4 = accelerator_named("L4")
    plan = make_plan(config, shape(), wishes, [l4], machine=machine_here, held=None, free=None, remarks=[])
    assert plan.tokens == 10_240
    assert plan.steps == 10
    assert [(each.strategy, each.world_size) for each in plan.held] == [
        ("single", 1),
        ("ddp", 4),
        ("ddp, sharded optimizer", 4),
        ("fsdp", 4),
    ]
    (there,) = plan.elsewhere
    assert there.hours == pytest.approx(plan.training_flops * 10_240 / (l4.fp32 * 0.5) / 3600)
    assert there.cost == pytest.approx(2 * there.hours)
    json.dumps(plan.values())


def test_optimizers_keep_what_they_make() -> None:
    assert state_tensors(AdamWConfig()) == 2
    assert state_tensors(AdamWConfig(ema_decay=0.9)) == 3
    assert state_tensors(LionConfig()) == 1
