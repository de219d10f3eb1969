"""`hornbook eval harness`: tasks of choices and of last words put to a checkpoint, by lm-eval or by ourselves."""

import hashlib
import time
from pathlib import Path

from hornbook.checkpoint.manifest import MODEL_FILE, MODEL_JSON, SHARDS_FOLDER, TOKENIZER_FOLDER, read_manifest
from hornbook.config.generate import EvalConfig
from hornbook.errors import ConfigError
from hornbook.evaluation.candidate import Candidate
from hornbook.evaluation.harness_card import HarnessCard
from hornbook.evaluation.multiple_choice import TaskResult, score_questions, whole_task
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.score_store import ScoreStore
from hornbook.evaluation.task_files import FORMS, read_task
from hornbook.evaluation.text_likelihood import TextLikelihood
from hornbook.storage.user_cache import user_cache


def evaluate_questions(
    candidate: Candidate, config: EvalConfig, *, store: ScoreStore | None = None, progress: ScoreProgress | None = None
) -> HarnessCard:
    """The card of a checkpoint on the tasks of config.harness; what is asked twice is scored once, and kept in `store`.

    Raises:
        ConfigError: if no task or no data is named, or a task is unknown.
        MissingExtraError: without lm-eval, unless config.harness.native.
        DataError: for files that are missing or damaged, and texts longer than the model's context.
        GenerationError: if the model gives NaN.
    """
    data, tasks = _checked(config)
    started = time.perf_counter()
    likelihood = TextLikelihood(candidate, config, store=store)
    if config.harness.native:
        results, scored_by = _native(likelihood, tasks, data, config.harness.limit, progress), "hornbook"
    else:
        from hornbook.evaluation.harness import evaluate_with_lm_eval, version_of_lm_eval

        results = evaluate_with_lm_eval(likelihood, config, tasks, data, progress=progress)
        scored_by = version_of_lm_eval()
    limit = "" if config.harness.limit is None else f", the first {config.harness.limit} of each file"
    return HarnessCard(
        tokenizer_fingerprint=candidate.tokenizer.fingerprint,
        checkpoint=candidate.checkpoint,
        step=candidate.step,
        data=f"{', '.join(results)} of {data}{limit}",
        seconds=time.perf_counter() - started,
        results=results,
        how=likelihood.how,
        scored_by=scored_by,
        requests=likelihood.asked,
        remembered=likelihood.remembered,
        contexts_cut=likelihood.cut,
    )


def _checked(config: EvalConfig) -> tuple[Path, list[str]]:
    """Where the files are, and the tasks, each once."""
    harness = config.harness
    unknown = [task for task in harness.tasks if task not in FORMS]
    if unknown or not harness.tasks:
        named = f"eval.harness.tasks: no task {unknown[0]!r}" if unknown else "no task: name one with --tasks"
        raise ConfigError(f"{named}; there are {', '.join(FORMS)}")
    if harness.data is None:
        raise ConfigError(f"where are the files of {', '.join(harness.tasks)}? name their directory: --data DIR")
    if not harness.data.exists():
        raise ConfigError(f"eval.harness.data = {harness.data}, which does not exist; name the directory of the files")
    if harness.data.is_file() and len(harness.tasks) > 1:
        raise ConfigError(f"eval.harness.data = {harness.data} is one file, of one task; name a directory for several")
    return harness.data, list(dict.fromkeys(harness.tasks))


def _native(
    likelihood: TextLikelihood, tasks: list[str], data: Path, limit: int | None, progress: ScoreProgress | None
) -> dict[str, list[TaskResult]]:
    files = [part for task in tasks for part in read_task(task, data, limit=limit)]
    found = score_questions(likelihood, files, progress=progress)
    results: dict[str, list[TaskResult]] = {}
    for task in tasks:
        parts = [result for part, result in zip(files, found, strict=True) if part.task == task]
        results[task] = parts if parts[0].name == task else [whole_task(task, parts), *parts]
    return results


def store_of(checkpoint: Path, candidate: Candidate, config: EvalConfig) -> ScoreStore | None:
    """What the checkpoint has answered before, by the digests of weights, shape and tokenizer; None if switched off.

    Raises:
        CheckpointError: if the checkpoint has no manifest.
    """
    if not config.harness.cache:
        return None
    digest = hashlib.sha256()
    for name, record in sorted(read_manifest(checkpoint).files.items()):
        if name.startswith((MODEL_FILE, MODEL_JSON, f"{TOKENIZER_FOLDER}/", f"{SHARDS_FOLDER}/")):
            digest.update(f"{name} {record.sha256}\n".encode())
    way = config.bound.model_dump_json(exclude={"prompt", "answer"}) if candidate.is_bound else "chain rule"
    digest.update(way.encode())
    return ScoreStore(user_cache() / "answers", digest.hexdigest()[:32])
