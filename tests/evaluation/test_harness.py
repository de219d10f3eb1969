"""Our own scorer and lm-eval come to the same numbers, whatever the model; BLiMP gives the published model's."""

import importlib
import json
import math
import random

import pytest
import torch

from data_paths import needs
from hornbook.config.generate import EvalConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import DataError
from hornbook.evaluation.candidate import Candidate
from hornbook.evaluation.harness_card import HarnessCard
from hornbook.evaluation.questions import evaluate_questions
from hornbook.evaluation.task_files import FORMS
from hornbook.evaluation.text_likelihood import TextLikelihood
from hornbook.interop.hf import load_hf_directory
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import WORDS

OBJECTIVES = {"next_token": {"kind": "next_token"}, "masked_diffusion": {"kind": "masked_diffusion"}}


def sentence(rng: random.Random, least: int = 2, most: int = 6) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few hundred questions in the forms that are published."""
    root, rng = tmp_path_factory.mktemp("tasks"), random.Random(0)

    def write(name: str, rows: list[dict]) -> None:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    for part in ("islands", "agreement"):
        pairs = [{"sentence_good": sentence(rng), "sentence_bad": sentence(rng)} for _ in range(60)]
        pairs[7]["sentence_bad"] = pairs[7]["sentence_good"]  # a tie, which the first choice wins
        write(f"blimp/{part}.jsonl", pairs)
    write(
        "hellaswag.jsonl",
        [
            {
                "activity_label": "Día",
                "ctx_a": f"{sentence(rng)} [step] .",
                "ctx_b": sentence(rng, 1, 3),
                "endings": [f"{sentence(rng, 1, 9)} é"[: rng.randint(6, 60)] for _ in range(4)],
                "label": str(rng.randrange(4)),
            }
            for _ in range(60)
        ],
    )
    write(
        "arc_easy.jsonl",
        [
            {"query": f"Question: {sentence(rng)}", "choices": [sentence(rng, 1, 4) for _ in range(n)], "gold": n - 1}
            for n in (2, 3, 4, 5)
            for _ in range(10)
        ],
    )
    write("lambada.jsonl", [{"context": sentence(rng, 8, 40), "continuation": rng.choice(WORDS)} for _ in range(60)])
    write("choices.jsonl", [{"query": "the", "choices": [" cat", " dog\n", " ñu"], "gold": 2} for _ in range(3)])
    write("cloze.jsonl", [{"query": sentence(rng) + " ", "target": f"{rng.choice(WORDS)}."} for _ in range(20)])
    return root


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)] * 5, TokenizerConfig(vocab_size=330))


def candidate(tokenizer: Tokenizer, objective: str) -> Candidate:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32}
    config = ModelConfig(**shape, vocab_size=tokenizer.vocab_size, context_length=64, init="torch_default")
    model = Transformer(config, seed=3).eval()
    return Candidate(model=model, tokenizer=tokenizer, objective=OBJECTIVES[objective])


def evaluate(candidate: Candidate, data, tasks, **settings: object) -> HarnessCard:
    settings = {"data": str(data), "tasks": list(tasks), **settings}
    config = EvalConfig.model_validate_json(json.dumps({"harness": settings, "bound": {"draws": 2}}))
    return evaluate_questions(candidate, config)


def test_the_native_scorer_knows_its_definitions(tokenizer, data):
    """acc by sums, acc_norm by characters, acc_bytes by bytes: counted here once more from single likelihoods."""
    own = candidate(tokenizer, "next_token")
    (result,) = evaluate(own, data, ["hellaswag"], native=True).results["hellaswag"]
    likelihood = TextLikelihood(own, EvalConfig())
    right = {"acc": 0, "acc_norm": 0, "acc_bytes": 0}
    for line in (data / "hellaswag.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        query = f"Día: {row['ctx_a']} {row['ctx_b'].capitalize()}".replace("[step]", "").replace("  ", " ").strip()
        logs = [likelihood([(query, f" {ending.strip()}")])[0].log_probability for ending in row["endings"]]
        sizes = {
            "acc": [1] * 4,
            "acc_norm": [len(ending.strip()) for ending in row["endings"]],
            "acc_bytes": [len(ending.strip().encode()) for ending in row["endings"]],
        }
        for name, size in sizes.items():
            scores = [log / n for log, n in zip(logs, size, strict=True)]
            right[name] += scores.index(max(scores)) == int(row["label"])
    assert result.metrics == {name: count / 60 for name, count in right.items()}


def test_whole_texts_are_the_sum_of_their_tokens(tokenizer):
    own = candidate(tokenizer, "next_token")
    short, long = "the cat sees a dog", sentence(random.Random(1), 200, 200)
    ids = [tokenizer.end_of_text_id, *tokenizer.encode(short)]
    with torch.no_grad():
        nll = own.model(torch.tensor([ids[:-1]]), targets=torch.tensor([ids[1:]])).nll.sum()
    whole = TextLikelihood(own, EvalConfig()).whole([short, long, ""])
    assert whole[0] == pytest.approx(-float(nll), rel=1e-5)
    assert whole[1] < 5 * whole[0]
    assert whole[2] == 0.0
    assert isinstance(whole[2], float)


def test_a_continuation_without_a_token_of_its_own_is_refused(tokenizer):
    asked = TextLikelihood(candidate(tokenizer, "next_token"), EvalConfig())
    whole = next(t for t in map(tokenizer.token_bytes, range(tokenizer.vocab_size)) if t.isalpha() and len(t) == 2)
    first, last = whole.decode()
    assert len(tokenizer.encode(whole.decode())) == 1
    for pair in ((first, last), ("the", "")):
        with pytest.raises(DataError, match="has no token of its own"):
            asked([pair])


def test_without_a_token_to_begin_with_a_lone_first_token_is_read_and_not_scored():
    letters = Tokenizer.train(["abc"], TokenizerConfig(kind="characters", special_tokens="none"))
    asked = TextLikelihood(candidate(letters, "next_token"), EvalConfig())
    (found,) = asked([("", "a")])
    assert found.log_probability == 0.0
    with pytest.raises(DataError, match="has no token of its own"):
        asked([("", "")])


@pytest.fixture(scope="module")
def harness():
    pytest.importorskip("lm_eval")
    return importlib.import_module("hornbook.evaluation.harness")


@pytest.mark.medium
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_both_scorers_come_to_the_same_numbers(harness, tokenizer, data, objective):
    own, tasks = candidate(tokenizer, objective), list(FORMS)
    native = evaluate(own, data, tasks, native=True, limit=None if objective == "next_token" else 8)
    theirs = evaluate(own, data, tasks, limit=None if objective == "next_token" else 8)
    assert (native.scored_by, theirs.scored_by[:8]) == ("hornbook", "lm-eval ")
    assert ("autoregressive" if objective == "next_token" else "by its bound") in native.protocol
    assert theirs.protocol == native.protocol
    for task in tasks:
        assert [result.name for result in native.results[task]] == [result.name for result in theirs.results[task]]
        for mine, other in zip(native.results[task], theirs.results[task], strict=True):
            assert mine.questions == other.questions
            # the batches are not the same, so sums of float32 are not
            assert mine.metrics == pytest.approx(other.metrics, rel=1e-4)
    assert [result.name for result in native.results["blimp"]] == ["blimp", "blimp_agreement", "blimp_islands"]


@pytest.mark.medium
def test_the_task_files_say_what_the_scorer_does(harness, data):
    with harness._quiet():
        loaded = harness.task_manager(data).load(list(FORMS))["tasks"]
    assert list(loaded) == list(FORMS)
    for name, task in loaded.items():
        assert task.config.target_delimiter == FORMS[name].delimiter
        assert tuple(task._metric_fn_list) == FORMS[name].metrics
        assert (task.OUTPUT_TYPE == "loglikelihood") == FORMS[name].is_cloze


@pytest.mark.medium
def test_hellaswag_is_asked_as_lm_eval_asks_it(harness, data):
    theirs = importlib.import_module("lm_eval.tasks.hellaswag.utils")
    datasets = importlib.import_module("datasets")
    rows = [json.loads(line) for line in (data / "hellaswag.jsonl").read_text(encoding="utf-8").splitlines()]
    ours = harness.dataset("hellaswag", str(data))["test"]
    with harness._quiet():
        expected = theirs.process_docs(datasets.Dataset.from_list(rows))
    assert [(doc["query"], doc["choices"], doc["gold"]) for doc in ours] == [
        (doc["query"], doc["choices"], doc["gold"]) for doc in expected
    ]


@pytest.mark.medium
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_requests_of_every_kind_are_answered(harness, tokenizer, objective):
    instance = importlib.import_module("lm_eval.api.instance").Instance
    own = candidate(tokenizer, objective)
    config = EvalConfig.model_validate_json('{"bound": {"draws": 2}}')
    model = harness.HarnessModel(TextLikelihood(own, config), config)

    def ask(kind: str, *arguments: object) -> list:
        asked = [instance(request_type=kind, doc={}, arguments=each, idx=0) for each in arguments]
        return getattr(model, kind)(asked)

    ((log, greedy),) = ask("loglikelihood", ("the", " cat"))
    assert log < 0
    assert isinstance(greedy, bool)
    (whole,) = ask("loglikelihood_rolling", ("the cat",))
    assert whole < 0
    texts = ask(
        "generate_until",
        ("the cat " * 50, {"until": ["zzz"], "max_gen_toks": 6, "do_sample": False}),
        ("the", {"until": " ", "max_gen_toks": 6, "temperature": 1.0}),
    )
    assert len(texts) == 2
    assert len(tokenizer.encode(texts[0])) <= 6
    assert " " not in texts[1]


@pytest.mark.medium
@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 200])
def test_windows_are_those_of_lm_eval(harness, n):
    own = importlib.import_module("hornbook.evaluation.requests")
    theirs = importlib.import_module("lm_eval.utils")
    windows = theirs.get_rolling_token_windows(list(range(n)), prefix_token=999, max_seq_len=64, context_len=1)
    expected = [theirs.make_disjoint_window(window) for window in windows]
    found = own.window_requests((999,), list(range(n)), 65)
    assert [([*read], [*scored]) for read, scored in found] == expected


@pytest.mark.medium
def test_blimp_on_the_published_model():
    """Within one pair of a hundred in each of 67 files, of what transformers gives."""
    directory, data = needs("models/stories260K-hf"), needs("eval/blimp")
    model, tokenizer = load_hf_directory(directory)[0], Tokenizer.load(directory / "tokenizer.json")
    reference = json.loads((directory / "reference_blimp.json").read_text(encoding="utf-8"))
    own = Candidate(model=model.eval(), tokenizer=tokenizer, objective={"kind": "next_token"})
    card = evaluate(own, data, ["blimp"], native=True, limit=100)
    whole, *parts = card.results["blimp"]
    right = {part.name.removeprefix("blimp_"): round(part.metrics["acc"] * 100) for part in parts}
    expected = reference["right_of_100_by_file"]
    assert right.keys() == expected.keys()
    assert max(abs(right[name] - expected[name]) for name in expected) <= 1
    assert math.isclose(whole.metrics["acc"], reference["accuracy"], abs_tol=67 / 6700)
