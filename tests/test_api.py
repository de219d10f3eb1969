"""The public Python face, on a tiny project."""

import math
import subprocess
import sys

import pytest

import hornbook
from hornbook.errors import CheckpointError, ConfigError, HornbookError
from hornbook.generation import open_backend
from tiny_project import load as load_tiny
from tiny_project import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def run(project):
    return hornbook.train(project, {"train.steps": 6, "run.name": "face"})


def test_train_takes_a_path_and_overrides(run):
    assert run.result.state.step == 6
    assert run.path.name == "step-00000006"
    assert run.model.n_parameters == sum(p.numel() for p in run.model.parameters())


def test_train_takes_a_configuration_object(project):
    config = load_tiny(project, train__steps=2, run__name="object")
    assert hornbook.train(config).result.state.step == 2


def test_generate_is_a_function_of_the_seed(run):
    first, again, other = (run.generate("the cat", max_new_tokens=12, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert run.generate(["the cat", "a dog"], max_new_tokens=12, seed=1)[0] == first
    assert "".join(run.stream("the cat", max_new_tokens=12, seed=1)) == first


@pytest.mark.parametrize("kind", ["masked_diffusion", "block_diffusion", "joint"])
def test_diffusion_models_are_sampled_in_training_and_afterwards(project, kind):
    blocks = {"objective.block_length": 8} if kind == "block_diffusion" else {}
    sampling = {"train.sample_every": 2, "train.sample_prompts": ["the", ""]}
    made = hornbook.train(project, {"train.steps": 2, "run.name": kind, "objective.kind": kind, **blocks, **sampling})
    assert any(made.run_dir.samples.iterdir())
    loaded = hornbook.load(made.path, device="cpu")
    texts = [model.generate("the cat", max_new_tokens=9, seed=1) for model in (made, loaded)]
    assert texts[0] == texts[1] == "".join(loaded.stream("the cat", max_new_tokens=9, seed=1))
    if kind == "masked_diffusion":
        assert loaded.infill("the <|mask:3|> cat", **{"diffusion.block_length": 2}).endswith(" cat")
        with pytest.raises(HornbookError, match="max_new_tokens has no effect on holes"):
            loaded.infill("the <|mask:3|> cat", max_new_tokens=3)


def test_samples_that_do_not_fit_are_refused_before_training(project):
    wanted = {"objective.kind": "masked_diffusion", "generate.max_new_tokens": 16}
    with pytest.raises(ConfigError, match=r"train\.sample_prompts: 'the'\.\.\.: .* the largest that fits is 14"):
        hornbook.train(project, {**wanted, "train.sample_every": 2, "train.sample_prompts": ["the"]})


def test_load_gives_the_same_model_from_run_and_checkpoint_directories(run):
    texts = {
        hornbook.load(path, device="cpu").generate("the", max_new_tokens=10, temperature=0.0)
        for path in (run.run_dir.root, run.path, str(run.path))
    }
    assert texts == {run.generate("the", max_new_tokens=10, temperature=0.0)}


def test_evaluate_scores_files_and_splits(run, project):
    by_split = hornbook.evaluate(run, data=project.parent / "data", split="valid")
    by_file = hornbook.evaluate(run.run_dir.root, text=[str(project.parent / "text.txt")])
    for card in (by_split, by_file):
        assert card.perplexity == pytest.approx(math.exp(card.nats / card.tokens_scored))
        assert card.bits_per_byte == pytest.approx(card.nats / math.log(2) / card.bytes_scored)


def test_a_bound_refuses_what_is_the_perplexitys_alone(run):
    with pytest.raises(ConfigError, match=r"eval.protocol = exact has an effect only in `hornbook eval perplexity`"):
        hornbook.evaluate(run, protocol="exact", **{"bound.draws": 2})


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"temperatur": 1.0}, ConfigError), ({"top_p": 2.0}, ConfigError), ({"stop": 3}, ConfigError)],
)
def test_wrong_settings_are_errors_that_name_the_key(run, settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        run.generate("x", **settings)


def test_a_missing_path_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        hornbook.load(tmp_path / "nowhere")
    with pytest.raises(HornbookError, match=r"missing\.toml"):
        hornbook.train(tmp_path / "missing.toml")


def test_tokenizer_is_part_of_the_face(run):
    ids = run.tokenizer.encode("the cat")
    assert isinstance(run.tokenizer, hornbook.Tokenizer)
    assert run.tokenizer.decode(ids) == "the cat"


def test_backend_and_precision_are_settings_of_a_call(run):
    greedy = {"max_new_tokens": 4, "temperature": 0.0}
    assert run.generate("the", **greedy) == run.generate("the", backend="torch", **greedy)
    assert isinstance(run.generate("the", precision="int8", **greedy), str)
    with pytest.raises(ConfigError, match="int8"):
        run.generate("the", precision="int4")


def test_torch_in_place_of_the_kernels_is_said_once(run, monkeypatch, caplog):
    monkeypatch.setattr(open_backend, "WORTH_COMPILING", 0)
    monkeypatch.setattr(open_backend, "why_not", lambda *_: "the kernels are on holiday")
    model = hornbook.load(run.path)
    texts = [model.generate("a", max_new_tokens=2), model.generate("a", max_new_tokens=2)]
    assert texts[0] == texts[1]
    assert [record.message for record in caplog.records] == ["decoding with torch: the kernels are on holiday"]


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, hornbook; print([m for m in ('torch', 'numpy', 'pydantic', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="frobnicate"):
        hornbook.frobnicate  # noqa: B018
