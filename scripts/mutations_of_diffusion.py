"""Does the exactness suite see bugs? python scripts/mutations_of_diffusion.py

Ten bugs that public implementations of masked diffusion have had, each a change of one line or two, are put one by one
into a copy of src in a temporary directory. The test that is named beside each must pass without it and fail with it.
Prints the table; the exit status is 1 if a bug goes unseen or can no longer be put in.
"""

import sys

from seeded_bugs import ROOT, Mutation, see_all

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


if __name__ == "__main__":
    sys.exit(see_all(MUTATIONS, ROOT / "tests" / "diffusion_exactness", without=["DIFFUSION_EXACTNESS"]))
