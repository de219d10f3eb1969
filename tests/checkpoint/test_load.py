"""What is read is what was written, and any damage is named."""

import json
from pathlib import Path

import pytest
import torch

from hornbook.checkpoint.load import load_checkpoint, load_model, load_weights_into
from hornbook.checkpoint.manifest import write_manifest
from hornbook.errors import CheckpointError
from hornbook.models.transformer import Transformer
from tiny_checkpoint import optimizer_of, save, tiny_config, tiny_tokenizer, weights_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "run" / "checkpoints", 5)


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_round_trip(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert (loaded.path, loaded.step, loaded.kind) == (path, 5, "full")
    assert loaded.model_config == tiny_config()
    assert loaded.objective == {"kind": "next_token"}
    assert loaded.state == {"step": 5, "best": None}
    assert loaded.tokenizer is None
    assert_same(loaded.weights, weights_of(5))
    assert loaded.optimizer is not None
    assert_same(loaded.optimizer, optimizer_of(weights_of(5), 5))
    assert loaded.optimizer["norm.weight/step"].shape == ()
    assert loaded.optimizer["norm.weight/step"].dtype == torch.int64


def test_light_and_skipped_optimizer(path: Path) -> None:
    assert load_checkpoint(path, with_optimizer=False).optimizer is None
    light = load_checkpoint(save(path.parent, 6, "light"))
    assert light.optimizer is None
    assert_same(light.weights, weights_of(6))


def test_tokenizer_travels_along(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tokenizer=tiny_tokenizer())
    loaded = load_checkpoint(path).tokenizer
    assert loaded is not None
    assert loaded.fingerprint == tiny_tokenizer().fingerprint


def test_run_directory_means_latest(path: Path) -> None:
    save(path.parent, 7)
    assert load_checkpoint(path.parent.parent).step == 7


def test_the_name_of_the_directory_means_nothing(path: Path, tmp_path: Path) -> None:
    for name in ("step-00000099", "best int8 chat.model", "LATEST", ".hidden"):
        renamed = path.rename(tmp_path / name)
        assert load_checkpoint(renamed).step == 5
        assert_same(load_checkpoint(renamed).weights, weights_of(5))
        path = renamed


@pytest.mark.parametrize(
    "changes", [{}, {"tie_embeddings": False}, {"position": "learned"}, {"bias": True, "norm": "layer_norm"}]
)
def test_model_gives_the_same_logits(tmp_path: Path, changes: dict[str, object]) -> None:
    from hornbook.checkpoint.save import save_checkpoint

    config = tiny_config(**changes)
    model = Transformer(config, seed=3).eval()
    path = save_checkpoint(
        tmp_path,
        step=1,
        kind="light",
        model_config=config,
        objective={},
        weights=model.state_dict(),
        optimizer=None,
        state={},
        tokenizer=None,
    )
    loaded, tokenizer, checkpoint = load_model(path)
    tokens = torch.arange(8)[None]
    assert torch.equal(loaded(tokens), model(tokens))
    assert not loaded.training
    assert tokenizer is None
    assert checkpoint.step == 1
    assert loaded.n_parameters == model.n_parameters


def test_flipped_byte_in_any_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tokenizer=tiny_tokenizer())
    for file in files(path):
        good = file.read_bytes()
        places = sorted({0, 8, 20, len(good) // 3, len(good) // 2, len(good) - 2} & set(range(len(good))))
        for place in places:
            bad = bytearray(good)
            bad[place] ^= 1
            file.write_bytes(bad)
            with pytest.raises(CheckpointError, match=file.name):
                load_checkpoint(path)
        file.write_bytes(good)
    load_checkpoint(path)


def test_truncated_or_missing_file_is_named(path: Path) -> None:
    for file in files(path):
        good = file.read_bytes()
        for length in (0, len(good) // 2, len(good) - 2):
            file.write_bytes(good[:length])
            with pytest.raises(CheckpointError, match=file.name):
                load_checkpoint(path, verify=False)  # sizes are checked in any case
        file.unlink()
        with pytest.raises(CheckpointError, match=file.name):
            load_checkpoint(path)
        file.write_bytes(good)


def test_damaged_header_is_an_error_even_unverified(path: Path) -> None:
    file = path / "model.safetensors"
    bad = bytearray(file.read_bytes())
    bad[0] ^= 0xFF
    file.write_bytes(bad)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged safetensors header"):
        load_checkpoint(path, verify=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", {"model": {"d_model": 16}, "objective": {}}, r"model\.json: not a model.*vocab_size"),
        ("model.json", {"model": {}}, r"model\.json: no objective"),
        ("model.json", [], r"model\.json: not a JSON object"),
        ("state.json", 3, r"state\.json: not a JSON object"),
    ],
)
def test_whole_file_of_wrong_content(path: Path, name: str, content: object, message: str) -> None:
    (path / name).write_text(json.dumps(content))
    write_manifest(path, step=5, kind="full")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_manifest_without_a_needed_file(path: Path) -> None:
    (path / "optimizer.safetensors").unlink()
    write_manifest(path, step=5, kind="full")
    with pytest.raises(CheckpointError, match=r"lists no optimizer\.safetensors"):
        load_checkpoint(path)


def test_incomplete(path: Path) -> None:
    (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="incomplete checkpoint"):
        load_checkpoint(path)


class TestLoadWeightsInto:
    def test_every_misfit_at_once_and_nothing_copied(self) -> None:
        model = Transformer(tiny_config(), seed=0)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        weights = weights_of(1)
        del weights["norm.weight"], weights["layers.1.attention.q_proj.weight"]
        weights |= {"extra.weight": torch.zeros(1), "layers.0.attention.k_proj.weight": torch.zeros(3, 5)}
        with pytest.raises(CheckpointError) as caught:
            load_weights_into(model, weights, "there")
        message = str(caught.value)
        assert message.startswith("there: ")
        for part in ("norm.weight", "layers.1.attention.q_proj.weight", "extra.weight", "(3, 5)", "(16, 16)"):
            assert part in message
        assert_same(dict(model.state_dict()), before)

    def test_keeps_the_models_dtype(self) -> None:
        model = Transformer(tiny_config(), seed=0).to(torch.bfloat16)
        load_weights_into(model, weights_of(1), "there")
        expected = {name: tensor.to(torch.bfloat16) for name, tensor in weights_of(1).items()}
        assert_same(dict(model.state_dict()), expected)
