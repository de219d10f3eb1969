import json

from hornbook.config.schema import json_schema


def test_the_schema_describes_the_file():
    schema = json_schema()
    tables = schema["$defs"]
    assert {"run", "train", "schedule", "extends"} <= schema["properties"].keys()
    assert "gpt2" in tables["ModelTable"]["properties"]["preset"]["enum"]
    assert tables["AdamWConfig"]["properties"]["kind"]["const"] == "adamw"
    assert tables["TrainConfig"]["properties"]["steps"]["description"] == "Optimizer updates."
    assert tables["TrainConfig"]["additionalProperties"] is False


def test_null_which_toml_lacks_does_not_occur():
    assert "null" not in json.dumps(json_schema())


def test_what_can_be_unset_takes_the_word_and_text_does_not():
    tables = json_schema()["$defs"]
    clip = tables["AdamWConfig"]["properties"]["clip_grad_norm"]
    assert clip["anyOf"] == [{"exclusiveMinimum": 0, "type": "number"}, {"const": "none"}]
    assert tables["RunTable"]["properties"]["name"]["anyOf"] == [{"type": "string"}]


def test_nothing_is_required_because_another_layer_may_say_it():
    assert not any("required" in table for table in json_schema()["$defs"].values())
