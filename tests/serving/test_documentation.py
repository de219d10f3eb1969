"""docs/serving.md names the codes, paths and settings that there are."""

import re
from pathlib import Path

from hornbook.config.load import load_config
from hornbook.config.serve import ServeConfig
from hornbook.serving import refusals
from hornbook.serving.app import make_app
from hornbook.serving.bodies import ChatBody, TextBody

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_configuration_is_valid(tmp_path):
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    assert load_config(file).config.serve.slots == 32
    named = set(re.findall(r"`serve\.(\w+)`", PAGE))
    assert named <= set(ServeConfig.model_fields)


def test_every_code_is_documented_and_no_other():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/hornbook/serving").glob("*.py"))
    used = {*re.findall(r'code="(\w+)"', source), *refusals._CODES.values(), "unknown_parameter"}
    table = PAGE.split("## Errors")[1].split("## Limits")[0]
    assert set(re.findall(r"`(\w+)`", table)) - {"param"} == used


def test_paths_and_fields_are_documented():
    paths = make_app([], ServeConfig(), runs=ROOT).openapi()["paths"]
    listed = PAGE.split("## What there is")[1].split("## Errors")[0]
    assert all(path.partition("{")[0].rstrip("/") in listed for path in paths)
    for body in (ChatBody, TextBody):
        told = {name for name in body.model_fields if f"`{name}`" in listed or f"`{name}." in listed}
        assert {"model", "stop", "seed", "n", "logprobs", "top_k", "hornbook", "stream_options"} <= told
