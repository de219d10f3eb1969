"""Every row is solved here once more, from its prompt; prompts differ, and the wrong answer is wrong."""

import itertools

import pytest
from pydantic import ValidationError

from hornbook.config.data import TasksSource
from hornbook.data.documents import SourceReport
from hornbook.data.sources import open_blocks
from hornbook.data.tasks import task_of, task_records, task_rows
from hornbook.errors import DataError

EVERY = ("reverse", "copy", "sort")


def letters(text: str) -> list[str]:
    return text.split(" ")


def solved(prompt: str) -> list[str]:
    title, _, word = prompt.partition(": ")
    given = letters(word)
    return {"Reverse": list(reversed(given)), "Copy": given, "Sort": sorted(given)}[title]


def test_the_answers_are_right_and_the_prompts_differ():
    source = TasksSource(tasks=EVERY, n_rows=3000, min_length=6, max_length=9)
    rows = list(task_rows(source))
    assert [row.task for row in rows] == list(itertools.islice(itertools.cycle(EVERY), 3000))
    assert all(letters(row.answer) == solved(row.prompt) for row in rows)
    assert len({row.prompt for row in rows}) == 3000
    assert {len(letters(row.answer)) for row in rows} == {6, 7, 8, 9}
    assert all(task_of(f"user\n{row.prompt}\nassistant\n") == row.task for row in rows)


def test_wrong_answers_have_the_right_letters_in_a_wrong_order():
    for row in task_rows(TasksSource(tasks=("reverse", "sort"), n_rows=1000)):
        assert row.wrong != row.answer
        assert sorted(letters(row.wrong)) == sorted(letters(row.answer))


def test_a_word_of_one_letter_has_a_wrong_answer_too():
    rows = list(task_rows(TasksSource(tasks=("copy",), n_rows=13, min_length=1, max_length=1)))
    assert all(len(row.wrong) == 1 and row.wrong != row.answer for row in rows)


def test_the_same_rows_every_time_and_fewer_are_the_first():
    source = TasksSource(tasks=EVERY, n_rows=200, seed=5)
    rows = list(task_rows(source))
    assert rows == list(task_rows(source))
    assert rows[:70] == list(task_rows(TasksSource(tasks=EVERY, n_rows=70, seed=5)))
    assert rows != list(task_rows(TasksSource(tasks=EVERY, n_rows=200, seed=6)))


def test_records():
    source = TasksSource(n_rows=3)
    rows = list(task_rows(source))
    assert [record["messages"] for record in task_records(source, "sft")] == [
        [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.answer}] for row in rows
    ]
    assert list(task_records(source, "dpo")) == [
        {"prompt": row.prompt, "chosen": row.answer, "rejected": row.wrong} for row in rows
    ]


@pytest.mark.parametrize("wanted", [None, 1, 4096, 5000])
def test_texts_for_pretraining(wanted):
    source, report = TasksSource(n_rows=5000), SourceReport()
    blocks = open_blocks(source, on_error="stop", report=report, max_documents=wanted)
    documents = [document for block in blocks for document in block.documents()]
    rows = list(itertools.islice(task_rows(source), wanted))
    assert [document.text.decode() for document in documents] == [f"{row.prompt} -> {row.answer}" for row in rows]
    assert [document.where for document in documents] == [f"tasks:{i}" for i in range(1, len(rows) + 1)]
    assert report.documents == len(rows)


def test_more_prompts_than_there_are_words():
    source = TasksSource(tasks=("sort", "copy"), n_rows=1112, min_length=1, max_length=3)
    with pytest.raises(DataError, match=r"n_rows = 1112.* at most 1,110"):
        next(task_rows(source))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_length": 11}, "min_length = 11 is more than max_length = 10"),
        ({"tasks": ("copy", "copy")}, 'names "copy" twice'),
        ({"tasks": ()}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValidationError, match=message):
        TasksSource(**settings)
