"""`[sweep]`: what it takes, and that every mistake is told with its line."""

import pytest

from hornbook.config.dump import to_toml
from hornbook.config.load import load_config
from hornbook.config.sweep import swept_keys
from hornbook.errors import ConfigError

RIGHT = """
[sweep]
goal = "maximize"

[sweep.grid]
optim.learning_rate = [1e-3, 1e-2]
"optim.betas" = [[0.9, 0.95], [0.9, 0.99]]

[sweep.zip]
model.d_model = [64, 128]
model.n_layers = [2, 4]

[[sweep.list]]
schedule.kind = "wsd"
[[sweep.list]]
schedule = { kind = "cosine", warmup_steps = 10 }

[sweep.search]
method = "sobol"
points = 4
space.model.dropout.uniform = [0.0, 0.2]
"""


def load(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    return load_config(path)


def test_dotted_keys_and_quoted_ones_are_the_same(tmp_path):
    loaded = load(tmp_path, RIGHT)
    sweep = loaded.config.sweep
    assert sweep.grid == {"optim.learning_rate": [1e-3, 1e-2], "optim.betas": [[0.9, 0.95], [0.9, 0.99]]}
    assert sweep.list == ({"schedule.kind": "wsd"}, {"schedule.kind": "cosine", "schedule.warmup_steps": 10})
    assert sweep.search.space == {"model.dropout.uniform": [0.0, 0.2]}
    assert swept_keys(sweep) == [
        *("optim.learning_rate", "optim.betas", "model.d_model", "model.n_layers"),
        *("schedule.kind", "schedule.warmup_steps", "model.dropout"),
    ]
    assert str(loaded.origins["sweep.grid"]).endswith("s.toml:5")


def test_what_is_written_out_loads_equal(tmp_path):
    config = load(tmp_path, RIGHT).config
    (tmp_path / "again.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "again.toml").config == config


def test_a_file_may_vary_what_another_varies_too(tmp_path):
    (tmp_path / "lower.toml").write_text(RIGHT)
    changed = load(tmp_path, 'extends = "lower.toml"\n[sweep.grid]\noptim.learning_rate = [0.5]\n').config.sweep
    assert changed.grid["optim.learning_rate"] == [0.5]
    assert "optim.betas" in changed.grid


def test_none_takes_the_table_away(tmp_path):
    assert load_config(None, values={"sweep": None}).config.sweep is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[sweep]", 1, "nothing varies"),
        ("[sweep]\ngrid = 3", 2, "expected a table of keys"),
        ("[sweep.grid]\ntrain.steps = 3", 2, "train.steps is not a list of values"),
        ("[sweep.grid]\ntrain.steps = []", 2, "train.steps is not a list of values"),
        ("[sweep.zip]\ntrain.steps = [1, 2]\nrun.seed = [1]", 2, "zip.train.steps has 2, zip.run.seed has 1"),
        ('[sweep.grid]\nrun.name = ["a"]', 2, "cannot vary"),
        ('[sweep.grid]\nsweep.name = ["a"]', 2, "cannot vary"),
        (
            "[sweep]\ngrid.run.seed = [1]\nzip.run.seed = [1]",
            3,
            "zip.run.seed varies run.seed once more, after grid.run.seed",
        ),
        (
            '[sweep]\ngrid.optim = [{kind = "muon"}]\nzip.optim.kind = ["lion"]',
            3,
            "zip.optim.kind varies optim.kind once more, after grid.optim",
        ),
        ("[[sweep.list]]", 1, "without settings"),
        ("[sweep.search]\npoints = 2", 1, "sweep.search.space: missing"),
        ("[sweep.search]\npoints = 2\nspace = {}", 3, "space is empty"),
        ("[sweep.search]\npoints = 2\nspace.train.steps = [1, 2]", 1, "train.steps has no range"),
        ("[sweep.search]\npoints = 2\nspace.train.steps.integers = [1, 2.5]", 1, "two integers"),
        ("[sweep.search]\npoints = 2\nspace.optim.eps.log_uniform = [0, 1]", 1, "starts above 0"),
        ("[sweep.search]\npoints = 2\nspace.optim.eps.uniform = [1, 0]", 1, "the lower first"),
        ("[sweep.search]\npoints = 2\nspace.optim.eps.uniform = [1, 2, 3]", 1, "two numbers"),
        ("[sweep.search]\npoints = 2\nspace.optim.eps.choice = []", 1, "not a list"),
        ('[sweep]\nname = "a/b"', 2, "letters, digits"),
        ('[sweep.slurm]\noptions = ["x"]', 2, "begins with -"),
        ("[sweep.slurm]\nminutes = 2\ngrace_seconds = 120", 3, "as soon as it starts"),
        ("[sweep]\ngird.run.seed = [1]", 2, "did you mean"),
    ],
)
def test_mistakes(tmp_path, text, line, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert f"s.toml:{line}: " in str(caught.value)


def test_sobol_has_so_many_dimensions(tmp_path):
    space = "\n".join(f"space.model.k{number}.uniform = [0, 1]" for number in range(22))
    with pytest.raises(ConfigError, match="at most 21"):
        load(tmp_path, f'[sweep.search]\nmethod = "sobol"\npoints = 2\n{space}')
