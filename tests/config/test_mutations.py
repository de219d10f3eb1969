"""Two hundred ways to get a configuration wrong: each is one error naming file and line, and none is a traceback."""

import json
import random
import re
import tomllib

import pytest

from hornbook.cli.main import main
from hornbook.config.dump import to_toml
from hornbook.config.keys import all_tables, table_at
from hornbook.config.load import load_config
from hornbook.errors import ConfigError

N_MUTATIONS = 200
RIGHT = to_toml(
    load_config(
        None,
        values={
            "run": {"name": "right", "tags": ["a"], "threads": 2},
            "tokenizer.max_bytes": 10**6,
            "data.source": {"kind": "synthetic"},
            "data.valid": {"kind": "text", "paths": ["a.txt"]},
            "data.test": {"kind": "hf", "dataset": "a/b"},
            "model": {"preset": "cpu-nano", "logit_soft_cap": 30, "n_kv_heads": 2, "head_dim": 32, "d_ff": 64},
            "schedule": {"kind": "wsd", "warmup_steps": 10},
            "train.max_minutes": 5,
            "tracking.wandb": {"group": "g"},
            "generate": {"prompts": ["Once"], "top_k": 5, "top_p": 0.9},
            "eval": {"window": 64, "stride": 32},
        },
    ).config,
    descriptions=True,
)
LINES = RIGHT.splitlines()
KEY_LINES = [number for number, line in enumerate(LINES) if re.match(r"\w+ = ", line)]
HEADERS = [number for number, line in enumerate(LINES) if line.startswith("[")]
KINDS = {("data", "source"): "synthetic", ("data", "valid"): "text", ("data", "test"): "hf", ("schedule",): "wsd"}
FIELDS = {name for _, table in all_tables() for name in table.model_fields}


def table_of(number):
    """The header above a line, as a key."""
    header = max(each for each in HEADERS if each < number)
    return tuple(LINES[header].strip("[]").split("."))


def pick(rng, *, where=lambda name, value, schema: True):
    """A random line `name = value` that satisfies `where`, with its field's schema."""
    while True:
        number = rng.choice(KEY_LINES)
        name, _, text = LINES[number].partition(" = ")
        schema = table_at(table_of(number), KINDS).model_json_schema()["properties"][name]
        schema = next((each for each in schema.get("anyOf", []) if each != {"type": "null"}), schema)
        value = tomllib.loads(LINES[number])[name]
        if where(name, value, schema):
            return number, name, text, value, schema


def replaced(number, *new):
    """The right file with one line replaced, and that line's number from 1."""
    return "\n".join([*LINES[:number], *new, *LINES[number + 1 :]]), number + 1


def misspelt_key(rng):
    number, name, text, *_ = pick(rng, where=lambda name, *_: len(name) > 3)
    at = rng.randrange(1, len(name) - 1)
    wrong = rng.choice([name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name[:at] + "x" + name[at:]])
    return replaced(number, f"{wrong if wrong not in FIELDS else name + 'z'} = {text}")


def wrong_type(rng):
    number, name, _, value, _ = pick(rng)
    wrong = {
        bool: ["1", '"true"', "[]"],
        int: ['"seven"', "1.5", "true", "[1]"],
        float: ['"x"', "false", "{a = 1}"],
        str: ["7", "true", "[[]]"],
        list: ["5", "[[1]]", '{a = "b"}', "[true]"],
    }
    return replaced(number, f"{name} = {rng.choice(wrong[type(value)])}")


def out_of_range(rng):
    bounds = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    number, name, _, value, schema = pick(rng, where=lambda _, __, schema: any(bound in schema for bound in bounds))
    bound = rng.choice([bound for bound in bounds if bound in schema])
    beyond = schema[bound] if bound.startswith("exclusive") else schema[bound] + (-1 if bound == "minimum" else 1)
    return replaced(number, f"{name} = {type(value)(beyond)}")


def wrong_choice(rng):
    number, name, *_ = pick(rng, where=lambda name, _, schema: "enum" in schema or name in ("kind", "preset", "device"))
    return replaced(number, f"{name} = '{rng.choice(['nonsense', 'Adam', ''])}'")


def broken_syntax(rng):
    number, name, text, *_ = pick(rng)
    broken = [f"{name} {text}", f"{name} = ", f"{name} = {text} {text}", f"= {text}", f"{name} == {text}"]
    broken += [f"{name}", f'{name} = "a', f"{name} = 1__0", f"{name} = nope", f"{name}. = 1", f"{name} = 'a\x01b'"]
    return replaced(number, rng.choice(broken))


def unclosed_header(rng):
    number = rng.choice(HEADERS)
    return replaced(number, rng.choice([LINES[number][:-1], LINES[number] + "]", "[]", "[a b]"]))


def duplicate_table(rng):
    return replaced(len(LINES), LINES[rng.choice(HEADERS)])


def duplicate_key(rng):
    number = pick(rng)[0]
    return replaced(number, LINES[number], LINES[number])[0], number + 2


def date(rng):
    number, name, *_ = pick(rng)
    dates = ["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[1979-05-27]", "1979-05-27 07:32:00"]
    return replaced(number, f"{name} = {rng.choice(dates)}")


def not_finite(rng):
    number, name, *_ = pick(rng)
    return replaced(number, f"{name} = {rng.choice(['inf', '-inf', 'nan', '[1.0, nan]'])}")


def unknown_table(rng):
    name = rng.choice(["trian", "modle", "trainer", "run.more", "data.source.x", "schedule.cosine", "[extra]", "'a.b'"])
    return replaced(len(LINES), f"[{name}]", *(["x = 1"] if rng.random() < 0.5 else []))


def key_of_another_table(rng):
    number, *_ = pick(rng, where=lambda name, *_: name not in ("kind", "preset"))
    key = rng.choice(["learning_rates", "sequence_length", "batch_size_", "lr", "epochs", "n_embd", "bos"])
    return replaced(number, LINES[number], f"{key} = 1")[0], number + 2


def line_of(name):
    return 1 + next(number for number in KEY_LINES if LINES[number].startswith(f"{name} = "))


def bad_combination(rng):
    """Keys that are right alone; the line may be that of any of them."""
    changes, others = rng.choice(
        [
            ({"n_kv_heads": "3"}, ["n_heads"]),
            ({"head_dim": "33"}, []),
            ({"tokens_per_step": "1000"}, ["micro_batch_size", "context_length"]),
            ({"micro_batch_size": "7"}, ["tokens_per_step", "context_length"]),
            ({"valid_fraction": "0.9", "test_fraction": "0.1"}, []),
            ({"context_length": "100"}, ["micro_batch_size", "tokens_per_step"]),
        ]
    )
    text = RIGHT
    for name, value in changes.items():
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", text, count=1)
    return text, [line_of(name) for name in [*changes, *others]]


def both_of_two_that_exclude_each_other(rng):
    line = line_of("warmup_steps")
    text, _ = replaced(line - 1, LINES[line - 1], f"warmup_fraction = {rng.choice(['0.1', '0.5'])}")
    return text, [line, line + 1]


def not_utf8(rng):
    number = rng.randrange(len(LINES))
    return "\n".join([*LINES[:number], "# \udcff", *LINES[number:]]).encode(errors="surrogateescape"), number + 1


def value_for_a_table(rng):
    name, value = rng.choice(["zz", "steps", "vocab"]), rng.choice(["1", "[]", "{}", "'x'"])
    return "\n".join([f"{name} = {value}", *LINES]), 1


def missing_key(rng):
    line = line_of(rng.choice(["paths", "dataset"]))
    return replaced(line - 1)[0], 1 + max(header for header in HEADERS if header < line)


def empty_list(rng):
    return replaced(line_of("paths") - 1, "paths = []")


def bad_extends(rng):
    return "\n".join([f"extends = {rng.choice(['3', '[1]', '{}', 'true', '[[]]'])}", *LINES]), 1


def extends_that_cannot_be(rng):
    name = rng.choice(["absent.toml", ".", "wrong.toml", "absent/a.toml"])
    return "\n".join([f'extends = "{name}"', *LINES]), None


def nested_too_deeply(rng):
    number, name, *_ = pick(rng)
    depth = rng.choice([9, 50, 300])
    return replaced(number, f"{name} = {'[' * depth}{']' * depth}")


MUTATORS = [
    misspelt_key,
    wrong_type,
    out_of_range,
    wrong_choice,
    broken_syntax,
    unclosed_header,
    duplicate_table,
    duplicate_key,
    date,
    not_finite,
    unknown_table,
    key_of_another_table,
    bad_combination,
    both_of_two_that_exclude_each_other,
    not_utf8,
    value_for_a_table,
    missing_key,
    empty_list,
    bad_extends,
    extends_that_cannot_be,
    nested_too_deeply,
]


def test_the_unmutated_configuration_is_right(tmp_path):
    path = tmp_path / "right.toml"
    path.write_text(RIGHT)
    load_config(path)
    assert main(["config", "check", str(path)]) == 0


@pytest.mark.parametrize("seed", range(N_MUTATIONS))
def test_a_mutation_is_caught(seed, tmp_path, monkeypatch, capsys):
    mutate = MUTATORS[seed % len(MUTATORS)]
    text, line = mutate(random.Random(seed))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.toml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as caught:
        load_config("wrong.toml")
    message = str(caught.value)
    lines = line if isinstance(line, list) else [line] if line else []
    if lines:
        assert any(f"wrong.toml:{each}:" in message for each in lines), (mutate.__name__, lines, message)
    assert "pydantic" not in message
    assert "validation error" not in message

    assert main(["config", "check", "wrong.toml"]) == 2
    out, err = capsys.readouterr()
    assert err == f"hornbook config: {message}\n"
    assert json.loads(out) == {"file": "wrong.toml", "ok": False, "error": message}
