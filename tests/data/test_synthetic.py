"""The entropy rate is what an independent computation gives, and what the text itself shows."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from hornbook.config.data import SyntheticSource
from hornbook.data.synthetic import MarkovSource
from hornbook.errors import DataError


def entropy_by_enumeration(source: MarkovSource, size: int) -> float:
    """H(X_0 .. X_{size-1}): every string is enumerated, with the law of its first symbols from `lstsq`.

    The stationary law is the null vector of P - 1, by linear algebra on the explicit matrix over contexts.
    """
    n, order = source.config.n_symbols, source.config.order
    contexts = list(itertools.product(range(n), repeat=order))
    matrix = np.zeros((len(contexts), len(contexts)))
    for i, context in enumerate(contexts):
        for symbol in range(n):
            matrix[i, contexts.index((*context[1:], symbol))] += source.transitions[i, symbol]
    system = np.vstack([matrix.T - np.eye(len(contexts)), np.ones(len(contexts))])
    stationary = np.linalg.lstsq(system, np.append(np.zeros(len(contexts)), 1.0), rcond=None)[0]

    law = Counter()
    for string in itertools.product(range(n), repeat=max(size, order)):
        p = stationary[contexts.index(string[:order])]
        for at in range(order, size):
            p *= source.transitions[contexts.index(string[at - order : at]), string[at]]
        law[string[:size]] += p
    return -sum(p * math.log(p) for p in law.values())


@pytest.mark.parametrize(("order", "n_symbols"), [(1, 2), (1, 5), (2, 3), (3, 2)])
def test_entropy_rate_equals_enumeration(order, n_symbols):
    """H(X_n | past) equals the rate for every n >= order, for a stationary chain; float64 sums of ~100 terms."""
    source = MarkovSource(SyntheticSource(order=order, n_symbols=n_symbols, seed=3))
    for length in (order, order + 1):
        conditional = entropy_by_enumeration(source, length + 1) - entropy_by_enumeration(source, length)
        assert source.entropy_rate_nats == pytest.approx(conditional, abs=1e-12)


@pytest.mark.parametrize(("order", "n_symbols"), [(1, 3), (2, 3), (3, 2)])
def test_entropy_of_a_window_equals_enumeration(order, n_symbols):
    source = MarkovSource(SyntheticSource(order=order, n_symbols=n_symbols, seed=4))
    for size in (1, 2, 3, 5):
        assert source.entropy_nats(size) == pytest.approx(entropy_by_enumeration(source, size), abs=1e-12)


def test_the_text_shows_its_entropy_rate():
    """400,000 symbols of an order-1 chain give its entropy back: n (n - 1) / 2N of bias, about 1 / sqrt(N) of noise."""
    source = MarkovSource(SyntheticSource(order=1, n_symbols=6, n_documents=400, document_length=1000, seed=1))
    pairs, firsts = Counter(), Counter()
    for text in source.documents():
        pairs.update(itertools.pairwise(text))
        firsts.update(text[:-1])
    n = sum(pairs.values())
    found = -sum(count / n * math.log(count / firsts[pair[0]]) for pair, count in pairs.items())
    assert found == pytest.approx(source.entropy_rate_nats, abs=5 / math.sqrt(n) + 30 / (2 * n))


def test_documents_begin_stationary():
    """The very first symbol follows the stationary law: chi-square over 20,000 documents, 5 degrees of freedom."""
    source = MarkovSource(SyntheticSource(order=1, n_symbols=6, n_documents=20_000, document_length=1, seed=2))
    counts = Counter(text[0] for text in source.documents())
    expected = source.stationary * 20_000
    found = np.array([counts[ord("a") + i] for i in range(6)])
    assert ((found - expected) ** 2 / expected).sum() < 5 + 6 * math.sqrt(10)


def test_uniform_limit():
    """A very large concentration makes every row uniform: log n nats."""
    source = MarkovSource(SyntheticSource(order=1, n_symbols=8, concentration=1e9))
    assert source.entropy_rate_nats == pytest.approx(math.log(8), abs=1e-6)


def test_documents_are_what_was_asked_for(read):
    config = SyntheticSource(n_symbols=90, order=1, n_documents=300, document_length=50, seed=4)
    documents, report = read(config)
    assert report.documents == 300
    assert all(len(d.text) == 50 and d.text.isascii() and d.text.decode().isprintable() for d in documents)
    assert [d.text for d in documents] == list(MarkovSource(config).documents())
    assert documents[2].where == "synthetic:3"
    other = config.model_dump() | {"seed": 5}
    assert next(MarkovSource(SyntheticSource(**other)).documents()) != documents[0].text


def test_documents_shorter_than_the_order():
    texts = list(MarkovSource(SyntheticSource(order=3, n_symbols=4, n_documents=5, document_length=2)).documents())
    assert [len(text) for text in texts] == [2] * 5


def test_a_table_that_is_too_large():
    with pytest.raises(DataError, match=r"lower data\.source.order or data\.source.n_symbols"):
        MarkovSource(SyntheticSource(order=3, n_symbols=90))
