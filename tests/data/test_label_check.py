"""Suspicious labels are found: against a walk token by token, and document by document of a whole split."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.data import label_check
from hornbook.data.label_check import Fault, check_split, faults
from hornbook.data.loss_mask import LossMaskWriter
from hornbook.data.shards import ShardWriter, TokenStream

STOP, CONTROL = 9, (8, 9)
document = st.lists(st.tuples(st.sampled_from([1, 2, 8, 9]), st.booleans()), min_size=1, max_size=9)


def walked(documents: list[list[tuple[int, bool]]]) -> list[Fault]:
    """One token after another."""
    found, at = [], 0
    for tokens in documents:
        if not any(trained for _, trained in tokens):
            found.append(Fault("nothing_trained", at))
        has_stop = False
        for place, (token, trained) in enumerate(tokens):
            following = tokens[place + 1] if place + 1 < len(tokens) else None
            if trained:
                has_stop |= token == STOP
                if following is None or not following[1]:
                    if not has_stop and following is not None and following[0] == STOP:
                        found.append(Fault("untrained_stop", at + place + 1))
                    elif not has_stop:
                        found.append(Fault("cut_answer", at + place))
                    has_stop = False
            if following is not None and token == following[0] in CONTROL and not (trained and following[1]):
                found.append(Fault("double_control", at + place + 1))
        at += len(tokens)
    return found


def flat(documents: list[list[tuple[int, bool]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tokens, trained = np.array([pair for one in documents for pair in one]).T
    starts = np.cumsum([0, *map(len, documents[:-1])])
    return tokens, trained.astype(bool), starts


@settings(max_examples=60)
@given(st.lists(document, min_size=1, max_size=5))
def test_faults_are_those_of_a_walk(documents):
    found = faults(*flat(documents), stop_id=STOP, control_ids=CONTROL)
    assert sorted(found) == sorted(walked(documents))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([(8, False), (1, True), (9, True), (2, False)], []),
        ([(8, False), (1, True), (9, True), (9, True), (9, True)], []),  # end-of-text tokens that are trained
        ([(8, False), (1, True), (9, False)], [Fault("untrained_stop", 2)]),
        ([(8, False), (1, True)], [Fault("cut_answer", 1)]),
        ([(8, False), (1, False)], [Fault("nothing_trained", 0)]),
        ([(8, False), (8, False), (9, True)], [Fault("double_control", 1)]),
    ],
)
def test_each_kind(document, expected):
    assert faults(*flat([document]), stop_id=STOP, control_ids=CONTROL) == expected


def test_nothing_is_asked_of_no_tokens_or_of_text():
    assert faults(np.array([], int), np.array([], bool), np.array([], int), stop_id=STOP, control_ids=CONTROL) == []
    text = np.array([1, 2, 1]), np.ones(3, bool), np.array([0])
    assert faults(*text, stop_id=None, control_ids=CONTROL) == []


@settings(max_examples=30)
@given(st.lists(document, min_size=1, max_size=9), st.integers(1, 12))
def test_a_split_is_looked_at_in_blocks_of_any_size(tmp_path_factory, documents, block):
    directory = tmp_path_factory.mktemp("split")
    tokens, trained, starts = flat(documents)
    with ShardWriter(directory, "train", dtype="uint16", shard_tokens=64) as writer:
        writer.append(tokens, np.array([len(one) for one in documents]), 0)
        index = writer.finish()
    mask = LossMaskWriter(directory, "train")
    mask.append(trained)
    index = dataclasses.replace(index, loss_mask_sha256=mask.finish())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_check, "_BLOCK_TOKENS", block)
        seen = check_split(TokenStream(directory, "train", index), stop_id=STOP, control_ids=CONTROL)
    assert seen.lengths.tolist() == [len(one) for one in documents]
    assert seen.n_trained == trained.sum()
    by_document = {number: {fault.kind for fault in walked([one])} for number, one in enumerate(documents)}
    for kind in label_check.FAULTS:
        own = [number for number, kinds in by_document.items() if kind in kinds]
        assert seen.faults.get(kind, 0) == len(own)
        assert seen.first.get(kind) == (own[0] if own else None)
    assert len(starts) == len(documents)
