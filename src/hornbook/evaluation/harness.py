"""A checkpoint as a model of lm-eval (EleutherAI's lm-evaluation-harness), and the tasks that are shipped with it.

    model = HarnessModel(TextLikelihood(candidate, config), config)
    lm_eval.evaluator.evaluate(model, task_manager(data).load(["blimp"]))

The shipped tasks (tasks/*.yaml) read local files by `hornbook.evaluation.task_files`; nothing is fetched. This module
imports lm-eval, so whoever needs it imports it late.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbook.config.generate import EvalConfig, GenerateConfig
from hornbook.errors import MissingExtraError
from hornbook.evaluation.multiple_choice import TaskResult
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.task_files import FORMS, read_task
from hornbook.evaluation.text_likelihood import TextLikelihood
from hornbook.generation.engines import Engines
from hornbook.generation.text import generate_text

try:
    from lm_eval import evaluator
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager
except ImportError:
    raise MissingExtraError("`hornbook eval harness` without --native", package="lm-eval", extra="eval") from None

if TYPE_CHECKING:
    from datasets import Dataset

TASKS = Path(__file__).parent / "tasks"
"""The folder of task files, for lm-eval's include_path."""
LONGEST_ANSWER = 256
"""Tokens that `generate_until` makes where a task does not say how many."""


class HarnessModel(LM):  # type: ignore[misc]  # lm-eval has no types
    """What lm-eval asks of a model, by the likelihoods and the decoder of a checkpoint of ours."""

    def __init__(
        self, likelihood: TextLikelihood, config: EvalConfig, *, progress: ScoreProgress | None = None
    ) -> None:
        super().__init__()
        self._likelihood = likelihood
        self._config = config
        self._progress = progress

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-probability, whether it is what the model would say) of each continuation after its context.

        Of a diffusion model the log-probability is a bound: at least that.
        """
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        answers = self._likelihood(pairs, progress=self._progress)
        return [(answer.log_probability, answer.is_greedy) for answer in answers]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The log-probability of each text, every token of it scored once."""
        return self._likelihood.whole([str(request.args[0]) for request in requests], progress=self._progress)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """A text after each context, greedy unless the task samples, up to one of its stops."""
        by_settings: dict[str, tuple[GenerateConfig, list[int]]] = {}
        for place, request in enumerate(requests):
            settings = self._settings(request.args[1])
            by_settings.setdefault(settings.model_dump_json(), (settings, []))[1].append(place)
        texts = [""] * len(requests)
        engines, size = Engines(), self._config.batch_size
        for settings, places in by_settings.values():
            for first in range(0, len(places), size):
                batch = places[first : first + size]
                made = self._generate([str(requests[place].args[0]) for place in batch], settings, engines)
                for place, text in zip(batch, made, strict=True):
                    texts[place] = text
        return texts

    def _settings(self, asked: Mapping[str, Any]) -> GenerateConfig:
        """Settings of lm-eval in our words."""
        until = asked.get("until", ())
        stop = tuple(text for text in ([until] if isinstance(until, str) else until) if text)
        room = self._likelihood.candidate.model.config.context_length
        longest = min(int(asked.get("max_gen_toks", LONGEST_ANSWER)), room - 1)
        drawn = {name: asked[name] for name in ("temperature", "top_k", "top_p") if name in asked}
        sampled = bool(asked.get("do_sample", drawn.get("temperature", 0) > 0))
        values = drawn if sampled else {"temperature": 0.0}
        return GenerateConfig.model_validate({**values, "max_new_tokens": longest, "stop": stop})

    def _generate(self, contexts: Sequence[str], settings: GenerateConfig, engines: Engines) -> list[str]:
        candidate, encode = self._likelihood.candidate, self._likelihood.encode
        room = candidate.model.config.context_length - settings.max_new_tokens
        prompts = [[*encode.start, *candidate.tokenizer.encode(context)][-room:] for context in contexts]
        made = generate_text(
            candidate.model, candidate.tokenizer, prompts, settings, objective=candidate.objective, engines=engines
        )
        return [each.text for each in made]


def dataset(form: str, data: str, limit: int | None = None, **_: object) -> "dict[str, Dataset]":
    """What the task files name as their data: {"test": documents} of task `form` in `data`; lm-eval calls it.

    `data` and `limit` come from lm-eval's metadata: --metadata '{"data": "DIR"}' on its own command line.
    """
    from datasets import Dataset

    rows = [
        {"part": part.name, "query": query, "choices": list(choices), "gold": gold, "target": choices[gold]}
        for part in read_task(form, Path(data), limit=limit)
        for query, choices, gold in part.documents
    ]
    return {"test": Dataset.from_list(rows)}


def task_manager(data: Path, *, limit: int | None = None) -> TaskManager:
    """lm-eval's manager of the shipped tasks alone, whose files lie in `data`."""
    return TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"data": str(data), "limit": limit})


def evaluate_with_lm_eval(
    likelihood: TextLikelihood,
    config: EvalConfig,
    tasks: Sequence[str],
    data: Path,
    *,
    progress: ScoreProgress | None = None,
) -> dict[str, list[TaskResult]]:
    """{task: its result, and those of its parts if it has several} as lm-eval computes them.

    Raises:
        DataError, GenerationError, TokenizerError: as the native scorer.
    """
    model = HarnessModel(likelihood, config, progress=progress)
    with _quiet():
        loaded = task_manager(data, limit=config.harness.limit).load(list(tasks))
        found = evaluator.evaluate(model, loaded, bootstrap_iters=0, log_samples=True)
    results = {}
    for task in tasks:
        samples, numbers = found["samples"][task], found["results"][task]
        whole = {metric: float(numbers[f"{metric},none"]) for metric in FORMS[task].metrics}
        results[task] = [TaskResult(task, len(samples), whole), *_parts(task, samples)]
    return results


def _parts(task: str, samples: Sequence[Mapping[str, Any]]) -> list[TaskResult]:
    """Results by file, of the metrics that lm-eval found for each document."""
    by_part: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_part.setdefault(sample["doc"]["part"], []).append(sample)
    if list(by_part) == [task]:
        return []
    return [
        TaskResult(
            name, len(own), {metric: sum(one[metric] for one in own) / len(own) for metric in FORMS[task].metrics}
        )
        for name, own in sorted(by_part.items())
    ]


def version_of_lm_eval() -> str:
    """Of the package that is installed."""
    return f"lm-eval {version('lm-eval')}"


@contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval tells much while it reads tasks, and draws bars of its own; here only errors of it are heard."""
    import datasets

    logger = logging.getLogger("lm_eval")
    level, bars = logger.level, datasets.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
