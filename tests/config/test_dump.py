import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hornbook.config.dump import config_hash, to_json, to_toml, toml_value
from hornbook.config.keys import UNSET, all_tables, slot
from hornbook.config.load import load_config
from hornbook.config.model import ModelConfig
from hornbook.config.presets import PRESETS
from hornbook.config.run import Config, RunTable

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [UNSET, "", "'''", '"""', "a\\", "\x7f\x00", "# x", "é😀\u2028", "\r\n", "[run]"]
)


def strategy(schema, tables):
    """Values that a JSON schema allows, every field of every table: a new field needs no change here."""
    match schema:
        case {"$ref": name}:
            return strategy(tables[name.rpartition("/")[2]], tables)
        case {"anyOf": kinds} | {"oneOf": kinds}:
            return st.one_of(*(strategy(each, tables) for each in kinds))
        case {"enum": values}:
            return st.sampled_from(values)
        case {"const": value}:
            return st.just(value)
        case {"type": "null"}:
            return st.none()
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            return st.integers(low, min(schema.get("maximum", 2**70), 2**70))
        case {"type": "number"}:
            return st.floats(
                schema.get("minimum", schema.get("exclusiveMinimum")),
                schema.get("maximum", schema.get("exclusiveMaximum")),
                exclude_min="exclusiveMinimum" in schema,
                exclude_max="exclusiveMaximum" in schema,
                allow_nan=False,
                allow_infinity=False,
            )
        case {"type": "array", "prefixItems": items}:
            return st.tuples(*(strategy(each, tables) for each in items)).map(list)
        case {"type": "array", "items": items}:
            return st.lists(strategy(items, tables), min_size=schema.get("minItems", 0), max_size=3)
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
        case {"type": "string"}:
            return texts
        case {"type": "object", "additionalProperties": dict() as values}:
            keys = strategy(schema.get("propertyNames", {"type": "string"}), tables)
            return st.dictionaries(keys, strategy(values, tables), max_size=2)
    fields = {name: strategy(field, tables) for name, field in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
    required |= {"kind": fields.pop("kind")} if "kind" in fields else {}
    return st.fixed_dictionaries(required, optional=fields)


SCHEMA = Config.model_json_schema()
TABLES = SCHEMA["$defs"]
SWEEP = {
    "grid": {"optim.betas": [[0.9, 0.95], [0.9, 0.99]], "run.notes": ["a'\"b", ""]},
    "list": [{"schedule": {"kind": "wsd"}}, {"tracking.wandb": {}}],
    "search": {"points": 2, "space": {"train.steps.integers": [1, 9]}},
    "slurm": {"options": ["--exclusive"], "minutes": 9},
}


@st.composite
def configs(draw):
    """Configurations whose sizes agree; all else is as free as the schema lets it be."""
    fields = {name: field for name, field in SCHEMA["properties"].items() if name not in ("model", "sweep")}
    values = {name: draw(strategy(field, TABLES)) for name, field in fields.items()}
    values["sweep"] = draw(st.sampled_from([None, SWEEP]))  # which keys it may name no schema says
    model = draw(strategy(TABLES["ModelTable"], TABLES))
    heads = draw(st.sampled_from([1, 2, 6]))
    model |= {"context_length": 8, "n_heads": heads, "d_model": 4 * heads, "head_dim": draw(st.sampled_from([None, 2]))}
    model |= {"n_kv_heads": draw(st.sampled_from([None, 1, heads]))}
    model |= {"preset": draw(st.sampled_from([None, *PRESETS]))}
    values |= {"model": model}
    model |= {"depth": None}
    if values.get("lora") is not None:
        model |= {"init_from": "runs/learnt"}
    values["train"] |= {"micro_batch_size": 3, "tokens_per_step": 24 * draw(st.integers(1, 9)), "steps": 100}
    n_parts = draw(st.sampled_from([0, 2]))
    values["data"] |= {"stride": draw(st.sampled_from([None, 1, 8])), "valid_fraction": 0.1, "test_fraction": 0.2}
    values["data"] |= {"mixture": ["a", "b"][:n_parts], "weights": [1.0, 0.3][:n_parts]}
    values |= draw(stages(values))
    values["eval"] |= {"window": draw(st.sampled_from([None, 8])), "stride": draw(st.sampled_from([None, 8]))}
    if "spike_window" in values["train"]:
        values["train"] |= {"spike_sigma": 6.0}  # which alone gives it an effect
    if values["tracking"].get("histograms_every"):
        values["tracking"] |= {"tensorboard": True}  # somebody must show them
    schedule = values.get("schedule", {})
    if "warmup_steps" in schedule:
        schedule |= {"warmup_steps": draw(st.integers(1, 10))}
    if schedule.get("kind") == "wsd":
        length = draw(st.sampled_from(["decay_fraction", "decay_steps"]))
        schedule |= {"decay_fraction": None, "decay_steps": None, length: 0.3 if length == "decay_fraction" else 30}
        schedule |= {"warmup_fraction": None}
    objective = values.get("objective", {})
    for name in ("curriculum", "diffusion_weight"):  # both or neither of its two keys
        if {f"{name}_start", f"{name}_steps"} & objective.keys():
            start, steps = draw(st.sampled_from([(None, 0), (1.0, 10)]))
            objective |= {f"{name}_start": start, f"{name}_steps": steps}
    if objective.get("kind") == "block_diffusion":
        objective |= {"block_length": draw(st.sampled_from([1, 4, 8]))}
        model |= {"ngram_length": 1, "ngram_rows": None, "ngram_dropout": 0.0}
    if values["distributed"].get("strategy") == "fsdp":
        values["distributed"] = {"strategy": "fsdp", "shard_group_size": draw(st.sampled_from([None, 2]))}
        values["train"] |= {"compile": "auto"}
        values["tracking"] |= {"histograms_every": 0}
        model |= {"attention_backend": "auto"}
    else:
        values["distributed"].pop("shard_group_size", None)
        values["checkpoint"].pop("sharded", None)
    config = agreeing(values)
    assume(config is not None)
    return config


@st.composite
def stages(draw, values):
    """What of the tables of data, training and the objective has an effect in one of the stages."""
    stage = draw(st.sampled_from(["pretrain", "sft", "dpo"]))
    data, train = values["data"] | {"stage": stage}, values["train"] | {"sequences_per_step": None}
    kind = values.get("objective", {}).get("kind", "next_token")
    if (kind == "preference") != (stage == "dpo"):
        objective = {"kind": "preference" if stage == "dpo" else "next_token"}
    else:
        objective = {"kind": kind} | values.get("objective", {})
    if stage == "pretrain":
        data.pop("tuning", None)
    else:
        data |= {"stride": None, "mixture": [], "weights": []}
        train |= draw(st.sampled_from([{}, {"tokens_per_step": 16384, "sequences_per_step": 6}]))
        data["tuning"] = data.get("tuning", {}) | {"packing": False, "answer_padding": 0}
        data.pop("end_of_text", None)
        for source in ("source", "valid", "test"):
            (data.get(source) or {}).pop("text_field", None)
        if stage == "dpo":
            data["tuning"] |= {"train_on": "all", "format": draw(st.sampled_from(["auto", "preference"]))}
        objective.pop("truncation_probability", None)
    if stage != "sft":
        objective.pop("normalize", None)
    if train["tokens_per_step"] == 16384 and train["sequences_per_step"] is None:
        train["tokens_per_step"] = 24
    return {"data": data, "train": train, "objective": objective}


def agreeing(values):
    """The configuration, or None when two of its keys exclude each other, which a schema cannot say."""
    try:
        return Config.model_validate_json(json.dumps(values))
    except ValidationError as error:
        if {each["type"] for each in error.errors()} == {"value_error"}:
            return None
        raise


def reload(text, tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode())
    return load_config(path).config


# Each setting that excludes another makes fewer draws agree; how many fail is luck.
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(config=configs())
def test_what_is_dumped_loads_equal(config, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("dump")
    assert reload(to_toml(config), tmp_path) == config
    assert reload(to_toml(config, descriptions=True), tmp_path) == config
    assert Config.model_validate_json(to_json(config)) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resolved_preset_survives_a_dump(preset, tmp_path):
    settings = [f'model.preset="{preset}"', "train.tokens_per_step=16384", f'model.d_ff="{UNSET}"']
    config = load_config(None, settings).config
    assert config.model.d_ff is None
    assert reload(to_toml(config), tmp_path) == config


def test_unset_is_a_comment_unless_leaving_it_out_means_something_else():
    config = load_config(None, ['optim.clip_grad_norm="none"']).config
    lines = to_toml(config).splitlines()
    assert 'clip_grad_norm = "none"' in lines
    assert "# max_minutes = (unset: a number greater than 0)" in lines
    assert "# valid = (unset: a table)" in lines


def test_whatever_may_be_unset_can_be_dumped_unset():
    """`"none"` is a value where text, a path or that very word may stand: there, unset must be the default."""
    for _, table in all_tables():
        for name, field in table.model_json_schema()["properties"].items():
            can_unset = slot(table, name).can_unset
            if {"type": "null"} in field.get("anyOf", []):
                assert field["default"] is None or can_unset, f"{table.__name__}.{name}"
            assert not can_unset or f"'{UNSET}'" not in str(field["anyOf"]), f"{table.__name__}.{name}"


def test_a_dump_is_complete():
    config = load_config(None, ["tracking.wandb={}"]).config
    lines = to_toml(config).splitlines()
    for values in tables_of(config.model_dump()):
        for name, value in values.items():
            if not isinstance(value, dict):
                assert any(line.startswith((f"{name} = ", f"# {name} = (unset: ")) for line in lines), name


def tables_of(values):
    """The dictionary and every dictionary inside it."""
    return [values] + [table for value in values.values() if isinstance(value, dict) for table in tables_of(value)]


def test_descriptions_stand_above_their_keys():
    text = to_toml(Config(), descriptions=True)
    assert "# Optimizer updates.\nsteps = 1000\n" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_one_table_alone_can_be_written():
    shape = ModelConfig(vocab_size=10, n_kv_heads=1, head_dim=2, d_ff=3)
    assert ModelConfig.model_validate_json(json.dumps(tomllib.loads(to_toml(shape)))) == shape


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1e-8, "1e-08"),
        (2**70, str(2**70)),
        ('a"\\\n\x7f', '"a\\"\\\\\\n\\u007F"'),
        (Path("a b/c"), '"a b/c"'),
        ((1, ("x",)), '[1, ["x"]]'),
        ((), "[]"),
        ({"a b": 1}, '{"a b" = 1}'),
    ],
)
def test_values(value, text):
    assert toml_value(value) == text
    tomllib.loads(f"x = {text}")


def test_values_that_toml_lacks():
    with pytest.raises(TypeError, match="TOML cannot hold None"):
        toml_value(None)


def test_hash_ignores_what_a_run_is_called_and_who_hears_of_it():
    plain = config_hash(Config())
    assert plain == config_hash(Config())
    assert len(plain) == 8
    for same in ['run.name="x"', 'run.tags=["x"]', 'run.notes="x"', 'tracking.console="none"', "tracking.wandb={}"]:
        assert config_hash(load_config(None, [same]).config) == plain
    others = ["run.seed=1", "train.steps=7", 'schedule.kind="wsd"', 'data.path="elsewhere"']
    assert len({plain, *(config_hash(load_config(None, [other]).config) for other in others)}) == 5


def test_a_table_made_in_python_dumps_too(tmp_path):
    config = Config(run=RunTable(name=UNSET, notes="two\nlines"))
    assert reload(to_toml(config), tmp_path) == config
