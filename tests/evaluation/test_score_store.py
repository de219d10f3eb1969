"""Answers that are kept: found again, never more than a help."""

import os
import sqlite3
import time

from hornbook.evaluation.requests import Likelihood
from hornbook.evaluation.score_store import KEPT_DAYS, ScoreStore

A, B = b"a" * 16, b"b" * 16
ANSWERS = {A: Likelihood(-1.25, True), B: Likelihood(-7.0, False)}


def test_what_is_kept_is_found_by_the_next_process(tmp_path):
    ScoreStore(tmp_path, "one").keep(ANSWERS)
    assert ScoreStore(tmp_path, "one").find([A, B, b"c" * 16]) == ANSWERS
    assert ScoreStore(tmp_path, "one").find([B]) == {B: ANSWERS[B]}
    assert ScoreStore(tmp_path, "two").find([A, B]) == {}


def test_a_damaged_file_is_begun_anew(tmp_path):
    store = ScoreStore(tmp_path, "one")
    store.keep(ANSWERS)
    store.path.write_bytes(b"no database" * 100)
    again = ScoreStore(tmp_path, "one")
    assert (again.find([A]), again.problem) == ({}, None)
    again.keep(ANSWERS)
    assert ScoreStore(tmp_path, "one").find([A, B]) == ANSWERS


def test_a_file_of_other_columns_is_begun_anew(tmp_path):
    path = ScoreStore(tmp_path, "one").path
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE answers (something TEXT)")
    file.close()
    again = ScoreStore(tmp_path, "one")
    again.keep(ANSWERS)
    assert again.find([A, B]) == ANSWERS


def test_a_file_that_another_process_holds_is_left_alone(tmp_path, monkeypatch):
    store = ScoreStore(tmp_path, "one")
    store.keep(ANSWERS)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, timeout=0.01))
    other = connect(store.path)
    other.execute("BEGIN EXCLUSIVE")
    assert store.find([A]) == {}
    assert "locked" in store.problem
    other.close()
    assert ScoreStore(tmp_path, "one").find([A]) == {A: ANSWERS[A]}


def test_where_nothing_can_be_kept_all_is_asked_again(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = ScoreStore(tmp_path / "file", "one")
    store.keep(ANSWERS)
    assert store.find([A]) == {}
    assert str(tmp_path / "file") in store.problem


def test_what_nobody_asked_for_in_long_is_deleted(tmp_path):
    old, new = (ScoreStore(tmp_path, name) for name in ("old", "new"))
    for store in (old, new):
        store.keep(ANSWERS)
    old, new = old.path, new.path
    past = time.time() - (KEPT_DAYS + 1) * 24 * 3600
    os.utime(old, (past, past))
    ScoreStore(tmp_path, "another")
    assert (old.exists(), new.exists()) == (False, True)
