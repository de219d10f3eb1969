import pytest

from hornbook.config.layers import DEFAULT, OVERRIDE, SET, Origin, flatten, kinds, nest, overlay, stack


def layer(values, origin=DEFAULT):
    return flatten(values, (), lambda _: origin)


def over(lower, upper, by=overlay):
    return nest(by(layer(lower), layer(upper)))


@pytest.mark.parametrize(
    ("lower", "upper", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1}}, {"a": 3}, {"a": 3}),
        ({"a": 3}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": {}}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 3}, {"a": {}}, {"a": {}}),
        ({"a": {}}, {}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}),
    ],
)
def test_overlay(lower, upper, result):
    assert over(lower, upper) == result


def test_the_upper_layer_keeps_its_origins():
    low, high = Origin("low.toml", 3), SET
    both = overlay(layer({"a": {"b": 1, "c": 1}}, low), layer({"a": {"b": 2}}, high))
    assert {key: str(entry.origin) for key, entry in both.items()} == {("a", "c"): "low.toml:3", ("a", "b"): "--set"}


@pytest.mark.parametrize(
    ("lower", "upper", "result"),
    [
        # the kind changes: what the old kind was told goes, whether the new one would know it or not
        (
            {"schedule": {"kind": "noam", "warmup_steps": 5}},
            {"schedule": {"kind": "wsd"}},
            {"schedule": {"kind": "wsd"}},
        ),
        # cosine is the default kind
        ({"schedule": {"final_fraction": 0.5}}, {"schedule": {"kind": "linear"}}, {"schedule": {"kind": "linear"}}),
        (
            {"schedule": {"final_fraction": 0.5}},
            {"schedule": {"kind": "cosine"}},
            {"schedule": {"final_fraction": 0.5, "kind": "cosine"}},
        ),
        # no kind above: an ordinary table
        (
            {"data": {"source": {"kind": "text", "paths": ["a"]}}},
            {"data": {"source": {"paths": ["b"]}}},
            {"data": {"source": {"kind": "text", "paths": ["b"]}}},
        ),
        # tables beside the tagged one stay
        (
            {"data": {"path": "x", "source": {"kind": "text", "paths": ["a"]}}},
            {"data": {"source": {"kind": "hf", "dataset": "d"}}},
            {"data": {"path": "x", "source": {"kind": "hf", "dataset": "d"}}},
        ),
        # a kind that is only a choice within one table drops nothing
        (
            {"tokenizer": {"kind": "bpe", "path": "x"}},
            {"tokenizer": {"kind": "characters"}},
            {"tokenizer": {"kind": "characters", "path": "x"}},
        ),
    ],
)
def test_stack_drops_what_described_another_kind(lower, upper, result):
    assert over(lower, upper, by=stack) == result


def test_kinds():
    assert kinds(layer({"data": {"source": {"kind": "text"}}, "schedule": {"warmup_steps": 1}})) == {
        ("data", "source"): "text"
    }


@pytest.mark.parametrize(
    ("origin", "text", "is_written"),
    [
        (Origin("preset a.toml", 3), "preset a.toml:3", True),
        (SET, "--set", True),
        (OVERRIDE, "override", True),
        (Origin("preset gpt2"), "preset gpt2", False),
        (DEFAULT, "default", False),
    ],
)
def test_origins(origin, text, is_written):
    assert (str(origin), origin.is_written) == (text, is_written)
