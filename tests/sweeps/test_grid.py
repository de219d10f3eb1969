"""The points of a sweep: their order, their names."""

import json

import pytest

from hornbook.config.sweep import SweepConfig
from hornbook.errors import ConfigError
from hornbook.sweeps.grid import chosen_point, point_id, points


def sweep(**tables):
    return SweepConfig.model_validate_json(json.dumps(tables))


def settings(config):
    return [dict(point.settings) for point in points(config)]


def test_the_last_key_varies_fastest_and_lists_are_values():
    found = settings(sweep(grid={"a": [1, 2], "b": [[3, 4], [5, 6], [7, 8]]}))
    assert found == [{"a": a, "b": b} for a in (1, 2) for b in ([3, 4], [5, 6], [7, 8])]


def test_a_key_with_one_value_is_an_axis_of_one():
    assert settings(sweep(grid={"a": [1], "b": [2, 3]})) == [{"a": 1, "b": 2}, {"a": 1, "b": 3}]


def test_zip_goes_along_and_everything_combines():
    config = sweep(
        grid={"a": [1, 2]},
        zip={"b": [1, 2], "c": ["x", "y"]},
        list=[{"d": 1}, {"d": 2, "e": 3}],
        search={"points": 3, "space": {"f.uniform": [0, 1]}},
    )
    found = settings(config)
    assert len(found) == 2 * 2 * 2 * 3
    drawn = [point["f"] for point in found[:3]]
    expected = [
        {"a": a, **bc, **de, "f": f}
        for a in (1, 2)
        for bc in ({"b": 1, "c": "x"}, {"b": 2, "c": "y"})
        for de in ({"d": 1}, {"d": 2, "e": 3})
        for f in drawn
    ]
    assert found == expected


def test_indices_count_from_0_and_others_are_refused():
    found = points(sweep(grid={"a": [1, 2, 3]}))
    assert [point.index for point in found] == [0, 1, 2]
    assert chosen_point(found, 2) is found[2]
    with pytest.raises(ConfigError, match=r"--index 3: the sweep has 3 points; expected 0 to 2"):
        chosen_point(found, 3)


def test_ids_depend_on_the_settings_alone():
    before = {point.id: point.settings for point in points(sweep(grid={"a": [1, 2], "b": [0.5, 2]}))}
    after = {point.id: point.settings for point in points(sweep(grid={"b": [9, 2.0, 0.5], "a": [2, 7, 1]}))}
    assert before.keys() < after.keys()
    for name, values in before.items():
        assert after[name] == values


def test_an_id_is_what_it_always_was():
    assert point_id({"optim.learning_rate": 0.003, "optim.betas": [0.9, 0.99]}) == "68be2388"


def test_a_table_is_its_keys():
    (table,) = points(sweep(grid={"optim": [{"kind": "muon", "momentum": 0.9}]}))
    (keys,) = points(sweep(list=[{"optim.kind": "muon", "optim.momentum": 0.9}]))
    assert table == keys


def test_the_same_point_twice_is_told():
    with pytest.raises(ConfigError, match="points 0 and 2 are the same: a=1"):
        points(sweep(grid={"a": [1, 2, 1.0]}))
