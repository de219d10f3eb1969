"""Does the exactness suite see bugs? python scripts/mutations_of_diffusion.py

Ten bugs that public implementations of masked diffusion have had, each a change of one line or two, are put one by one
into a copy of src in a temporary directory. The test that is named beside each must pass without it and fail with it.
Prints the table; the exit status is 1 if a bug goes unseen or can no longer be put in.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "tests" / "diffusion_exactness"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One bug, and the test that must see it."""

    name: str
    file: str
    """Below src/hornbook."""
    changes: tuple[tuple[str, str], ...]
    """(right, wrong); each right text stands in the file exactly once."""
    test: str
    """Below tests/diffusion_exactness."""


MUTATIONS = (
    Mutation(
        name="missing 1/p",
        file="objectives/noise.py",
        changes=(("return probability, slope / probability", "return probability, slope"),),
        test="test_loss.py::test_the_mean_loss_is_the_bound",
    ),
    Mutation(
        name="dividing by masked tokens",
        file="objectives/masked_diffusion.py",
        changes=(("int(noise_of(batch).counted.sum())", "int(noise_of(batch).masked.sum())"),),
        test="test_loss.py::test_the_denominator_is_all_tokens_not_the_hidden_ones",
    ),
    Mutation(
        name="noised confidence",
        file="generation/denoising.py",
        changes=(
            (
                "confidences = confidence(logits, logprobs, self._remasking).tolist()",
                "noise = self._noise(rows, wanted, logits)\n"
                "            noised = logits if noise is None else logits + noise\n"
                "            confidences = confidence(\n"
                "                noised, log_probabilities(noised, chosen), self._remasking\n"
                "            ).tolist()",
            ),
        ),
        test="test_sampler.py::test_confidences_are_the_models_own",
    ),
    Mutation(
        name="float32 Gumbel in the exp form",
        file="generation/remasking.py",
        changes=(
            (
                "return (apply_filters(logits, nothing_seen, sampling) + noise).argmax(dim=-1)",
                "return (logits.float().exp() / (-noise).float().exp() ** sampling.temperature).argmax(dim=-1)",
            ),
        ),
        test="test_sampler.py::test_logits_may_be_large",
    ),
    Mutation(
        name="x == mask_id as the decided test",
        file="generation/canvas.py",
        changes=(
            (
                "for position, token in enumerate(template) if token is None]",
                "for position, token in enumerate(template) if token in (None, self.mask_id)]",
            ),
            (
                "decided=[token is not None for token in tokens]",
                "decided=[token not in (None, self.mask_id) for token in tokens]",
            ),
        ),
        test="test_sampler.py::test_a_mask_token_that_was_given_is_no_hole",
    ),
    Mutation(
        name="truncation drawn per rank",
        file="objectives/noise.py",
        changes=(
            ("def kept_tokens(self, at: StepContext, length: int)", "def kept_tokens(self, at, length, first)"),
            ("self.kept_tokens(at, length)", "self.kept_tokens(at, length, samples[0])"),
            (
                "uniforms(at.seed, at.step, EVERY_SAMPLE, TRUNCATION, 2)",
                "uniforms(at.seed, at.step, first, TRUNCATION, 2)",
            ),
        ),
        test="test_loss.py::test_noise_does_not_depend_on_how_a_step_is_cut",
    ),
    Mutation(
        name="the loss counting unmasked tokens",
        file="objectives/masked_diffusion.py",
        changes=(
            ("asked=noised.masked", "asked=noised.counted"),
            ("(noised.weight * nll).sum()", "(scores.nll / noised.mask_probability)[noised.counted].sum()"),
        ),
        test="test_loss.py::test_the_loss_is_the_sum_over_hidden_tokens_of_nll_over_p",
    ),
    Mutation(
        name="wrong transfer counts",
        file="generation/remasking.py",
        changes=(
            (
                "return (base + 1,) * extra + (base,) * (steps - extra)",
                "return (base,) * (steps - 1) + (base + extra,)",
            ),
        ),
        test="test_sampler.py::test_every_step_keeps_its_share",
    ),
    Mutation(
        name="cache not refreshed",
        file="generation/canvas_readers.py",
        changes=(
            (
                "        if begins:\n            self._write_finished",
                "        if begins and index == 0:\n            self._write_finished",
            ),
        ),
        test="test_caches.py::test_of_blocks_the_cache_is_exact",
    ),
    Mutation(
        name="guidance sign",
        file="generation/denoising.py",
        changes=(("unprompted + (self._guidance_scale + 1.0) *", "unprompted - (self._guidance_scale + 1.0) *"),),
        test="test_sampler.py::test_the_whole_distribution[guided]",
    ),
)


def main() -> int:
    """Run all; 0 if every bug is seen."""
    sound = run_tests([mutation.test for mutation in MUTATIONS], ROOT / "src")
    if sound.returncode != 0:
        print(sound.stdout + sound.stderr)
        print("the tests fail without any bug put in; mend that first")
        return 1
    print(f"{'bug':<36}{'file':<36}{'':<10}test")
    verdicts = [verdict(mutation) for mutation in MUTATIONS]
    for mutation, (word, detail) in zip(MUTATIONS, verdicts, strict=True):
        print(f"{mutation.name:<36}{mutation.file:<36}{word:<10}{mutation.test}{detail}")
    caught = sum(word == "caught" for word, _ in verdicts)
    print(f"{caught} of {len(MUTATIONS)} caught")
    return 0 if caught == len(MUTATIONS) else 1


def verdict(mutation: Mutation) -> tuple[str, str]:
    """(a word, what else there is to say)."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        path = source / "hornbook" / mutation.file
        text = path.read_text(encoding="utf-8")
        for right, wrong in mutation.changes:
            if text.count(right) != 1:
                return "STALE", f": {right!r} stands {text.count(right)} times in {mutation.file}, expected once"
            text = text.replace(right, wrong)
        path.write_text(text, encoding="utf-8")
        done = run_tests([mutation.test], source)
    if done.returncode == 0:
        return "MISSED", ""
    said = [line for line in done.stdout.splitlines() if line.startswith(("E   assert ", "E   AssertionError"))]
    if done.returncode != 1 or not said:  # it fails, but not because a number is wrong
        return "BROKEN", ": the mutated code does not run\n" + done.stdout[-1500:]
    return "caught", ""


def run_tests(tests: list[str], source: Path) -> subprocess.CompletedProcess[str]:
    """Run tests of the suite on the package that lies in `source`."""
    ours = {name: value for name, value in os.environ.items() if name != "DIFFUSION_EXACTNESS"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "--tb=short", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"{SUITE}/{test}" for test in tests)],
        cwd=ROOT,
        env={**ours, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
