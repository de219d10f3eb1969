"""The sides of diffusion decoding do what their names say; how fast is never a test."""

import math
import runpy
from pathlib import Path

import pytest
import torch

from hornbook.benchmarks import side, text_change
from hornbook.benchmarks.block_decoding import Decoded, decode
from hornbook.benchmarks.comparison import rows_of
from hornbook.benchmarks.denoising import KINDS, PLAIN, QUICK, REQUEST, denoise_cases
from hornbook.benchmarks.denoising_model import Denoiser, open_denoiser
from hornbook.benchmarks.full_sequence_loop import full_sequence_loop
from hornbook.benchmarks.harness import run_case
from hornbook.benchmarks.report import table
from hornbook.benchmarks.text_change import change_of_text, nll_of
from hornbook.cli.main import main
from hornbook.config.generate import DenoisingConfig
from hornbook.generation.divergence import path_nll
from hornbook.models.accounting import parameter_counts
from tiny_checkpoint import tiny_tokenizer
from tiny_models import VOCABULARY, tiny_model
from tiny_run import make_run

MASK = VOCABULARY - 1
SIDES = Path(side.__file__).parent / "sides"


@pytest.fixture
def measured(monkeypatch):
    cases = []
    monkeypatch.setattr("hornbook.cli.bench._measure", lambda _, some: cases.extend(some) or 0)
    return cases


def fill(model, prompt, **settings):
    request = {"new_tokens": 8, "block_length": 4, "denoise_steps": 8, "mask_id": MASK, "vocab_size": VOCABULARY}
    return full_sequence_loop(model, prompt, **{**request, **settings})


def test_the_plain_loop_with_blocks_of_one_token_fills_masks_from_left_to_right():
    model = tiny_model()
    tokens = [1, 2, 3, *[MASK] * 4]
    for place in range(3, 7):
        logits = model(torch.tensor([tokens]), mask=denoising_mask())[0, place]
        tokens[place] = int(logits[:MASK].argmax())
    assert fill(model, [1, 2, 3], new_tokens=4, block_length=1, denoise_steps=4) == tokens[3:]


def denoising_mask():
    return Denoiser(model=None, prompts=[], mask_id=MASK, vocab_size=VOCABULARY, causal_block=None).mask


def test_the_plain_loop_draws_neither_the_mask_nor_an_id_that_is_nobodys():
    for seed in range(5):
        assert max(fill(tiny_model(seed=seed), [1, 2], vocab_size=3)) < 3
        assert MASK not in fill(tiny_model(seed=seed), [1, 2])


def test_the_plain_loop_ends_where_it_is_told_to():
    model = tiny_model()
    whole, part = fill(model, [1, 2]), fill(model, [1, 2], most_steps=4)
    assert part == [*whole[:4], *[MASK] * 4]


def test_floors_and_shape_are_those_of_the_design():
    sizes = sum(parameter_counts(REQUEST.table.complete(vocab_size=REQUEST.vocab_size)).values())
    assert 24e6 < sizes < 26e6
    assert REQUEST.new_tokens == 256
    cases = list(denoise_cases(REQUEST))
    assert [case.name for case in cases] == [f"denoise {k}, {p}" for p in ("fp32", "bf16") for k in KINDS[:3]]
    assert [(b.peer, b.value, b.aim) for case in cases for b in case.bars] == [(PLAIN, 6, 15)] * 2
    four = cases[1]
    assert [one.name for one in four.sides] == ["hornbook", PLAIN, f"{PLAIN}, 4 a step"]
    assert [one.share for one in four.sides] == [1.0, 1 / 8, 1 / 8]
    assert [one.settings.get("most_steps") for one in four.sides] == [None, 32, 8]
    assert [one.settings["denoise_steps"] for one in four.sides[1:]] == [256, 64]
    assert not any(case.bars for case in denoise_cases(QUICK, has_floors=False))


def side_by_side(case):
    """What every side says of one block, in this process."""
    found = []
    for one in case.sides:
        block, checks = runpy.run_path(str(SIDES / one.file))["setup"](dict(one.settings))
        found.append(checks(block()))
    return found


@pytest.mark.parametrize(("kind", "steps"), [("same-steps", 16), ("four-a-step", 4), ("exact-cache", 16)])
def test_steps_and_mask_ratio_are_told_and_an_exact_cache_gives_the_same_ids(kind, steps):
    (case,) = denoise_cases(QUICK, precisions=("fp32",), kinds=(kind,), has_floors=False)
    ours, *plain = side_by_side(case)
    # k tokens a step: n, n - k, ..., k of n are masked before a step, (1 + k / n) / 2 on average.
    ratio = (1 + 1 / steps) / 2
    assert ours["shown"] == {
        **{"steps": str(steps), "tokens a step": f"{16 / steps:.2f}", "block length": "8"},
        **{"cache": "prefix" if kind == "exact-cache" else "delayed", "average mask ratio": f"{ratio:.3f}"},
        "warm-up": "1 block",
    }
    assert plain[0]["said"] == "8 of its 16 steps timed"
    if kind == "exact-cache":
        assert case.equal == {"first ids": 0}
        assert plain[0]["first ids"] == ours["first ids"]


@pytest.mark.medium
def test_sides_run_in_processes_and_the_part_of_the_plain_loop_counts_for_the_whole():
    (case,) = denoise_cases(QUICK, precisions=("bf16",), kinds=("exact-cache",), has_floors=False)
    ours, plain = rows_of(case, run_case(case, blocks=2))
    assert (ours.failure, plain.failure) == (None, None)
    title, _, line, _ = table([ours, plain])
    assert title.startswith("denoise exact-cache, bf16; steps 16; tokens a step 1.00; block length 8; cache prefix;")
    assert f"mean {ours.mean:.3f} s, deviation {ours.standard_deviation:.3f}" in line


@pytest.mark.parametrize("objective", ["masked_diffusion", "block_diffusion"])
def test_a_trained_model_is_timed_and_its_text_judged(tmp_path, measured, objective):
    blocks = {"objective__block_length": 8} if objective == "block_diffusion" else {}
    run = make_run(tmp_path, model__context_length=32, objective__kind=objective, **blocks)
    arguments = ["--only", "threshold", "--checkpoint", str(run), "--threshold", "0.5", "--precision", "fp32"]
    assert main(["bench", "decode", "--diffusion", "--quick", *arguments]) == 0
    (case,) = measured
    assert [(bar.peer, bar.value, bar.aim) for bar in case.bars] == []
    assert case.sides[0].settings["denoising"]["cache"] == ("prefix" if blocks else "delayed")
    assert case.sides[1].share == 8 / (16 * 4)
    ours, plain = side_by_side(case)
    assert "of ids agree" in ours["said"]
    assert plain["said"] == "8 of its 64 steps timed"


def test_an_autoregressive_model_and_a_short_context_are_refused(tmp_path, capsys):
    run = make_run(tmp_path / "ar", model__context_length=32)
    assert main(["bench", "decode", "--diffusion", "--quick", "--checkpoint", str(run)]) == 2
    assert "has no diffusion bound" in capsys.readouterr().err
    run = make_run(tmp_path / "short", objective__kind="masked_diffusion")
    assert main(["bench", "decode", "--diffusion", "--quick", "--checkpoint", str(run)]) == 2
    assert "its context_length = 16; it needs a longer context" in capsys.readouterr().err


def test_the_text_of_both_ways_is_judged_by_the_same_masks(monkeypatch):
    opened = Denoiser(
        **{"model": tiny_model(), "prompts": [[1, 2], [3]], "mask_id": MASK, "vocab_size": VOCABULARY},
        causal_block=None,
        tokenizer=tiny_tokenizer(),
    )
    monkeypatch.setattr(text_change, "path_nll", lambda *_, **__: 0.5)
    texts = [[4, 5, 6], [7, 8, 9]]
    assert nll_of(opened, texts) == nll_of(opened, texts)
    assert 0 < nll_of(opened, texts) < 3 * math.log(VOCABULARY)
    fast, other = (Decoded(texts=each, steps=[], nll=0.25) for each in (texts, [[4, 5, 6], [7, 8, 1]]))
    assert "of its choices 0.500, of the exact way's 0.250; 83% of ids agree" in change_of_text(opened, fast, other)
    assert ": +0.000 " in change_of_text(opened, fast, fast)


def test_the_exact_way_is_told_as_its_choices_were_drawn(tmp_path):
    """Without a cache, at a token a step, the decoder's own log-probabilities are those of the exact path."""
    run = make_run(tmp_path, model__context_length=32, objective__kind="masked_diffusion")
    settings = {"checkpoint": str(next(run.glob("checkpoints/step-*"))), "prompts": [[1, 2, 3], [4, 5]]}
    opened = open_denoiser({**settings, "precision": "fp32", "causal_block": None})
    found = decode(opened, DenoisingConfig(block_length=4, cache="none"), 8, hears=True)
    again = path_nll(opened.model, found.steps, opened.tokenizer, causal_block_length=None)
    assert found.nll == pytest.approx(again, abs=1e-5)  # float32 sums of a few hundred terms of about ln 300


def test_cases_can_be_chosen(measured, capsys):
    arguments = ["--only", "four-a-step", "--precision", "bf16", "--prompt-tokens", "64", "--cache", "prefix"]
    assert main(["bench", "decode", "--diffusion", *arguments]) == 0
    (case,) = measured
    assert case.name == "denoise four-a-step, bf16"
    assert case.sides[0].settings["prompt_tokens"] == 64
    assert case.sides[0].settings["denoising"]["cache"] == "prefix"
    assert main(["bench", "decode", "--diffusion"]) == 0
    assert "no --checkpoint RUN, so the case `threshold` is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threshold", "0.9", "--quick"), "--threshold has an effect only with --diffusion"),
        (("--diffusion", "--threshold", "0.9"), "only with --checkpoint RUN"),
        (("--diffusion", "--threshold", "2", "--checkpoint", "x"), "--threshold 2: expected a probability above 0"),
        (("--diffusion", "--only", "threshold"), "expected --checkpoint RUN with it"),
        (("--diffusion", "--only", "fast"), "--only fast: fast is none of same-steps, four-a-step"),
        (("--diffusion", "--precision", "int8"), "--precision int8: int8 is none of fp32, bf16"),
        (("--diffusion", "--block-length", "48"), "--block-length 48: expected a multiple of 4 that divides 256"),
        (("--diffusion", "--prompt-tokens", "300"), "expected a multiple of the block length, 32"),
        (("--diffusion", "--prompt-tokens", "320"), "context_length = 512; choose at most --prompt-tokens 256"),
        (("--diffusion", "--checkpoint", "/no/such"), "/no/such: no such run or checkpoint directory"),
    ],
)
def test_mistakes_are_one_message(arguments, message, capsys):
    assert main(["bench", "decode", *arguments]) == 2
    assert message in capsys.readouterr().err
