"""Small tasks with one right answer, for trying out tuning: reverse or copy a word, or sort its digits.

    pretrain    Reverse: q d k a z e -> e z a k d q
    sft         the user says "Reverse: q d k a z e", the assistant "e z a k d q"
    dpo         the same prompt; chosen "e z a k d q", rejected "e z k a d q", with two neighbours swapped

Characters stand apart because a byte-level BPE joins what stands together: of "qdkaze" it makes two or three tokens
that do not show their letters, and of its reverse others, so that the model would have to learn spelling first. Apart,
every letter is the token " d" wherever it stands (without the blank at the start of an answer), and what is left to
learn is the order. A wrong answer has the right characters and the right length, so that nothing but the order gives
it away.
"""

import string
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from hornbook.config.data import TasksSource
from hornbook.data.documents import Block, Gate
from hornbook.errors import DataError

TaskName = Literal["reverse", "copy", "sort"]

_BLOCK_ROWS = 4096


class _Task(NamedTuple):
    alphabet: str
    solve: Callable[[str], str]


_TASKS: Mapping[TaskName, _Task] = {
    "reverse": _Task(string.ascii_lowercase, lambda word: word[::-1]),
    "copy": _Task(string.ascii_lowercase, lambda word: word),
    "sort": _Task(string.digits, lambda word: "".join(sorted(word))),
}


class TaskRow(NamedTuple):
    """One prompt with the right answer and a wrong one."""

    task: TaskName
    prompt: str
    answer: str
    wrong: str


def task_rows(source: TasksSource) -> Iterator[TaskRow]:
    """`n_rows` rows of different prompts, the tasks by turns; fewer rows of the same source are the first of these.

    Lengths are drawn evenly from min_length to max_length, and characters evenly from a to z or 0 to 9.

    Raises:
        DataError: if there are not twice as many words as a task needs.
    """
    _check(source)
    rng = np.random.default_rng(source.seed)
    seen: dict[TaskName, set[str]] = {name: set() for name in source.tasks}
    for number in range(source.n_rows):
        name = source.tasks[number % len(source.tasks)]
        task, known = _TASKS[name], seen[name]
        while (word := _word(task.alphabet, source, rng)) in known:
            pass
        known.add(word)
        answer = task.solve(word)
        yield TaskRow(name, f"{name.capitalize()}: {_spelt(word)}", _spelt(answer), _spelt(_wrong(answer, task, rng)))


def task_records(source: TasksSource, stage: Literal["sft", "dpo"]) -> Iterator[dict[str, object]]:
    """The rows as records with the field `messages`, or with `prompt`, `chosen` and `rejected`.

    Raises:
        DataError: as `task_rows`.
    """
    for row in task_rows(source):
        if stage == "dpo":
            yield {"prompt": row.prompt, "chosen": row.answer, "rejected": row.wrong}
        else:
            said = (("user", row.prompt), ("assistant", row.answer))
            yield {"messages": [{"role": role, "content": content} for role, content in said]}


def task_blocks(source: TasksSource, gate: Gate) -> Iterator[Block]:
    """The rows as texts, for pretraining and for training a tokenizer: prompt, arrow, answer."""
    texts: list[bytes] = []
    for number, row in enumerate(task_rows(source), start=1):
        texts.append(f"{row.prompt} -> {row.answer}".encode())
        if len(texts) == _BLOCK_ROWS or number == source.n_rows:
            for part in gate.parts(len(texts)):
                first = number - len(texts) + 1 + part.start
                yield gate.block(texts[part], "tasks", range(first, first + part.stop - part.start))
            texts = []


def task_of(prompt: str) -> TaskName | None:
    """The task that a prompt sets, whatever a template puts around it; None for a text that sets none."""
    return next((name for name in _TASKS if f"{name.capitalize()}: " in prompt), None)


def _check(source: TasksSource) -> None:
    wanted = -(-source.n_rows // len(source.tasks))
    for name in source.tasks:
        n_words = sum(len(_TASKS[name].alphabet) ** n for n in range(source.min_length, source.max_length + 1))
        if 2 * wanted > n_words:
            raise DataError(
                f"data.source.n_rows = {source.n_rows}: {wanted:,} prompts of {name} among {n_words:,} words of "
                f"{source.min_length} to {source.max_length} characters, of which half may be asked for; raise "
                f"max_length, or lower n_rows to at most {n_words // 2 * len(source.tasks):,}"
            )


def _word(alphabet: str, source: TasksSource, rng: np.random.Generator) -> str:
    length = int(rng.integers(source.min_length, source.max_length + 1))
    return "".join(alphabet[place] for place in rng.integers(len(alphabet), size=length).tolist())


def _wrong(answer: str, task: _Task, rng: np.random.Generator) -> str:
    """Two unequal neighbours swapped; of equal characters alone, the last one replaced by the next."""
    places = [place for place in range(len(answer) - 1) if answer[place] != answer[place + 1]]
    if not places:
        return answer[:-1] + task.alphabet[(task.alphabet.index(answer[-1]) + 1) % len(task.alphabet)]
    place = places[int(rng.integers(len(places)))]
    return answer[:place] + answer[place + 1] + answer[place] + answer[place + 2 :]


def _spelt(word: str) -> str:
    return " ".join(word)
