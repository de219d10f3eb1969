"""A mixture gives every step its proportions, at any number of processes, and is made of what its parts would read."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest

from hornbook.config.data import DataConfig, TextSource
from hornbook.data.loader import StepBatches, WindowSamples
from hornbook.data.mixture import Mixture
from hornbook.data.order import SampleOrder
from hornbook.data.prepare import prepare
from hornbook.errors import DataError
from hornbook.tokenizer.tokenizer import Tokenizer

LENGTH = 8
KINDS = ("shuffled", "sequential", "distributed")


def words(letter: str, count: int) -> str:
    return "".join(f"{letter} the cat sat on {letter} mat.\n" for _ in range(count))


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tokenizer):
    """Three data sets of different lengths: a, b, c."""
    root = tmp_path_factory.mktemp("mixture")
    for letter, count in (("a", 60), ("b", 200), ("c", 25)):
        (root / f"{letter}.txt").write_text(words(letter, count))
        source = TextSource(paths=(root / f"{letter}.txt",), document_separator="line")
        prepare(DataConfig(path=root / letter, source=source, split="position", valid_fraction=0.2), tokenizer)
    return root


def mix(root, names="abc", weights=(5.0, 2.0, 3.0)) -> Mixture:
    return Mixture.open(DataConfig(mixture=tuple(root / name for name in names), weights=weights))


def reading(mixture, kind="shuffled", rows=12):
    return mixture.reading(context_length=LENGTH, lookahead=1, stride=LENGTH, seed=5, kind=kind, rows=rows)


def batches(mixture, kind="shuffled", **shape) -> StepBatches:
    windows, order = reading(mixture, kind)
    return StepBatches(WindowSamples(windows), order, **{"samples_per_step": 12, "micro_batch_size": 2, **shape})


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_reads_its_windows_as_it_would_alone(parts, kind):
    """The samples of a part, in their order, are the windows of that part's own order, epoch after epoch."""
    mixture = mix(parts)
    windows, order = reading(mixture, kind)
    read: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for sample in range(400):
        part, window = order.locate(sample)
        read[part].append(window)
        assert np.array_equal(windows[order.window(sample)], windows.sets[part][window])
    for part, found in read.items():
        n_windows, lanes = len(windows.sets[part]), round(12 * mixture.proportions.shares[part])
        alone = SampleOrder(n_windows, seed=5, kind=kind, lanes=lanes)
        assert found == [alone.window(sample) for sample in range(len(found))]
        passes = len(found) // n_windows
        counted = Counter(found[: passes * n_windows])
        assert passes == 0 or (set(counted.values()), len(counted)) == ({passes}, n_windows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_the_same_at_any_number_of_processes_even_after_it_changed(parts, kind):
    """1 -> 2 -> 3 -> 1 processes: each step has the samples of an unbroken single run, each once."""
    mixture = mix(parts)
    single = batches(mixture, kind)
    for step, world_size in enumerate([1, 1, 2, 2, 3, 3, 1]):
        wanted = {
            int(sample): row.tolist()
            for batch in single.step(step)
            for sample, row in zip(batch.sample_ids, batch.tokens, strict=True)
        }
        ranks = [batches(mixture, kind, rank=rank, world_size=world_size).step(step) for rank in range(world_size)]
        found = [
            (int(sample), row.tolist())
            for batch in itertools.chain(*ranks)
            for sample, row in zip(batch.sample_ids, batch.tokens, strict=True)
        ]
        assert sorted(sample for sample, _ in found) == sorted(wanted)
        assert dict(found) == wanted


def test_steps_have_the_proportions_and_what_is_told_is_what_was_read(parts):
    """5 : 2 : 3 of 12 rows are 6, 2.4 and 3.6; counted by the files that the rows come from."""
    mixture = mix(parts)
    source = batches(mixture)
    seen: Counter[str] = Counter()
    for step in range(20):
        here = Counter(row.shard.split("/")[-2] for row in source.rows(step))
        assert here["a"] in (5, 6, 7)
        assert here["b"] in (1, 2, 3, 4)
        assert here["c"] in (2, 3, 4, 5)
        seen += here
        assert [seen[name] for name in "abc"] == mixture.proportions.counts((step + 1) * 12)
    assert [seen[name] / 240 for name in "abc"] == [0.5, 0.2, 0.3]
    order = source.order
    sizes = map(len, source.samples.windows.sets)
    assert order.epochs(240) == [count / size for count, size in zip((120, 48, 72), sizes, strict=True)]


def test_a_mixture_of_one_is_the_data_set(parts):
    one, plain = mix(parts, "b", (3.0,)), Mixture.open(DataConfig(path=parts / "b"))
    assert one.digest == plain.digest == plain.datasets[0].digest
    assert one.words == plain.words == str(parts / "b")
    left, right = batches(one), batches(plain)
    alone = SampleOrder(len(left.samples), seed=5)
    assert [left.order.window(sample) for sample in range(300)] == [alone.window(sample) for sample in range(300)]
    assert left.rows(3) == right.rows(3)


def test_content_and_order_of_the_parts_make_the_digest(parts):
    digests = {mix(parts, names).digest for names in ("abc", "acb", "bca")}
    assert len(digests) == 3
    assert mix(parts, "abc", (1.0, 1.0, 1.0)).digest == mix(parts).digest  # weights are settings, not content


def test_validation_windows_have_the_proportions(parts):
    mixture = mix(parts, "ab", (1.0, 3.0))
    held_out = mixture.held_out(context_length=LENGTH, lookahead=1, n_windows=8, batch_size=3)
    rows = Counter[str]()
    ids = []
    for part, batch in zip(held_out.parts, held_out.batches, strict=True):
        rows[part] += batch.n_rows
        ids += batch.sample_ids.tolist()
    assert rows == {"a": 2, "b": 6}
    assert sorted(ids) == list(range(8))
    assert held_out.batches[0].sample_ids.tolist() == [1, 5]  # spread over all, so noise by number is spread as well
    assert held_out.remark is None


def test_a_short_validation_split_shrinks_the_set_and_says_so(parts):
    mixture = mix(parts, "cb", (1.0, 1.0))
    held_out = mixture.held_out(context_length=LENGTH, lookahead=1, n_windows=1000, batch_size=4)
    rows = Counter[str]()
    for part, batch in zip(held_out.parts, held_out.batches, strict=True):
        rows[part] += batch.n_rows
    assert rows["b"] in (rows["c"] - 1, rows["c"])
    assert held_out.remark is not None
    assert f"validation takes {rows.total()} windows instead of" in held_out.remark
    assert held_out.remark.endswith("split of c is too short")


def test_names_are_told_apart(tmp_path, parts):
    copy = tmp_path / "a"
    copy.symlink_to(parts / "a")
    config = DataConfig(mixture=(parts / "a", copy), weights=(1.0, 1.0))
    assert mix(parts).names == ["a", "b", "c"]
    assert Mixture.open(config).names == [str(parts / "a"), str(copy)]


def test_every_part_must_fit_the_tokenizer(tmp_path, parts, letters):
    (tmp_path / "d.txt").write_text("abc abc abc abc\n" * 20)
    source = TextSource(paths=(tmp_path / "d.txt",), document_separator="line")
    prepare(DataConfig(path=tmp_path / "d", source=source, end_of_text=False), letters)
    mixture = Mixture.open(DataConfig(mixture=(parts / "a", tmp_path / "d"), weights=(1.0, 1.0)))
    assert isinstance(mixture.tokenizer(), Tokenizer)
    assert mixture.tokenizer().fingerprint == mixture.datasets[0].tokenizer_fingerprint  # the larger one
    with pytest.raises(DataError, match=r"d: made with another tokenizer"):
        mixture.check_tokenizer(mixture.tokenizer())


def test_a_part_without_validation_is_named(tmp_path, parts, tokenizer):
    source = TextSource(paths=(parts / "a.txt",), document_separator="line")
    prepare(DataConfig(path=tmp_path / "none", source=source, valid_fraction=0.0), tokenizer)
    mixture = Mixture.open(DataConfig(mixture=(parts / "a", tmp_path / "none"), weights=(1.0, 1.0)))
    with pytest.raises(DataError, match="none: no split 'valid'"):
        mixture.held_out(context_length=LENGTH, lookahead=1, n_windows=8, batch_size=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixture": ("a", "b"), "weights": (1.0,)}, "weights has 1 numbers for the 2 data sets of mixture"),
        ({"weights": (1.0,)}, "weights has 1 numbers for the 0 data sets"),
        ({"mixture": ("a", "b", "a"), "weights": (1.0, 1.0, 2.0)}, "mixture names a twice"),
        ({"mixture": ("a",), "weights": (0.0,)}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_meant(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate_json(json.dumps(settings))
