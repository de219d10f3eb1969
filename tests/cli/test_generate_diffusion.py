"""`hornbook generate` and `hornbook chat` with diffusion models."""

import io
import json
import sys

import pytest

from hornbook.cli.main import main
from hornbook.generation import animation
from tiny_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("masked"), {"kind": "masked_diffusion"})


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("joint"), {"kind": "joint"})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def generate(capsys, *arguments) -> list[dict]:
    assert main(["generate", *map(str, arguments), "--set", "run.threads=1"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_checkpoint_says_how_it_is_decoded(run, capsys):
    [made] = generate(
        capsys, run, "--prompt", "the cat", "--max-new-tokens", 8, "--set", "generate.diffusion.cache='dual'"
    )
    assert made["parameters"]["diffusion"]["cache"] == "dual"
    assert 1 <= made["tokens"] <= 8


def test_holes_are_filled(run, capsys):
    filled = generate(capsys, run, "--infill", "the <|mask:3|> cat", "--num-samples", 2)
    assert [each["parameters"]["seed"] for each in filled] == [0, 1]
    for each in filled:
        assert each["output"].startswith("the ")
        assert each["output"].endswith(" cat")
        assert each["tokens"] == 3


def test_the_way_of_a_text_in_json(run, capsys):
    [made] = generate(capsys, run, "--prompt", "the", "--max-new-tokens", 5, "--show-denoising")
    assert [step["step"] for step in made["denoising"]] == [0, 1, 2, 3, 4]
    assert all(len(step["positions"]) == len(step["tokens"]) == len(step["confidences"]) for step in made["denoising"])


def test_the_way_of_a_text_in_a_terminal(run, monkeypatch):
    monkeypatch.setattr(animation, "SECONDS_A_FRAME", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["generate", str(run), "--prompt", "the", "--max-new-tokens", "5", "--show-denoising"]) == 0
    assert animation.MASK in terminal.getvalue()
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["generate", str(run), "--prompt", "the", "--max-new-tokens", "5"]) == 0
    assert terminal.getvalue().endswith(shown.getvalue())


@pytest.mark.parametrize(("flag", "last"), [("--prompt", "cat " * 20), ("--infill", "<|mask:99|>")])
def test_nothing_is_said_before_all_is_known_to_fit(run, monkeypatch, capsys, flag, last):
    texts = [part for text in ["<|mask:2|>"] * 16 + [last] for part in (flag, text)]
    assert main(["generate", str(run), *texts, "--set", "generate.max_new_tokens=2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("prompt" if flag == "--prompt" else "template") + " 16 has" in captured.err


def test_a_cache_is_compared(run, capsys):
    arguments = ["--max-new-tokens", 6, "--compare-cache", "--set", "generate.diffusion.cache='prefix'"]
    [found] = generate(capsys, run, "--prompt", "the", *arguments)
    assert found["event"] == "compare_cache"
    assert 0 <= found["agreement"] <= 1


def test_a_joint_model_is_decoded_both_ways(joint, capsys):
    one, other = (
        generate(capsys, joint, "--prompt", "the", "--max-new-tokens", 6, "--decoder", decoder)[0]
        for decoder in ("autoregressive", "diffusion")
    )
    assert one["output"] != other["output"]
    [auto] = generate(capsys, joint, "--prompt", "the", "--max-new-tokens", 6)
    assert auto["output"] == one["output"]


def test_a_conversation(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\nthe dog\nthe bird\n"))
    assert main(["chat", str(run), "--max-new-tokens", "6", "--set", "run.threads=1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["chat", str(run), "--max-new-tokens", "9"]) == 2
    assert "choose at most 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "--prompt", "the"], "the largest that fits is 14"),
        (["PLAIN", "--infill", "a<|mask|>"], "--infill needs a diffusion decoder"),
        (["PLAIN", "--prompt", "a", "--show-denoising"], "--show-denoising needs a diffusion decoder"),
        (["PLAIN", "--prompt", "a", "--decoder", "diffusion"], 'leave it at "auto"'),
        (["RUN", "--infill", "a<|mask|>", "--max-new-tokens", "3"], "--max-new-tokens has no effect with --infill"),
        (["RUN", "--infill", "a<|mask|>", "--compare-cache"], "leave it out"),
        (["RUN", "--infill", "a"], "has no hole to fill"),
        (["RUN", "--prompt", "a", "--max-new-tokens", "3", "--compare-cache"], "without a cache"),
        (["RUN", "--prompt", "a", "--decoder", "beam"], "generate.decoder"),
    ],
)
def test_refusals_say_what_to_do(run, plain, capsys, arguments, message):
    names = {"RUN": str(run), "PLAIN": str(plain)}
    assert main(["generate", *[names.get(part, part) for part in arguments], "--set", "generate.seed=1"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
