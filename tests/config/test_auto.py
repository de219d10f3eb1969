"""The size dial: `[model] preset = "auto"` with `depth`."""

import pytest

from hornbook.config.auto import auto_settings
from hornbook.config.dump import to_toml
from hornbook.config.load import load_config
from hornbook.errors import ConfigError
from hornbook.models.accounting import parameter_counts
from hornbook.optim.schedules import warmup_steps

DEPTHS = range(1, 33)


def auto(depth, **written):
    values = {name.replace("__", "."): value for name, value in written.items()}
    return load_config(None, values={"model.preset": "auto", "model.depth": depth, **values})


def budget(config):
    """The rule's own words: 20 tokens for each parameter of attention and feed-forward."""
    counts = parameter_counts(config.model.complete(vocab_size=1))
    return 20 * (counts["attention"] + counts["feed_forward"])


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_is_legal_and_keeps_the_rules(depth):
    config = auto(depth).config
    model, train, shape = config.model, config.train, config.model.complete(vocab_size=1000)
    assert model.n_layers == depth
    assert shape.n_heads * shape.head_dim == shape.d_model
    assert 64 * depth <= shape.d_model < 64 * depth + shape.head_dim
    assert shape.d_ff % 64 == 0
    assert 0 <= shape.d_ff - 8 / 3 * shape.d_model < 64
    assert shape.context_length in (128, 256, 512, 1024, 2048)
    assert train.tokens_per_step % (train.micro_batch_size * shape.context_length) == 0
    assert train.micro_batch_size * shape.context_length <= 8192
    tokens = train.steps * train.tokens_per_step
    assert budget(config) <= tokens < budget(config) + train.tokens_per_step
    assert 2**-0.5 <= train.tokens_per_step / (0.58 * budget(config) ** 0.571) <= 2**0.5
    assert 10 <= warmup_steps(config.schedule, train.steps) <= train.steps // 20


def test_deeper_is_larger_and_learns_more_slowly():
    configs = [auto(depth).config for depth in DEPTHS]
    for of, rising in [
        (lambda c: c.model.d_model, True),
        (lambda c: c.model.n_heads * c.model.head_dim, True),
        (lambda c: c.model.d_ff, True),
        (lambda c: c.model.context_length, True),
        (lambda c: c.train.tokens_per_step, True),
        (budget, True),
        (lambda c: c.optim.groups.matrix.learning_rate, False),
    ]:
        values = [of(config) for config in configs]
        assert values == sorted(values, reverse=not rising)


def test_depth_12_is_a_familiar_model():
    small = auto(12).config
    assert (small.model.d_model, small.model.n_heads, small.model.d_ff) == (768, 12, 2048)
    assert small.model.context_length == 1024


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.d_model", 96),
        ("model.n_layers", 3),
        ("model.n_heads", 8),
        ("model.head_dim", 32),
        ("model.d_ff", 100),
        ("model.context_length", 100),
        ("model.feed_forward", "relu2"),
        ("model.qk_norm", False),
        ("train.steps", 7),
        ("train.tokens_per_step", 3 * 128),
        ("train.micro_batch_size", 3),
        ("optim.learning_rate", 0.5),
        ("optim.weight_decay", 0.0),
        ("optim.kind", "adam"),
        ("schedule.kind", "cosine"),
        ("schedule.warmup_steps", 3),
        ("schedule.warmup_fraction", 0.1),
        ("schedule.decay_fraction", 0.5),
        ("schedule.decay_steps", 9),
    ],
)
def test_a_written_key_wins_and_the_rest_still_fits(key, value):
    loaded = load_config(None, values={"model.preset": "auto", "model.depth": 2, key: value})
    table, name = key.split(".")
    assert getattr(getattr(loaded.config, table), name) == value
    assert str(loaded.origins[key]) == "override"


def test_what_follows_from_a_written_key_follows():
    plain = auto(2).config
    assert auto(2, train__tokens_per_step=1024).config.train.steps == plain.train.steps * 4
    wide = auto(2, model__d_model=256).config
    assert wide.train.steps * wide.train.tokens_per_step > 3 * plain.train.steps * plain.train.tokens_per_step
    assert auto(2, model__feed_forward="relu2").config.model.d_ff == 4 * 128
    assert auto(2, model__n_heads=4).config.model.complete(vocab_size=1).head_dim == 32


def test_rates_of_matrices_fall_with_width_and_the_others_stay():
    for depth in (1, 4, 16):
        optim = auto(depth).config.optim
        assert optim.learning_rate == 3e-3
        assert optim.groups.matrix.learning_rate == pytest.approx(3e-3 * 256 / (64 * depth), rel=0.05)
    written = auto(1, optim__learning_rate=0.5).config
    assert written.optim.groups.matrix is None
    assert written.optim.weight_decay == pytest.approx(1 / (0.5 * 0.5 * written.train.steps), rel=0.05)
    matrices = auto(1, **{"optim.groups.matrix.learning_rate": 0.25}).config
    assert matrices.optim.weight_decay == pytest.approx(2 * written.optim.weight_decay, rel=0.05)
    assert matrices.optim.learning_rate == 3e-3  # the others keep the dial's
    whole, real = (auto(1, optim__learning_rate=rate).config for rate in (1, 1.0))
    assert whole == real


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_weights_are_not_wiped_out_in_a_run_of_few_steps(steps):
    optim = auto(4, train__steps=steps).config.optim
    assert optim.weight_decay == 1.0


def test_config_show_says_where_values_came_from():
    loaded = auto(2, train__steps=9)
    assert str(loaded.origins["model.d_model"]) == "preset auto"
    assert str(loaded.origins["optim.learning_rate"]) == "preset auto"
    assert str(loaded.origins["train.steps"]) == "override"
    assert str(loaded.origins["train.log_every"]) == "default"


def test_another_optimizer_or_schedule_keeps_its_own_defaults():
    origins = auto(2, optim__kind="adam", schedule__kind="cosine").origins
    assert {str(origins[key]) for key in ("optim.learning_rate", "schedule.final_fraction")} == {"default"}


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"model__n_heads": 4},
        {"schedule__warmup_fraction": 0.1},
        {"schedule__decay_steps": 9},
        {"model__d_ff": None},
        {"model__head_dim": None},
    ],
)
def test_a_dump_loads_equal(written, tmp_path):
    config = auto(3, **written).config
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config))
    assert load_config(path).config == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth = 4", 'run.toml:2: [model] depth = 4 has an effect only with preset = "auto"; set that, or n_layers'),
        ("preset = 'gpt2'\ndepth = 4", "[model] depth = 4 has an effect only with"),
        ("preset = 'auto'", 'run.toml:2: [model] preset = "auto" needs depth'),
        ("preset = 'auto'\ndepth = 0", "run.toml:3: model.depth = 0: expected an integer of at least 1 and at most"),
        ("preset = 'auto'\ndepth = 'four'", 'run.toml:3: model.depth = "four": expected an integer'),
        ("preset = 'auto'\ndepth = 4\nd_model = 'x'", 'run.toml:4: model.d_model = "x": expected an integer'),
        ("preset = 'auto'\ndepth = 4\nn_heads = 3", "run.toml:4: [model] d_model = 256 is not a multiple of n_heads"),
    ],
)
def test_wrong_dials(text, message, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(f"[model]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_nothing_written_is_given_again():
    written = {("train", "steps"): 5, ("optim", "weight_decay"): 0.5}
    assert not written.keys() & auto_settings(2, written).keys()
