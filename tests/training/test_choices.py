"""Choices are made once from the configuration and the device, stored, and taken again."""

import json
from pathlib import Path

import pytest
import torch

from hornbook.config.distributed import DistributedConfig
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.distributed.process_group import Processes
from hornbook.errors import CheckpointError, ConfigError
from hornbook.models.accounting import parameter_counts, run_flops_per_token
from hornbook.profiling.probe import FastProducts, probe_fast_products
from hornbook.training import choosing
from hornbook.training.choices import Choices
from hornbook.training.compiled import (
    COLD_SECONDS,
    SAVED,
    is_warm,
    missing_compiler,
    pays_off,
    remember,
    use_persistent_cache,
)

CPU = torch.device("cpu")


def settings(model: dict[str, object] | None = None, **train: object) -> Config:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "context_length": 64, **(model or {})}
    return Config.model_validate({"model": shape, "train": {"tokens_per_step": 64 * 24, **train}})


def made(config: Config, *, kept: Choices | None = None, steps_left: int = 10) -> tuple[Choices, list[str]]:
    return choosing.choose(config, config.model.complete(vocab_size=50), CPU, kept=kept, steps_left=steps_left)


def test_they_survive_the_disk(tmp_path: Path) -> None:
    choices, _ = made(settings())
    choices.write(tmp_path / "choices.json")
    assert Choices.read(tmp_path / "choices.json") == choices
    assert Choices.read(tmp_path / "none.json") is None
    assert choices.reasons["fp32_products"] in choices.line()


@pytest.mark.parametrize(
    "change",
    [
        {"threads": "2"},
        {"compile": 1},
        {"more": 1},
        {"fp32_products": "some"},
        {"micro_batch_size": 0},
        {"shrunk": [[3, 0]]},
        {"shrunk": [4]},
    ],
)
def test_what_is_no_choice_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "choices.json"
    made(settings())[0].write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"choices\.json: these are no choices"):
        Choices.read(path)


@pytest.mark.parametrize("text", ["", "[1]", '"words"', "{}", '{"shrunk": 3}'])
def test_no_text_is_a_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"choices\.json: these are no choices"):
        Choices.read(tmp_path / "choices.json")


def test_a_run_that_goes_on_keeps_them_and_one_on_another_device_says_that_it_does_not() -> None:
    automatic = settings(micro_batch_size="auto")
    kept = made(automatic)[0].replaced(micro_batch_size=3, plain_max_keys=17, threads=5)
    again, remarks = made(automatic, kept=kept)
    assert (again, remarks) == (kept, [])
    elsewhere, remarks = made(settings(), kept=kept.replaced(device="cuda"))
    assert elsewhere.micro_batch_size == 8
    assert remarks == ["begun on cuda, goes on on cpu: chosen anew, so bits may differ"]


def test_auto_takes_the_largest_micro_batch_that_divides_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(settings(micro_batch_size="auto"))[0].micro_batch_size == 24
    tokens_per_step = 64 * 4 * 90
    assert made(settings(micro_batch_size="auto", tokens_per_step=tokens_per_step))[0].micro_batch_size == 120  # of 128
    monkeypatch.setattr(choosing, "free_bytes", lambda device: 1_200_000)
    assert made(settings(micro_batch_size="auto"))[0].micro_batch_size in (2, 3, 4, 6, 8, 12)


def test_memory_that_is_short_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "free_bytes", lambda device: 1_200_000)
    _, (warning,) = made(settings(micro_batch_size=24))
    assert "a micro-batch of 24 needs about" in warning
    monkeypatch.setattr(choosing, "free_bytes", lambda device: 10_000)
    with pytest.raises(ConfigError, match=r"one window needs about .* 0 MB are free on cpu; use train.activation_ch"):
        made(settings())


def test_an_average_of_the_weights_takes_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(choosing, "training_memory", lambda _, **given: counted.append(given["state_tensors"]) or {})
    for optim in ({"kind": "lion"}, {"kind": "lion", "ema_decay": 0.9}, {"kind": "adamw", "ema_decay": 0.9}):
        made(Config.model_validate({**settings().model_dump(), "optim": optim}))
    assert sorted(set(counted)) == [1, 2, 3]


def test_processes_share_the_memory_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[float] = []
    monkeypatch.setattr(choosing, "training_memory", lambda _, **given: counted.append(given["state_tensors"]) or {})
    config, four = settings(), Processes(world_size=4)
    for shared in (True, False):
        alike = config.model_copy(update={"distributed": DistributedConfig(shard_optimizer=shared)})
        shape = config.model.complete(vocab_size=50)
        choosing._micro_batch(alike, shape, CPU, four, plain=True)
    assert set(counted) == {0.5, 2.0}


def test_an_objective_that_reads_tokens_twice_takes_twice_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = {"objective": {"kind": "block_diffusion"}}
    large = {"micro_batch_size": "auto", "tokens_per_step": 64 * 4 * 90}
    assert made(Config.model_validate({**settings(**large).model_dump(), **twice}))[0].micro_batch_size == 60  # of 64
    counted: list[int] = []
    monkeypatch.setattr(choosing, "training_memory", lambda _, **given: counted.append(given["rows"]) or {})
    for objective in ({}, twice):
        made(Config.model_validate({**settings().model_dump(), **objective}))
    assert counted == [1, 8, 2, 16]


def preference(**changes: object) -> Config:
    values = {
        "data.stage": "dpo",
        "objective.kind": "preference",
        "model.init_from": "base",
        "model.context_length": 64,
    }
    return load_config(None, values=values | changes).config


def test_a_copy_of_the_reference_takes_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = settings().model.complete(vocab_size=50)
    n_bytes = 4 * sum(parameter_counts(shape).values())
    monkeypatch.setattr(choosing, "training_memory", lambda _, **given: {})
    monkeypatch.setattr(choosing, "free_bytes", lambda device: n_bytes - 1)
    with pytest.raises(ConfigError, match=r"one window needs about"):
        choosing._micro_batch(preference(), shape, CPU, Processes(), plain=True)
    choosing._micro_batch(preference(**{"objective.reference": "precomputed"}), shape, CPU, Processes(), plain=True)


def test_every_mask_of_an_answer_is_computed() -> None:
    """Of each token of a pair's two rows: once, or by every mask."""
    shape = settings().model.complete(vocab_size=50)
    once = run_flops_per_token(settings(), shape)
    assert run_flops_per_token(preference(), shape) == once
    by_masks = {"objective.likelihood": "masked_diffusion", "objective.draws": 5}
    assert run_flops_per_token(preference(**by_masks), shape) == 5 * once


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (FastProducts(speed_up=2.0, error=4e-7), "fast"),
        (FastProducts(speed_up=1.0, error=4e-7), "fast"),
        (FastProducts(speed_up=0.5, error=4e-7), "exact"),
        (FastProducts(speed_up=4.0, error=2e-3), "exact"),  # AMX in bfloat16
        (None, "exact"),
    ],
)
def test_fast_products_must_be_as_accurate(
    monkeypatch: pytest.MonkeyPatch, found: FastProducts | None, expected: str
) -> None:
    monkeypatch.setattr(choosing, "probe_fast_products", lambda device: found)
    assert made(settings())[0].fp32_products == expected
    assert made(settings(fp32_products="exact"))[0].fp32_products == "exact"
    assert made(settings(fp32_products="fast"))[0].fp32_products == "fast"


def test_the_probe_leaves_the_setting_and_measures_float32() -> None:
    before = torch.get_float32_matmul_precision()
    found = probe_fast_products(CPU)
    assert found is not None
    assert found.speed_up > 0
    assert 0 < found.error < 1e-2
    assert torch.get_float32_matmul_precision() == before
    assert probe_fast_products(CPU) is found


def test_compiling_must_pay_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")  # a program that is everywhere
    assert missing_compiler(CPU) is None
    even = COLD_SECONDS / SAVED
    assert not pays_off(seconds=0.9 * even, device=CPU, warm=False)[0]
    assert pays_off(seconds=1.1 * even, device=CPU, warm=False)[0]
    assert pays_off(seconds=0.9 * even, device=CPU, warm=True)[0]
    assert not pays_off(seconds=None, device=CPU, warm=True)[0]
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert pays_off(seconds=1e9, device=CPU, warm=True) == (False, "no C++ compiler")
    assert made(settings(), steps_left=10**9)[0].compile is False
    assert made(settings(compile="on"))[0].compile is True


def test_long_runs_compile_and_short_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    assert made(settings(), steps_left=10)[0].compile is False
    assert made(settings(), steps_left=10**9)[0].compile is True
    assert made(settings(max_minutes=0.5), steps_left=10**9)[0].compile is False
    assert made(settings(compile="off"), steps_left=10**9)[0].compile is False


def test_the_users_own_cache_directory_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_FX_GRAPH_CACHE", "0")
    assert use_persistent_cache() == tmp_path
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "own"))
    assert use_persistent_cache() == tmp_path / "own" / "inductor"


def test_code_is_warm_for_its_own_objective_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    shape = settings().model.complete(vocab_size=50)
    remember(shape, 2, "bf16", "next_token")
    assert is_warm(shape, 2, "bf16", "next_token")
    assert not is_warm(shape, 2, "bf16", "masked_diffusion")


def test_attention_goes_by_the_setting() -> None:
    backends = {"auto": 768, "sdpa": 0, "flash": 0, "compiled": 64}
    for backend, keys in backends.items():
        assert made(settings({"attention_backend": backend}, precision="bf16"))[0].plain_max_keys == keys
    for products, keys in {"exact": 0, "fast": 768}.items():
        assert made(settings(precision="fp32", fp32_products=products))[0].plain_max_keys == keys
    assert made(settings({"attention_backend": "compiled"}))[0].compile
    with pytest.raises(ValueError, match=r"has no effect with train\.compile"):
        settings({"attention_backend": "compiled"}, compile="off")


def test_another_number_of_processes_keeps_what_it_can() -> None:
    automatic = settings(micro_batch_size="auto")  # 24 windows a step
    kept = made(automatic)[0].replaced(micro_batch_size=12, threads=5, compile=True)
    three = Processes(world_size=3, local_world_size=3)
    shape = automatic.model.complete(vocab_size=50)
    choices, _ = choosing._choose(automatic, shape, CPU, three, kept=kept, steps_left=10)
    assert (choices.micro_batch_size, choices.world_size, choices.compile) == (8, 3, True)
    assert choices.threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("world_size", "rows", "advice"),
    [
        (5, 8, "nearest: train.tokens_per_step = 2560$"),
        (3, 3, "nearest: train.tokens_per_step = 1152 or 1728, or train.micro_batch_size = 2$"),
        (7, "auto", "nearest: train.tokens_per_step = 1344 or 1792$"),
    ],
)
def test_a_step_that_cannot_be_shared_is_refused(world_size: int, rows: int | str, advice: str) -> None:
    choosing.check_shares(settings(micro_batch_size=rows), 1)
    with pytest.raises(ConfigError, match=advice):
        choosing.check_shares(settings(micro_batch_size=rows), world_size)


def test_rows_of_tuning_that_cannot_be_shared_are_counted_as_rows() -> None:
    values = {"data.stage": "sft", "train.sequences_per_step": 6, "train.micro_batch_size": 2}
    config = load_config(None, values=values).config
    choosing.check_shares(config, 3)
    message = "sequences_per_step = 6 are rows that 4 processes cannot .* of 2; nearest: train.sequences_per_step = 8$"
    with pytest.raises(ConfigError, match=message):
        choosing.check_shares(config, 4)
