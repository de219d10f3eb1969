"""Layers, origins and messages. That nothing wrong gets through, whatever it is, is test_mutations' part."""

import datetime as dt
from pathlib import Path

import pytest

from hornbook.config.load import leaf_values, load_config
from hornbook.config.optim import WsdSchedule
from hornbook.config.presets import PRESETS
from hornbook.config.run import Config
from hornbook.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that messages say run.toml, not where pytest put it

    def write(text, name="run.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path.relative_to(tmp_path)

    return write


def message(*args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load_config(*args, **kwargs)
    return str(caught.value)


def test_nothing_gives_the_defaults(write):
    assert load_config(None).config == load_config(write("")).config == Config()


def test_layers_in_order(write):
    write(
        '[train]\nsteps = 1\nlog_every = 1\neval_every = 1\nsample_every = 1\n[model]\npreset = "vaswani"', "low.toml"
    )
    path = write(
        'extends = "low.toml"\n[train]\nlog_every = 2\neval_every = 2\nsample_every = 2\n[model]\nn_layers = 2'
    )
    loaded = load_config(path, ["train.eval_every=3", "train.sample_every=3"], values={"train.sample_every": 4})
    assert [loaded.config.train.steps, loaded.config.train.log_every] == [1, 2]
    assert [loaded.config.train.eval_every, loaded.config.train.sample_every] == [3, 4]
    assert (loaded.config.model.n_layers, loaded.config.model.d_model) == (2, 512)
    keys = ["steps", "log_every", "eval_every", "sample_every", "micro_batch_size"]
    origins = [str(loaded.origins[f"train.{key}"]) for key in keys]
    assert origins == ["low.toml:2", "run.toml:3", "--set", "override", "default"]
    assert str(loaded.origins["model.d_model"]) == "preset vaswani"
    assert str(loaded.origins["model.n_layers"]) == "run.toml:7"


def test_every_setting_has_an_origin_and_a_value(write):
    loaded = load_config(write('[data.source]\nkind = "text"\npaths = ["a"]\n[tracking.wandb]\n'))
    values = leaf_values(loaded.config)
    assert list(values) == list(loaded.origins)
    assert values["data.source.paths"] == (Path("a"),)
    assert values["tracking.wandb.project"] == "hornbook"
    assert values["data.valid"] is None


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_loads(preset):
    config = load_config(None, [f'model.preset="{preset}"', "train.tokens_per_step=16384"]).config
    assert {name: getattr(config.model, name) for name in PRESETS[preset][1]} == PRESETS[preset][1]
    assert config.model.complete(vocab_size=300).d_ff > 0


def test_a_preset_may_be_named_in_any_layer(write):
    write('[model]\npreset = "gpt2"\nn_layers = 3', "low.toml")
    path = write('extends = "low.toml"\n[model]\npreset = "cpu-nano"')
    assert load_config(path).config.model.d_model == 128
    assert load_config(path, ['model.preset="vaswani"']).config.model.d_model == 512
    assert load_config(path, values={"model.preset": "cpu-base"}).config.model.n_layers == 3


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    load_config(path)


def test_extends_is_relative_to_the_file_and_takes_lists(write):
    write("[train]\nsteps = 1\nlog_every = 1", "shared/a.toml")
    write('extends = "a.toml"\n[train]\nlog_every = 2', "shared/b.toml")
    write("[train]\nlog_every = 3", "c.toml")
    config = load_config(write('extends = ["shared/b.toml", "c.toml"]')).config
    assert (config.train.steps, config.train.log_every) == (1, 3)


def test_other_paths_are_left_as_they_are(write):
    assert load_config(write('[data]\npath = "x"', "deep/run.toml")).config.data.path == Path("x")


def test_extends_in_a_circle(write):
    write('extends = "run.toml"', "b.toml")
    assert message(write('extends = "b.toml"')) == (
        "b.toml: extends itself: run.toml -> b.toml -> run.toml; take one of these links out"
    )


def test_two_ways_to_one_file_are_no_circle(write):
    write("[train]\nsteps = 5", "a.toml")
    write('extends = "a.toml"', "b.toml")
    write('extends = "a.toml"', "c.toml")
    assert load_config(write('extends = ["b.toml", "c.toml"]')).config.train.steps == 5


@pytest.mark.parametrize("value", ["3", '["a.toml", 3]', "{}"])
def test_extends_of_another_type(write, value):
    assert "run.toml:2: extends: expected the path of a TOML file" in message(write(f"\nextends = {value}"))


def test_a_changed_kind_drops_the_settings_of_the_old_one(write):
    write('[schedule]\nkind = "noam"\nwarmup_steps = 9', "low.toml")
    config = load_config(write('extends = "low.toml"\n[schedule]\nkind = "wsd"\ndecay_fraction = 0.5')).config
    assert config.schedule == WsdSchedule(decay_fraction=0.5)


def test_a_tagged_table_without_a_kind_has_the_default_one():
    assert load_config(None, ["schedule.final_fraction=0.5"]).config.schedule.kind == "cosine"
    assert "data.valid.kind: missing; expected one of text, jsonl," in message(None, ["data.valid={}"])


def test_none_unsets(write):
    path = write('[optim]\nclip_grad_norm = "none"\n[tracking]\nwandb = "none"')
    assert load_config(path).config.optim.clip_grad_norm is None
    assert load_config(None, ["tracking.wandb={}", 'tracking.wandb="none"']).config.tracking.wandb is None
    assert load_config(None, values={"optim.clip_grad_norm": None}).config.optim.clip_grad_norm is None
    assert load_config(None, ['run.name="none"', 'model.position="none"']).config.run.name == "none"


def test_python_values_may_nest_and_be_paths_and_tuples():
    values = {"data": {"path": Path("a/b")}, "optim": {"betas": (0.1, 0.2)}, "run.tags": ("x",), "optim.eps": 1}
    config = load_config(None, values=values).config
    assert (config.data.path, config.optim.betas, config.run.tags) == (Path("a/b"), (0.1, 0.2), ("x",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"train.stepz": 1}, "override: train.stepz: unknown key; did you mean train.steps?"),
        ({"train.steps": object()}, "expected a value that TOML can hold, got object"),
        ({"run.notes": "\ud800"}, "not valid Unicode"),
        ({"run.name": dt.date(1979, 5, 27)}, "dates and times are not accepted"),
        ({"train.steps": None}, "override: train.steps = unset: expected an integer of at least 1"),
        ({3: 1}, "override: 3 is not a key; expected a dotted name such as train.steps"),
        ({"a b": 1}, "override: 'a b' is not a key"),
        ({"extends": "x.toml"}, "override: extends can stand only in a file"),
    ],
)
def test_wrong_python_values(values, expected):
    assert expected in message(None, values=values)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.stepz=3", "--set: train.stepz: unknown key; did you mean train.steps?"),
        ("train.steps=-1", "--set: train.steps = -1: expected an integer of at least 1"),
        ("run.name=x", "--set run.name=x: not a TOML value; strings need quotes: --set 'run.name=\"x\"'"),
        ("run.deterministic=True", "TOML writes it --set run.deterministic=true"),
        ("train.steps", "--set train.steps: expected KEY=VALUE, as in --set train.steps=100"),
        ("train.steps=", "not a TOML value"),
        ("=3", "'' is not a key"),
        ("train.steps=1\nrun.seed=2", "--set train.steps=1\\nrun.seed=2: not a TOML value; it takes one value"),
        ("train.steps=1\n[run]\nseed=2", "not a TOML value"),
        ("run]\n[train.steps=1", "is not a key"),
        ("run.tags=[a]", "not a TOML value; it takes one value, with strings in quotes"),
        ('extends="a.toml"', "extends can stand only in a file"),
        ("run.notes=1979-05-27", "dates and times are not accepted"),
        ("run.notes=" + "[" * 5000, "not a TOML value"),
    ],
)
def test_wrong_assignments(assignment, expected):
    assert expected in message(None, [assignment])


def test_assignments_of_any_value():
    assignments = ['run.tags = ["a", "b"]', "train={steps=2, log_every=3}", "train.steps=4", 'run.notes="""a\nb"""']
    config = load_config(None, assignments).config
    assert (config.run.tags, config.run.notes) == (("a", "b"), "a\nb")
    assert (config.train.steps, config.train.log_every) == (4, 3)


def test_all_wrong_assignments_are_listed():
    assert message(None, ["a", "b=c"]).startswith("2 problems in the configuration:\n  --set a: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[train]\nstepz = 1", "run.toml:2: train.stepz: unknown key; did you mean train.steps?"),
        ("[trian]\nsteps = 1", "run.toml:1: [trian]: unknown table; did you mean [train]?"),
        ("steps = 1", "run.toml:1: steps: unknown key; it belongs to [train]"),
        ("[train]\nlearning_rate = 1", "run.toml:2: train.learning_rate: unknown key; it belongs to [optim]"),
        ("[run]\nlerning_rate = 1", "run.toml:2: run.lerning_rate: unknown key; did you mean optim.learning_rate?"),
        ("extend = 'a'", "run.toml:1: extend: unknown key; did you mean extends?"),
        ("[train.optim]\n", "run.toml:1: [train.optim]: unknown table"),
        ("[schedule]\ndecay_fraction = 1", "decay_fraction: unknown key; it belongs to [schedule] of kind wsd"),
        ("[optim]\nlr = 1", "run.toml:2: optim.lr: unknown key; did you mean optim.learning_rate?"),
        ("[train]\nlr = 1", "run.toml:2: train.lr: unknown key; did you mean optim.learning_rate?"),
        ("[model]\nblock_size = 1", "run.toml:2: model.block_size: unknown key; did you mean model.context_length?"),
        ("[train]\nbatch_size = 1", "train.batch_size: unknown key; did you mean train.micro_batch_size?"),
        ("[model]\nbatch_size = 1", "it belongs to [eval], or did you mean train.micro_batch_size?"),
        ("batch_size = 1", "it belongs to [eval], or did you mean train.micro_batch_size?"),
        ("[objective]\nxyz = 1", "objective.xyz: unknown key; known here: normalize, label_smoothing, z_loss, kind"),
        ("[train]\nsteps = 0", "run.toml:2: train.steps = 0: expected an integer of at least 1"),
        ("[train]\nsteps = true", "run.toml:2: train.steps = true: expected an integer of at least 1"),
        ("train.steps = 1.0", "run.toml:1: train.steps = 1.0: expected an integer of at least 1"),
        ("optim.eps = 0.0", "run.toml:1: optim.eps = 0.0: expected a number greater than 0"),
        ("train.steps = [\n]", "run.toml:1: train.steps = []: expected an integer of at least 1"),
        ("train = 3", "run.toml:1: train = 3: expected a table: [train]"),
        ("[[train]]", "run.toml:1: train = [{}]: expected a table: [train]"),
        ("[tracking]\nwandb = 3", "run.toml:2: tracking.wandb = 3: expected a table: [tracking.wandb]"),
        ("[data]\nsource = 3", "run.toml:2: data.source = 3: expected a table: [data.source]"),
        ("[data]\nvalid = 'x'", 'run.toml:2: data.valid = "x": expected a table: [data.valid]'),
        ("[run]\ndevice = 'gpu'", 'run.toml:2: run.device = "gpu": expected auto, cpu, cuda, cuda:N or mps'),
        ("[train]\nprecision = 'bf61'", 'expected one of fp32, bf16, fp16; did you mean "bf16"?'),
        ("[optim]\nbetas = [0.9]", "run.toml:2: optim.betas = [0.9]: expected a list of 2 values, each a number"),
        ("[optim]\nbetas = [0.9,\n7]", "run.toml:2: optim.betas[1] = 7: expected a number of at least 0"),
        ("[data.source]\nkind = 'text'", "run.toml:1: data.source.paths: missing; expected a list of at least"),
        ("[data.source]\nkind = 'text'\npaths = [3]", "run.toml:3: data.source.paths[0] = 3: expected a path"),
        ("[data.source]\nkind = 'txt'", 'run.toml:2: data.source.kind = "txt": expected one of text, jsonl, parquet,'),
        ("[train]\nmax_minutes = 'x'", 'expected a number greater than 0, or "none" to unset it'),
        ("[train]\nmax_minutes = inf", "run.toml:2: train.max_minutes = inf: expected a finite number"),
        ("[run]\nname = 1979-05-27", "run.toml:2: run.name = 1979-05-27: dates and times are not accepted;"),
        ("[run]\ntags = [07:32:00]", "run.toml:2: run.tags = "),
        ("[model]\npreset = 'gtp2'", 'run.toml:2: model.preset = "gtp2": expected one of cpu-nano,'),
        ("[model]\npreset = 3", "run.toml:2: model.preset = 3: expected a string"),
        ("[model]\n\nn_heads = 3", "run.toml:3: [model] d_model = 256 is not a multiple of n_heads = 3;"),
        ("[model]\nn_kv_heads = 3", "run.toml:2: [model] n_heads = 4 is not a multiple of n_kv_heads = 3"),
        ("[tokenizer]\n\npattern = '('", "run.toml:3: [tokenizer] pattern = '(' is not a regular expression"),
        ("[train]\nmicro_batch_size = 3", "run.toml:2: train.tokens_per_step = 16384 is not a multiple"),
        (
            "[train]\ntokens_per_step = 8192\n[model]\npreset = 'llama-1b'",
            "run.toml:2: train.tokens_per_step = 8192 is not a multiple",
        ),
        ("[schedule]\nwarmup_steps=1\nwarmup_fraction=0.5", "run.toml:2: [schedule] give warmup_steps or"),
        ("\n[train\n", "run.toml:2:7: not valid TOML: Expected ']'"),
        ("a = 1\na = 2", "run.toml:2: not valid TOML: Cannot overwrite a value"),
        ("a = '''", "run.toml:1: not valid TOML"),
        ("a = " + "1" * 5000, "run.toml: not valid TOML: Exceeds the limit"),
        ("a = " + "[" * 5000, "run.toml: values are nested too deeply"),
        ("[train]\nsteps = " + "[" * 50 + "]" * 50, "run.toml:2: train.steps = "),
        ("a" + ".a" * 1500 + " = 1", "run.toml"),
        (b"a = 1\nb = '\xff'", "run.toml:2: not UTF-8 (byte 11); save the file as UTF-8"),
        (b"\x00", "run.toml:1:1: not valid TOML"),
    ],
)  # fmt: skip
def test_messages(write, text, expected):
    assert expected in message(write(text))


def test_a_long_value_is_cut(write):
    assert len(message(write(f"[train]\nsteps = '{'x' * 500}'"))) < 150


def test_every_problem_is_listed_in_the_order_of_the_file(write):
    text = "[run]\nseed = -1\nname = 07:32:00\n[train]\nsteps = 0\n[modle]\n[optim]\nbetas = [2, 3, 4]\n"
    first, *rest = message(write(text)).splitlines()
    assert first == "5 problems in the configuration:"
    assert [line.split(": ")[0] for line in rest] == [f"  run.toml:{line}" for line in (2, 3, 5, 6, 8)]


def test_a_problem_in_an_extended_file_names_that_file(write):
    write("[train]\nsteps = -1", "low.toml")
    assert message(write('extends = "low.toml"')).startswith("low.toml:2: train.steps = -1")


def test_files_that_cannot_be_read(write, tmp_path):
    assert message(Path("no.toml")) == "no.toml: no such file; give the path of a TOML configuration"
    assert message(tmp_path) == f"{tmp_path}: is a directory; give the path of a TOML configuration file in it"
    assert message(write('extends = "no.toml"')).startswith("run.toml:1: extends: no.toml is no file")


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(write):
    path = write(b"\xef\xbb\xbf[train]\r\nsteps = 5\r\nstepz = 1\r\n")
    assert message(path).startswith("run.toml:3: train.stepz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[optim]\nmomentum = 0.9", "run.toml:2: optim.momentum: unknown key; it belongs to [optim] of kind"),
        (
            "[optim]\nkind = 'muon'\ngroups.matrix.learning_rate = 1.0",
            "run.toml:3: [optim.groups.matrix]: unknown table; it belongs to [optim.groups] of kind adamw or adam or",
        ),
        ("[optim.groups.head]\nnesterov = true", "run.toml:2: optim.groups.head.nesterov: unknown key; it belongs to"),
        (
            "[optim]\nkind = 'muon'\nmomentum_start = 'none'\nmomentum_warmup_steps = 100",
            "momentum_warmup_steps has no effect without momentum_start",
        ),
        ("[optim]\nkind = 'muon'\nmomentum = 0.5", "run.toml:3: [optim] momentum_start = 0.85 is above momentum = 0.5"),
    ],
)  # fmt: skip
def test_settings_that_a_kind_of_optimizer_does_not_read_are_refused(write, text, expected):
    assert expected in message(write(text))


def test_schedule_free_refuses_a_schedule_that_decays(write):
    text = "[optim]\nkind = 'schedule_free_adamw'"
    assert "run.toml:2: optim.kind" in message(write(text))
    load_config(write(text + "\n[schedule]\nkind = 'constant'\nwarmup_steps = 3"))
