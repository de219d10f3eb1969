"""What the reference says of every pair, asked once before the first step and kept with the run.

    RUN/reference/
      reference.json        which weights, and of which data
      scores.safetensors    train, valid: (pairs, 2) log-probabilities of the chosen and the rejected answer, float32

A run that goes on reads them, and needs the reference itself no more. Every process scores its share.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from hornbook.checkpoint.tensors import read_tensors, write_tensors
from hornbook.config.run import Config
from hornbook.data.batch import PreferenceBatch
from hornbook.data.loader import Readable
from hornbook.data.shards import Place
from hornbook.distributed.process_group import Processes
from hornbook.errors import CheckpointError
from hornbook.models.transformer import Transformer
from hornbook.objectives.answer_scores import answer_scores
from hornbook.storage.atomic import commit_directory
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.tracker import Tracker
from hornbook.training.reading import Reading
from hornbook.training.reference import IDENTITY_FILE, Identity, identity_of, kind_of, load_reference, path_of
from hornbook.training.step import Learner

SCORES_FILE = "scores.safetensors"
Heard = Callable[[int, int], None]
"""Hears how many pairs this process has scored, of how many."""


class ScoredPairs:
    """Pairs with the reference's scores, (pairs, 2) in the pairs' own order."""

    def __init__(self, pairs: Readable[PreferenceBatch], scores: Float32[Tensor, "pairs 2"]) -> None:
        assert len(pairs) == len(scores)
        self.pairs = pairs
        self.scores = scores

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> PreferenceBatch:
        """Some of them as one batch, which knows them as the samples `sample_ids`."""
        return scored(self.pairs.batch(numbers, sample_ids), self.scores[list(numbers)])

    def place(self, number: int) -> Place:
        """Where the first token of one of them lies on disk."""
        return self.pairs.place(number)


def scored(batch: PreferenceBatch, scores: Float32[Tensor, "b 2"]) -> PreferenceBatch:
    """The batch with what the reference says of it."""
    return replace(batch, reference_chosen=scores[:, 0], reference_rejected=scores[:, 1])


def settle_reference(
    config: Config,
    learner: Learner[Any],
    reading: Reading,
    data_digest: str,
    run_dir: RunDir,
    processes: Processes,
    tracker: Tracker,
    *,
    tokens: int | None = None,
) -> None:
    """Remember which reference the run has, or see that it is the same as before; all processes call this.

    Where its scores are asked beforehand, the pairs of `reading` have them afterwards. `tokens`: as `load_reference`.

    Raises:
        CheckpointError: if the reference is gone, or it or the pairs have changed since the run began.
    """
    kind = kind_of(config)
    if kind not in ("copy", "precomputed"):
        return
    needs_scores = kind == "precomputed"
    if not processes.first(lambda: _is_kept(config, run_dir, data_digest, with_scores=needs_scores)):
        scores = None
        if needs_scores:
            model = load_reference(config, learner.model, tokens=tokens)
            heard = functools.partial(tracker.progress, "reference")
            scores = _score_all(learner, model, reading, processes, heard, chunk_tokens=config.train.nll_chunk_tokens)
        processes.first(lambda: _keep(config, run_dir, data_digest, scores))
    if needs_scores:
        _hand_out(read_tensors(run_dir.reference / SCORES_FILE), reading)


def _is_kept(config: Config, run_dir: RunDir, data_digest: str, *, with_scores: bool) -> bool:
    """Whether the run has its reference already, which is then checked as far as it still stands there."""
    file = run_dir.reference / IDENTITY_FILE
    known = Identity.read(file)
    if known is None:
        return False
    if not with_scores or path_of(config).exists():
        known.check_same(identity_of(config))
    if with_scores and json.loads(file.read_text(encoding="utf-8")).get("data") != data_digest:
        raise CheckpointError(
            f"{run_dir.reference}: the reference was asked about other pairs than those in data.path now; prepare the "
            "former ones, or start a new run"
        )
    return True


def _keep(config: Config, run_dir: RunDir, data_digest: str, scores: dict[str, Tensor] | None) -> None:
    content = {**asdict(identity_of(config)), "data": data_digest}
    with commit_directory(run_dir.reference, replace=True) as directory:
        if scores is not None:
            write_tensors(directory / SCORES_FILE, scores)
        (directory / IDENTITY_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _score_all(
    learner: Learner[Any],
    model: Transformer,
    reading: Reading,
    processes: Processes,
    heard: Heard,
    *,
    chunk_tokens: int,
) -> dict[str, Tensor]:
    """Scores of all pairs of both splits, on every process."""
    batches = reading.batches
    validated = [] if reading.held_out is None else reading.held_out.batches
    own = range(*(len(batches.samples) * rank // processes.world_size for rank in (processes.rank, processes.rank + 1)))
    total, done = len(own) + sum(batch.n_rows for batch in validated), 0

    def told(given: Iterable[PreferenceBatch]) -> Iterator[PreferenceBatch]:
        nonlocal done
        for batch in given:
            yield batch
            done += batch.n_rows
            heard(done, total)

    size = batches.micro_batch_size
    read = (batches.samples.batch(part, part) for part in (own[at : at + size] for at in range(0, len(own), size)))
    counted = torch.tensor(sum(batch.counted_rows() for batch in validated), device=learner.precision.device)
    given = {
        "train": (told(read), len(batches.samples)),
        "valid": (told(validated), int(learner.strategy.sum(counted))),
    }
    return {name: score_pairs(learner, model, each, n, chunk_tokens=chunk_tokens) for name, (each, n) in given.items()}


def score_pairs(
    learner: Learner[Any], model: Transformer, batches: Iterable[PreferenceBatch], n_pairs: int, *, chunk_tokens: int
) -> Float32[Tensor, "pairs 2"]:
    """What `model` says of each pair, at the place of its sample id; every process gives its share and has all."""
    device = learner.precision.device
    found = torch.zeros(n_pairs, 2, device=device)
    with torch.no_grad(), learner.precision.autocast(), model.computing_as(training=True):
        for batch in batches:
            places = batch.chosen.sample_ids.to(device)
            moved = batch.to(device)
            for column, answers in enumerate((moved.chosen, moved.rejected)):
                found[places, column] = answer_scores(model, answers, chunk_tokens=chunk_tokens).float()
    return learner.strategy.sum(found).cpu()


def _hand_out(scores: dict[str, Tensor], reading: Reading) -> None:
    reading.batches.samples = ScoredPairs(reading.batches.samples, scores["train"])
    if (held_out := reading.held_out) is not None:
        held_out.batches[:] = [scored(batch, scores["valid"][batch.chosen.sample_ids]) for batch in held_out.batches]
