"""Do the tests of many processes see bugs? python scripts/mutations_of_parallel.py

Sixteen bugs that public implementations of data parallel training have had, each a change of a line or a few, are put
one by one into a copy of src in a temporary directory. The test that is named beside each must pass without it and fail
with it; five of them are caught by `hornbook verify-parallel` itself. Prints the table, in a few minutes on two cores;
the exit status is 1 if a bug goes unseen or can no longer be put in.
"""

import sys

from seeded_bugs import ROOT, Mutation, see_all

VERIFY = "selftest/test_verify_parallel.py::test_two_processes_train_as_one_does"

MUTATIONS = (
    Mutation(
        name="unowned parameters keep their gradient",
        file="distributed/buckets.py",
        changes=(
            (
                "            bucket.work = None\n            for parameter in bucket.parameters:\n"
                "                parameter.grad = None\n        self._next, self._is_last",
                "            bucket.work = None\n        self._next, self._is_last",
            ),
        ),
        also=(
            (
                "distributed/ddp.py",
                "        self.buckets.forget()\n        optimizer.zero_grad(set_to_none=True)",
                "        self.buckets.forget()\n        for group in optimizer.param_groups:\n"
                '            for parameter in group["params"]:\n                if parameter in optimizer.state:\n'
                "                    parameter.grad = None",
            ),
        ),
        test="distributed/test_traps.py::test_a_skipped_step_leaves_nothing_behind[sharded]",
    ),
    Mutation(
        name="mean of means",
        file="training/step.py",
        changes=(
            (
                "        loss = share_of_loss(output.terms, weights)",
                "        own = learner.objective.weight(batch)\n"
                "        parts = [term / max(own[name], 1) for name, term in output.terms.items()]\n"
                "        loss = torch.stack(parts).sum() / (len(batches) * strategy.world_size)",
            ),
        ),
        test="training/test_step.py::test_one_target_and_a_hundred_are_a_hundred_and_one",
    ),
    Mutation(
        name="first micro-batch only",
        file="training/step.py",
        changes=(
            ("for index, batch in enumerate(batches):", "for index, batch in enumerate(batches[:1]):"),
            ("last=index == len(batches) - 1", "last=True"),
        ),
        test="training/test_step.py::test_every_cut_of_a_step_gives_the_same_gradient",
    ),
    Mutation(
        name="last bucket forgotten, as it is never full",
        file="distributed/buckets.py",
        changes=(("    done += [together for together in waiting.values() if together]\n", ""),),
        test=VERIFY,
    ),
    Mutation(
        name="parameters taken from the wrong owner",
        file="distributed/sharded_optimizer.py",
        changes=(("bucket.flat[place], owner, async_op=True", "bucket.flat[place], 0, async_op=True"),),
        test=VERIFY,
    ),
    Mutation(
        name="divided twice, by weights and by processes",
        file="distributed/buckets.py",
        changes=(
            (
                "            self.work.wait()\n",
                "            self.work.wait()\n        self.flat[: self.tail] /= dist.get_world_size()\n",
            ),
        ),
        test=VERIFY,
    ),
    Mutation(
        name="buffers not sent at the start",
        file="distributed/ddp.py",
        changes=(
            (
                "send_from_first([*model.parameters(), *model.buffers()])",
                "send_from_first(list(model.parameters()))",
            ),
        ),
        test="distributed/test_traps.py::test_everybody_begins_with_the_first_ones_buffers",
    ),
    Mutation(
        name="clipping by the norm of one's own share",
        file="distributed/ddp.py",
        changes=(
            (
                "        return clip_gradients(model, max_norm)",
                "        foreign = set() if self.shards is None else self.shards.foreign\n"
                "        own = nn.ParameterList([each for each in model.parameters() if each not in foreign])\n"
                "        return clip_gradients(own, max_norm)",
            ),
        ),
        test=VERIFY,
    ),
    Mutation(
        name="gradient lost where only others use it",
        file="distributed/buckets.py",
        changes=(
            ("                    self.parameters[index].grad = self.views[index]", "                    continue"),
        ),
        test="distributed/test_traps.py::test_who_uses_a_parameter_changes_from_step_to_step",
    ),
    Mutation(
        name="every micro-batch sent: early ones twice",
        file="distributed/buckets.py",
        changes=(
            (
                '        assert not self.is_summed, "gradients are complete: zero_grad begins the next step"\n'
                "        self._is_last = last\n",
                "        self._is_last, self._next = True, 0\n"
                "        for bucket in self.buckets:\n"
                "            if bucket.work is not None:\n"
                "                bucket.work.wait()\n"
                "            bucket.work = None\n",
            ),
        ),
        test="distributed/test_ddp.py::test_sums_start_in_one_order_and_only_with_the_last_micro_batch[2]",
    ),
    Mutation(
        name="flags not agreed on",
        file="distributed/ddp.py",
        changes=(("return agreed(self.processes, flags)", "return flags"),),
        test="distributed/test_traps.py::test_what_one_wants_all_do",
    ),
    Mutation(
        name="metrics averaged, not summed by weight",
        file="training/metrics.py",
        changes=(
            (
                "strategy.sum(torch.stack(columns)).tolist()",
                "(strategy.sum(torch.stack([\n"
                '        pair if name == "loss" else torch.stack([pair[0] / pair[1], torch.ones_like(pair[1])])\n'
                "        for name, pair in zip(names, columns, strict=True)\n"
                "    ])).tolist())",
            ),
        ),
        test="distributed/test_traps.py::test_metrics_are_means_over_all_tokens",
    ),
    Mutation(
        name="every rank reads the same rows",
        file="data/loader.py",
        changes=(("(k * self.world_size + rank) * size", "k * self.world_size * size"),),
        test="data/test_loader.py::test_ranks_and_micro_batches_share_out_the_step",
    ),
    Mutation(
        name="updated parameters not sent round",
        file="distributed/ddp.py",
        changes=(
            (
                "            self.shards.update(optimizer)\n            self.shards.share()\n",
                "            self.shards.update(optimizer)\n",
            ),
        ),
        test=VERIFY,
    ),
    Mutation(
        name="optimizer state saved by index",
        file="distributed/sharded_optimizer.py",
        changes=(
            (
                'dict(sorted(tensors.items(), key=lambda item: order[item[0].rpartition("/")[0]]))',
                'dict(zip(sorted(tensors, key=lambda name: order[name.rpartition("/")[0]]), tensors.values()))',
            ),
        ),
        test="distributed/test_ddp.py::test_shards_change_no_bit_and_share_the_memory[2]",
    ),
    Mutation(
        name="dropout by rank, not by micro-batch",
        file="training/step.py",
        changes=(
            (
                "micro_batch=index * strategy.world_size + strategy.rank",
                "micro_batch=strategy.rank * len(batches) + index",
            ),
        ),
        test="distributed/test_traps.py::test_dropout_belongs_to_the_micro_batch",
    ),
)


if __name__ == "__main__":
    sys.exit(see_all(MUTATIONS, ROOT / "tests"))
