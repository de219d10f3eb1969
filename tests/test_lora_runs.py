"""Whole runs with adapters: what they leave, what goes on from them, and what they are to everything else."""

import functools
import hashlib
import json
import math
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import hornbook
from cut_run import cut_short
from hornbook import assemble
from hornbook.checkpoint.load import load_checkpoint, load_model
from hornbook.checkpoint.tensors import read_tensors
from hornbook.cli.main import main
from hornbook.config.optim import AdamWConfig
from hornbook.config.run import Config
from hornbook.data.tuning import prepare_tuning
from hornbook.errors import CheckpointError, ConfigError
from hornbook.models.lora import merged
from hornbook.models.transformer import Transformer, roles
from hornbook.optim.build import make_optimizer
from hornbook.storage.run_dir import RunDir, list_checkpoints
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from hornbook.training.choices import Choices
from hornbook.training.start import build_model
from test_tuning_runs import settings_of as conversations
from tiny_project import load, make_project, train_in_child

pytestmark = pytest.mark.medium

LORA = {
    "lora__rank": 2,
    "lora__targets": ["q_proj", "v_proj", "up_proj"],
    "train__fp32_products": "exact",  # else probed, by each run for itself
}
LAST = "checkpoints/step-00000012"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a finished run named `base`, and one of adapters beside it, `adapted`."""
    path = make_project(tmp_path_factory.mktemp("lora"))
    assemble.train(load(path, run__name="base"))
    changes = {"model__init_from": str(path.parent / "runs/base"), "train__sample_every": 6}
    assemble.train(load(path, run__name="adapted", tracking__norms_every=4, **changes, **LORA))
    return path


@pytest.fixture
def configure(project: Path, tmp_path: Path) -> Iterator[Callable[..., Config]]:
    threads = torch.get_num_threads()
    base = {"model__init_from": str(project.parent / "runs/base"), "run__out_dir": str(tmp_path), **LORA}
    yield lambda name="tiny", **changes: load(project, run__name=name, **{**base, **changes})
    torch.set_num_threads(threads)


def run_of(project: Path, name: str) -> Path:
    return project.parent / "runs" / name


def content(run: Path) -> dict[str, str]:
    root = run / "checkpoints"
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return read_tensors(checkpoint / "model.safetensors")


def test_only_adapters_move_and_only_they_have_state(project: Path) -> None:
    before = weights(run_of(project, "base") / LAST)
    for entry in list_checkpoints(run_of(project, "adapted") / "checkpoints"):
        after = weights(entry.path)
        assert all(torch.equal(after.pop(name), tensor) for name, tensor in before.items())
        assert {name.rpartition(".")[2] for name in after} == {"lora_a", "lora_b"}
        assert len(after) == 2 * 3 * 2
        assert all(tensor.any() for tensor in after.values())
    state = read_tensors(run_of(project, "adapted") / LAST / "optimizer.safetensors")
    assert {name.rpartition("/")[0] for name in state} == set(after)


def test_the_first_line_says_how_much_is_trained(project: Path) -> None:
    events = read_metrics(run_of(project, "adapted") / "metrics.jsonl")
    start = events[0]
    sizes = {name: tensor.numel() for name, tensor in weights(run_of(project, "adapted") / LAST).items()}
    assert start["n_parameters"] == sum(sizes.values())
    assert start["trained_parameters"] == sum(size for name, size in sizes.items() if "lora" in name)
    assert "trained_parameters" not in read_metrics(run_of(project, "base") / "metrics.jsonl")[0]
    norms = next(event for event in events if event["event"] == "norms")
    assert {name for name in norms if name.startswith("norms/grad")} == {
        f"norms/grad/layers.{layer}.{part}" for layer in (0, 1) for part in ("attention", "feed_forward")
    }
    losses = [event["val/loss"] for event in events if event["event"] == "val"]
    assert losses[-1] < losses[0]


def test_everything_takes_it_for_a_plain_model(project: Path, tmp_path: Path, capsys) -> None:
    run = run_of(project, "adapted")
    checkpoint = load_checkpoint(run)
    expected = merged(checkpoint.weights, checkpoint.lora)
    model, _, loaded = load_model(run)
    assert loaded.lora is None
    assert all(torch.equal(expected[name], tensor) for name, tensor in model.state_dict().items())
    assert main(["checkpoint", "verify", str(run)]) == 0
    assert main(["generate", str(run), "--prompt", "the", "--set", "generate.max_new_tokens=4"]) == 0
    assert main(["eval", "perplexity", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    assert main(["train", "--replay-step", "8", str(run), "--set", 'tracking.console="none"']) == 0
    capsys.readouterr()
    assert main(["checkpoint", "inspect", str(run / LAST)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["lora"]["rank"] == 2
    assert said["parameters"] == sum(tensor.numel() for tensor in checkpoint.weights.values())


def test_merge(project: Path, tmp_path: Path, capsys) -> None:
    run, out = run_of(project, "adapted"), tmp_path / "plain"
    assert main(["checkpoint", "merge", str(run), str(out)]) == 0
    assert main(["checkpoint", "verify", str(out)]) == 0
    plain, model = load_checkpoint(out), load_model(run)[0]
    assert (plain.lora, plain.optimizer, plain.kind, plain.step) == (None, None, "light", 12)
    assert plain.tokenizer is not None
    assert all(torch.equal(plain.weights[name], tensor) for name, tensor in model.state_dict().items())
    assert "lora" not in json.loads((out / "model.json").read_text())
    capsys.readouterr()
    assert main(["checkpoint", "merge", str(out), str(tmp_path / "again")]) == 2
    assert "has no adapters" in capsys.readouterr().err
    assert main(["checkpoint", "merge", str(run), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_inspect_shows_people_the_adapters(project: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["checkpoint", "inspect", str(run_of(project, "adapted") / LAST)]) == 0
    assert "rank = 2" in capsys.readouterr().out


def test_the_api_gives_what_load_gives(configure) -> None:
    run = hornbook.train(configure(train__steps=4))
    assert run.model.lora is None
    loaded = hornbook.load(run.path)
    assert all(torch.equal(tensor, run.model.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())
    assert run.generate("the", max_new_tokens=4) == loaded.generate("the", max_new_tokens=4)


def test_another_run_starts_from_the_merged_weights(configure, project: Path, tmp_path: Path) -> None:
    start, expected = str(run_of(project, "adapted")), load_model(run_of(project, "adapted"))[0].state_dict()
    changes = {"train__steps": 1, "model__init_from": start}
    assemble.train(configure("again", **changes))
    again = weights(tmp_path / "again/checkpoints/step-00000001")
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())
    plain = load(project, run__name="plain", run__out_dir=str(tmp_path), optim__learning_rate=1e-30, **changes)
    assemble.train(plain)
    weights_after = weights(tmp_path / "plain/checkpoints/step-00000001")
    assert weights_after.keys() == expected.keys()
    assert all(torch.equal(weights_after[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"model__dropout": 0.1, "train__precision": "bf16", "train__activation_checkpointing": True},
        {"optim__kind": "muon", "optim__ema_decay": 0.9, "lora__also_train": ["token_embedding"]},
        {"optim__kind": "schedule_free_adamw", "schedule__kind": "constant"},
    ],
    ids=["dropout-bf16", "muon-averages-embedding", "schedule-free"],
)
def test_a_broken_run_ends_with_the_very_files_of_an_unbroken_one(configure, tmp_path, monkeypatch, changes) -> None:
    assemble.train(configure("whole", **changes))
    cut_short(configure("broken", **changes), 7, monkeypatch)
    assemble.train(configure("broken", **changes), resume=tmp_path / "broken")
    assert content(tmp_path / "broken") == content(tmp_path / "whole")


@pytest.mark.parametrize("crash", [pytest.param("checkpoint:manifest@3", marks=pytest.mark.slow), "train:step@7"])
def test_killed_it_goes_on_bit_for_bit(project: Path, tmp_path: Path, crash: str) -> None:
    changes = {"model__init_from": str(run_of(project, "base")), **LORA}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hornbook.assemble", "tiny_project"])

    def end(out_dir: Path, crash: str | None, resume: bool) -> int | None:
        arguments = (project, out_dir, 12, crash, resume, changes)
        process = context.Process(target=train_in_child, args=arguments)
        process.start()
        process.join(120)
        return process.exitcode

    assert end(tmp_path / "whole", None, False) == 0
    assert end(tmp_path / "killed", crash, False) == -signal.SIGKILL
    assert end(tmp_path / "killed", None, True) == 0
    assert content(tmp_path / "killed/tiny") == content(tmp_path / "whole/tiny")


def learn(model: Transformer, new: list[int], *, steps: int) -> float:
    """Nats that a new token costs after training on [user, three words, answer, the same words, end]."""
    optimizer = make_optimizer(model.named_parameters(), roles(model), AdamWConfig(learning_rate=2e-2))
    rng = torch.Generator().manual_seed(3)
    user, answer, end = (torch.full((16, 1), token) for token in new)
    nll = torch.zeros(())
    for _ in range(steps):
        words = torch.randint(5, min(new), (16, 3), generator=rng)
        rows = torch.cat([user, words, answer, words, end], dim=1)
        nll = model(rows[:, :-1], targets=rows[:, 1:]).nll
        optimizer.zero_grad()
        nll.mean().backward()
        optimizer.step()
    return nll[:, [3, 7]].mean().item()


def test_new_tokens_need_rows_that_are_trained(configure, project: Path) -> None:
    start = load_checkpoint(run_of(project, "base"), with_optimizer=False)
    known, config = start.model_config.vocab_size, configure()
    new = [known, known + 1, known + 2]
    build = functools.partial(
        build_model,
        shape=config.model.complete(vocab_size=known + 3),
        choices=Choices.read(RunDir.open(run_of(project, "base")).choices_file),
        start=start,
        tokens=known + 3,
    )
    with pytest.raises(ConfigError, match=r'have 3 tokens more .* lora.also_train = \["token_embedding"\]'):
        build(config)
    assert learn(build(configure(lora__also_train=["token_embedding"])), new, steps=120) < 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hornbook.training.start._check_new_tokens", lambda *_: None)
        alike = build(config)
    assert learn(alike, new, steps=120) > math.log(3) - 1e-5  # three tokens of one logit


def test_conversations_in_new_tokens(project: Path, tmp_path: Path, capsys) -> None:
    """The tokenizer lacks the two control tokens of ChatML."""
    where = {"run__out_dir": str(tmp_path), "model__init_from": str(run_of(project, "base"))}
    config = conversations(project, **where, **LORA)
    prepare_tuning(config, Tokenizer.load(config.tokenizer.path))
    with pytest.raises(ConfigError, match=r'have 2 tokens more .* lora.also_train = \["token_embedding"\]'):
        assemble.train(config)
    trained = assemble.train(conversations(project, **where, **LORA, lora__also_train=["token_embedding"]))
    losses = [event["val/loss"] for event in read_metrics(trained.run_dir.metrics_file) if event["event"] == "val"]
    assert losses[-1] < losses[0]
    model, tokenizer, _ = load_model(trained.run_dir.root)
    rows = model.token_embedding.weight[[tokenizer.special_tokens[name] for name in ("<|im_start|>", "<|im_end|>")]]
    assert not torch.equal(rows[0], rows[1])
    assert main(["generate", str(trained.run_dir.root), "--chat", "--prompt", "copy: ab"]) == 0


def test_resuming_keeps_the_adapters_settings(configure, tmp_path: Path) -> None:
    assemble.train(configure(train__steps=4))
    with pytest.raises(CheckpointError, match=r"lora\.alpha = 3\.0, in the run 16\.0"):
        assemble.train(configure(train__steps=5, lora__alpha=3.0), resume=tmp_path / "tiny")
    run = RunDir.open(tmp_path / "tiny")
    assert run.state == "finished"
    assemble.train(configure(train__steps=5), resume=run.root)
    assert load_checkpoint(run.root).step == 5


def test_adapters_that_are_not_all_there(project: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run_of(project, "adapted"))
    from hornbook.checkpoint.save import save_checkpoint

    left = {name: t for name, t in checkpoint.weights.items() if name != "layers.1.attention.q_proj.lora_b"}
    path = save_checkpoint(
        tmp_path,
        step=1,
        kind="light",
        model_config=checkpoint.model_config,
        objective={},
        weights=left,
        optimizer=None,
        state={},
        tokenizer=None,
        lora=checkpoint.lora,
    )
    with pytest.raises(CheckpointError, match=r"missing layers\.1\.attention\.q_proj\.lora_b"):
        load_model(path)
