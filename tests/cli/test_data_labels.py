"""`hornbook data inspect` of rows: what is shown of each token is what training reads of it, and nothing breaks out."""

import html
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch
from rich.console import Console

from hornbook.cli import label_text
from hornbook.cli.label_rows import LabelledRows, Side
from hornbook.cli.label_view import MASK_SHOWN, RowScreens
from hornbook.cli.main import main
from hornbook.cli.token_pager import Pager
from hornbook.config.load import load_config
from hornbook.data.batch import PADDING_DOCUMENT
from hornbook.data.dataset import Dataset
from hornbook.data.mixture import Mixture
from hornbook.data.tuning import prepare_tuning
from hornbook.objectives.labels import Labels
from hornbook.objectives.objective import StepContext
from hornbook.tokenizer.tokenizer import Tokenizer
from html_outline import Outline
from tiny_project import TOML, make_project, text

pytestmark = pytest.mark.medium

HOSTILE = "</script><script>alert('x')</script> & <b data-w=\"9\"> <|end|><|assistant|> 你好 e\u0301 \x00"
CHANGES = {
    'path = "{root}/data"': 'path = "{root}/{stage}"\nstage = "{stage}"',
    'kind = "text"': 'kind = "jsonl"',
    "text.txt": "{stage}.jsonl",
    'document_separator = "line"\n': "",
    "context_length = 16": "context_length = 96",
    "tokens_per_step = 64": "tokens_per_step = 768",
    "micro_batch_size = 2": "micro_batch_size = 4",
    "eval_tokens = 128": "eval_tokens = 960",
    'console = "none"\n': 'console = "auto"\n',
}
OBJECTIVE = {"sft": "", "dpo": '\n[objective]\nkind = "preference"\n'}
START = {"sft": "", "dpo": 'init_from = "elsewhere"\n'}


def configuration(root, stage):
    """That of the tiny project, for conversations or pairs."""
    found = TOML
    for old, new in CHANGES.items():
        assert old in found
        found = found.replace(old, new)
    found = found.replace("[model]\n", f"[model]\n{START[stage]}")
    path = root / f"{stage}.toml"
    path.write_text(found.format(root=root.as_posix(), stage=stage) + OBJECTIVE[stage], encoding="utf-8")
    return path


def records(stage):
    """Questions and answers of different lengths, some of them hostile."""
    lines = text(60).splitlines()
    for number, line in enumerate(lines):
        question = f"{number} {HOSTILE}" if number % 10 == 7 else f"{number} {line}"
        answer = HOSTILE if number % 10 == 9 else " ".join(line.split()[: 1 + number % 5])
        if stage == "sft":
            yield {"prompt": question, "completion": answer}
        else:
            yield {"prompt": question, "chosen": answer, "rejected": f"{answer.split(maxsplit=1)[0]} now {number}"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with text and conversations and pairs, prepared, and a configuration for each."""
    root = make_project(tmp_path_factory.mktemp("labels")).parent
    for stage in ("sft", "dpo"):
        with (root / f"{stage}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records(stage))
        path = configuration(root, stage)
        config = load_config(path).config
        prepare_tuning(config, Tokenizer.load(config.tokenizer.path))
    return root


DIFFUSION = ("--set", 'objective.kind="masked_diffusion"')
PAIRS_BY_MASKS = ("--set", 'objective.likelihood="masked_diffusion"', "--set", "objective.draws=2")


@pytest.fixture
def inspect(capsys):
    """Runs `data inspect` and gives the events."""

    def inspect(*arguments):
        assert main(["data", "inspect", *map(str, arguments)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return [json.loads(line) for line in captured.out.splitlines()]

    return inspect


def labelled(path, *overrides, **kinds):
    config = load_config(path, overrides).config
    return LabelledRows(config, Mixture.open(config.data), **kinds), config


def split_by_row(events):
    """The events of tokens of each row, each sequence by itself."""
    found = {}
    for event in events:
        if event["event"] == "token":
            found.setdefault(event["row"], {}).setdefault(event["sequence"], []).append(event)
    return found


@pytest.mark.parametrize("overrides", [(), DIFFUSION, (*DIFFUSION, "--set", 'objective.normalize="sequence"')])
@pytest.mark.parametrize("step", [1, 3])
def test_rows_are_those_that_training_reads(project, inspect, step, overrides):
    events = inspect(project / "sft.toml", "--step", step, *overrides)
    assert [event["event"] for event in events[:2]] == ["labels", "row"]
    rows, config = labelled(project / "sft.toml", *overrides[1::2])
    at = StepContext(seed=config.run.seed, step=step - 1, samples_per_step=8)
    batches = [rows.objective.prepare(batch, at) for batch in rows._batches.step(step - 1)]
    weights = [rows.objective.weight(batch) for batch in batches]
    totals = {term: sum(weight[term] for weight in weights) for term in weights[0]}
    heads = [event for event in events if event["event"] == "row"]
    assert [head["row"] for head in heads] == list(range(8 * (step - 1), 8 * step))
    assert {tuple(head["denominators"].items()) for head in heads} == {tuple(totals.items())}
    tokens = [row[""] for row in split_by_row(events).values()]
    for own, batch, place in zip(tokens, [b for b in batches for _ in range(4)], [0, 1, 2, 3] * 2, strict=True):
        assert [token["id"] for token in own] == batch.tokens[place].tolist()
        assert [token["label"] in ("trained", "masked") for token in own] == batch.loss_mask[place].tolist()
        assert [token["position"] for token in own] == batch.positions[place].tolist()
        assert [token["document"] for token in own] == batch.document_ids[place].tolist()
        is_padding = [token["label"] == "pad" for token in own]
        assert is_padding == (batch.document_ids[place] == PADDING_DOCUMENT).tolist()
        if batch.noised is not None:
            length = batch.noised.tokens.shape[1]
            assert [token["read_as"] for token in own][:length] == batch.noised.tokens[place].tolist()
            (term,) = own[0]["weights"]
            shares = [1.0] * length
            if config.objective.normalize == "sequence":
                targets = Counter(
                    token["document"] for token, counts in zip(own, batch.loss_mask[place], strict=True) if counts
                )
                shares = [1.0 / max(1, targets[token["document"]]) for token in own]
            expected = [
                weight * share for weight, share in zip(batch.noised.weight[place].tolist(), shares, strict=True)
            ]
            assert [token["weights"][term] for token in own] == pytest.approx(expected, rel=1e-6)


def test_a_sample_is_one_row_and_validation_has_rows_of_its_own(project, inspect):
    whole = inspect(project / "sft.toml", *DIFFUSION, "--step", 2)
    alone = inspect(project / "sft.toml", *DIFFUSION, "--sample", 11)
    assert split_by_row(alone)[11] == split_by_row(whole)[11]
    assert [event["row"] for event in alone if event["event"] == "row"] == [11]
    held_out = inspect(project / "sft.toml", *DIFFUSION, "--split", "valid")
    heads = [event for event in held_out if event["event"] == "row"]
    assert heads[0]["step"] is None
    rows, _ = labelled(project / "sft.toml", DIFFUSION[1], is_validation=True)
    assert len(heads) == len(rows)
    ids = [token["id"] for token in split_by_row(held_out)[0][""]]
    assert ids == rows.row(0).sides[0].labels.tokens.tolist()


def test_the_whole_data_is_told_of(project, inspect):
    told = inspect(project / "sft.toml", "--sample", 0)[0]
    stream = Dataset.open(project / "sft").split("train")
    trained = int(stream.loss_mask(0, stream.n_tokens).sum())
    assert (told["tokens"], told["trained"], told["documents"]) == (stream.n_tokens, trained, stream.n_documents)
    assert told["faults"] == {}


@pytest.mark.parametrize("overrides", [(), PAIRS_BY_MASKS])
def test_pairs_show_both_answers_and_where_they_part(project, inspect, overrides):
    events = inspect(project / "dpo.toml", "--sample", 3, *overrides)
    head = next(event for event in events if event["event"] == "row")
    names = [sequence["name"] for sequence in head["sequences"]]
    sides = split_by_row(events)[3]
    assert list(sides) == names
    assert [name.split(",")[0] for name in names] == ["chosen"] * (len(names) // 2) + ["rejected"] * (len(names) // 2)
    assert len(names) == (4 if overrides else 2)
    chosen, rejected = ([token["id"] for token in sides[name]] for name in (names[0], names[-1]))
    parted = head["first_difference"]
    assert chosen[:parted] == rejected[:parted]
    assert chosen[parted] != rejected[parted]
    assert not any(token["label"] == "masked" for name in names for token in sides[name]) or overrides
    for name in names:
        answer = [token for token in sides[name] if token["label"] in ("trained", "masked")]
        assert answer[-1]["text"] == "<|end|>"
        weights = [token["weights"]["log_probability"] for token in answer]
        # An answer of L tokens: each once; by masks, those that are hit weigh L in all, shared by two masks.
        expected = len(answer) / 2 if overrides else len(answer)
        assert sum(weights) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "arguments"), [("sft", ()), ("sft", DIFFUSION), ("dpo", ()), ("dpo", PAIRS_BY_MASKS)])
def test_the_page_holds_the_labels_and_nothing_breaks_out(project, inspect, tmp_path, name, arguments):
    out = tmp_path / "labels.html"
    (said,) = inspect(project / f"{name}.toml", *arguments, "--html", out)
    assert (said["rows"], said["left_out"]) == (8, 0)
    page = out.read_text(encoding="utf-8")
    outline = Outline(page)
    assert page.count("<script") == len(outline.scripts) == 2
    assert "://" not in page
    assert "alert(" not in "".join(outline.scripts)
    rows, _ = labelled(project / f"{name}.toml", *arguments[1::2])
    shown = [
        (int(i), state)
        for number in range(8)
        for side in in_page_order(rows.row(number).sides)
        for i, state in list(zip(side.labels.tokens.tolist(), label_text.states(side.labels), strict=True))[
            : label_text.n_shown(side.labels)
        ]
    ]
    assert [i for i, _ in outline.tokens] == [i for i, _ in shown]
    classes = re.findall(r'<b class="(?:special )?(trained|masked|context|pad)', page)
    assert classes == [state for _, state in shown]
    assert page.count("<svg") == 1
    assert page.count("<rect") == 40
    assert bool(re.search(r'<b class="[a-z ]+ differs"', page)) == (name == "dpo")


def in_page_order(sides):
    half = len(sides) // 2
    return [side for pair in zip(sides[:half], sides[half:], strict=True) for side in pair] if half else sides


def test_a_hostile_text_is_text(project, inspect, tmp_path):
    """Every row of the data, the hostile ones among them."""
    out = tmp_path / "all.html"
    inspect(project / "sft.toml", "--html", out, "--set", "train.tokens_per_step=7680")
    page = out.read_text(encoding="utf-8")
    outline = Outline(page)
    assert "<script>alert" in "".join(shown for _, shown in outline.tokens)
    assert page.count("<script") == 2
    specials = Tokenizer.load(project / "sft" / "tokenizer").special_tokens
    stops = [i for i, _ in outline.tokens].count(specials["<|end|>"])
    assert stops == [i for i, _ in outline.tokens].count(specials["<|user|>"]) * 2  # none is made from text


class Reader:
    """Pages through rows with answers from a list."""

    def __init__(self, rows, tokenizer, answers, *, width=110):
        self.answers, self.file = list(answers), io.StringIO()
        console = Console(file=self.file, width=width, height=60, legacy_windows=False)
        screens = RowScreens(rows, tokenizer, end_of_text_id=None)
        self.pager = Pager(screens, tokenizer, console, self.answer, what="row")

    def answer(self, prompt):
        self.file.write("<ASKED>")
        return self.answers.pop(0)

    def screens(self, first=0):
        self.pager.run(first)
        return self.file.getvalue().split("<ASKED>")


def test_paging_through_rows(project):
    rows, _ = labelled(project / "sft.toml")
    tokenizer = Tokenizer.load(project / "sft" / "tokenizer")
    screens = Reader(rows, tokenizer, ["n", "p", "17", "999999", "?", "q"]).screens()
    assert [re.findall(r"row (\d+): step (\d+)", screen) for screen in screens[:4]] == [
        [("0", "1")],
        [("1", "1")],
        [("0", "1")],
        [("17", "3")],
    ]
    assert "row 999,999 is outside 0..95" in screens[4]
    assert "a number: that row" in screens[5]
    labels = rows.row(0).sides[0].labels
    first = labels.document_ids.tolist().count(0)
    n_trained = int(labels.trained[:first].sum())
    assert f"document 0: {first} tokens, {n_trained} trained" in screens[0]
    assert f"trained {int(labels.trained.sum())} of" in screens[0]
    assert screens[0].count("×1") == int(labels.trained.sum())
    assert "@0" in screens[0]


def test_masked_tokens_on_a_terminal_as_they_are_and_as_they_are_read(project):
    rows, _ = labelled(project / "sft.toml", DIFFUSION[1])
    tokenizer = Tokenizer.load(project / "sft" / "tokenizer")
    (screen, *_) = Reader(rows, tokenizer, ["q"]).screens(2)
    labels = rows.row(2).sides[0].labels
    assert screen.count(MASK_SHOWN.decode()) == int(labels.masked.sum()) > 0
    assert "(1/p = " in screen


def test_on_a_terminal_that_does_not_answer_the_rows_of_the_step_are_shown(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "110")
    assert main(["data", "inspect", str(project / "dpo.toml")]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"row (\d+): step 1", shown) == list("01234567")
    assert "the data: " in shown
    assert "loss: a mean over 8 pairs" in shown
    assert "chosen, document 0: " in shown


def test_a_data_set_alone_is_enough(project, inspect):
    for name, stage in (("sft", "sft"), ("sft", "diffusion"), ("dpo", "dpo"), ("dpo", "diffusion")):
        events = inspect(project / name, "--stage", stage, "--sample", 0)
        labels = {event["label"] for event in events if event["event"] == "token"}
        assert ("masked" in labels) == (stage == "diffusion")
        assert "trained" in labels or stage == "diffusion"
    assert inspect(project / "sft", "--sample", 1)[1]["event"] == "row"


def test_windows_of_text_as_before_and_with_labels(project, inspect):
    plain, before = (
        [event["id"] for event in inspect(project / "tiny.toml", *stage)] for stage in (("--stage", "pretrain"), ())
    )
    assert plain == before == Dataset.open(project / "data").split("train").read(0, 16).tolist()
    events = inspect(project / "tiny.toml", "--step", 1)
    assert events[0]["trained"] == events[0]["tokens"]
    for row in split_by_row(events).values():
        tokens = row[""]
        assert [token["weights"]["cross_entropy"] for token in tokens] == [0.0] + [1.0] * (len(tokens) - 1)
        for token, following in itertools.pairwise(tokens):
            assert following["document"] == token["document"] + token["special"]
    masked = inspect(project / "tiny.toml", *DIFFUSION)
    assert any(event.get("label") == "masked" for event in masked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sft.toml", "--stage", "dpo"], '--stage dpo: data.stage is "sft"'),
        (["sft.toml", "--stage", "diffusion"], 'objective.kind = "next_token" masks nothing'),
        (["sft.toml", "--split", "test"], "neither training nor validation reads it"),
        (["sft.toml", "--split", "valid", "--step", "2"], "every validation has the same noise"),
        (["sft.toml", "--step", "999"], "--step: row 7,984 is outside 0..95"),
        (["sft.toml", "--sample", "96"], "--sample: row 96 is outside 0..95"),
        (["sft.toml", "--length", "9"], "--length means nothing here"),
        (["sft.toml", "--document", "0", "--html", "x.html"], "--window and --document show tokens as they lie"),
    ],
)
def test_mistakes_are_one_line(project, capsys, arguments, message):
    name, *rest = arguments
    assert main(["data", "inspect", str(project / name), *rest]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err


def side_of(tokenizer, pieces):
    """A row of (name of a special token or text, trained, document)."""
    ids, trained, documents = [], [], []
    for piece, counts, document in pieces:
        own = tokenizer.encode(piece, allowed_special="all")
        ids += own
        trained += [counts] * len(own)
        documents += [document] * len(own)
    mask = torch.tensor(trained)
    return Side(
        name="",
        labels=Labels(
            tokens=torch.tensor(ids),
            trained=mask,
            document_ids=torch.tensor(documents),
            positions=torch.arange(len(ids)),
            weights={"cross_entropy": mask.float()},
        ),
    )


@pytest.mark.parametrize(
    ("pieces", "kinds"),
    [
        ([("<|user|>a<|end|><|assistant|>", False, 0), ("b<|end|>", True, 0)], []),
        ([("<|user|>a<|end|><|assistant|>", False, 0), ("b", True, 0), ("<|end|>", False, 0)], ["untrained_stop"]),
        ([("<|user|>a<|end|><|assistant|>", False, 0), ("b c", True, 0)], ["cut_answer"]),
        ([("<|user|>a<|end|><|assistant|>b<|end|>", False, 0)], ["nothing_trained"]),
        ([("<|user|><|user|>a<|end|><|assistant|>", False, 0), ("b<|end|>", True, 0)], ["double_control"]),
        ([("<|user|>", False, 0), ("b<|end|>", True, 0), ("<|pad|>", True, PADDING_DOCUMENT)], ["trained_padding"]),
        ([("<|user|>", False, 0), ("b<|end|>", True, 0), ("<|pad|><|pad|>", False, PADDING_DOCUMENT)], []),
        (
            [("<|user|>", False, 0), ("b<|end|>", True, 0), ("<|user|>", False, 1), ("c", True, 1)],
            ["cut_answer"],
        ),
    ],
)
def test_what_a_microscope_warns_of(project, pieces, kinds):
    tokenizer = Tokenizer.load(project / "sft" / "tokenizer")
    warned = label_text.warnings(side_of(tokenizer, pieces), tokenizer)
    assert [each.kind for each in warned] == kinds
    assert all(f"at token {each.token}" in each.text for each in warned)


@pytest.mark.parametrize(
    ("overrides", "kinds"),
    [
        (('objective.kind="joint"', "objective.truncation_probability=0.0"), set()),
        (('objective.kind="masked_diffusion"', "objective.truncation_probability=1.0"), {"not_counted"}),
    ],
)
def test_what_noise_cuts_off_is_told_of(project, inspect, overrides, kinds):
    given = [word for override in overrides for word in ("--set", override)]
    heads = [event for event in inspect(project / "tiny.toml", *given) if event["event"] == "row"]
    assert {warning["kind"] for head in heads for warning in head["warnings"]} == kinds
    assert len(heads[0]["denominators"]) == 2 - bool(kinds)


def test_a_terminal_that_answers_is_asked(project, capsys, monkeypatch):
    answers = ["n", "q"]
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: answers.pop(0))
    assert main(["data", "inspect", str(project / "sft.toml"), "--step", "2"]) == 0
    assert re.findall(r"row (\d+): step 2", capsys.readouterr().out) == ["8", "9"]
    assert answers == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_the_arrow_keys_go_from_row_to_row(project, inspect, tmp_path):
    out = tmp_path / "labels.html"
    inspect(project / "dpo.toml", "--html", out)
    pressed = """<script>
    const seen = [], edge = document.querySelector(".tools").offsetHeight + 2;
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"]) {
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      seen.push(sections.findIndex(section => Math.abs(section.getBoundingClientRect().top - edge) < 3));
    }
    document.querySelector("b.differs").click();
    document.title = JSON.stringify([seen, document.getElementById("tip").textContent]);
    </script></body>"""
    out.write_text(out.read_text(encoding="utf-8").replace("</body>", pressed), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=900,700", "--dump-dom"]
    done = subprocess.run([*command, out.as_uri()], capture_output=True, text=True, check=True, timeout=60)
    seen, told = json.loads(html.unescape(re.findall(r"<title>(.*?)</title>", done.stdout)[0]))
    assert seen == [0, 1, 2, 1]
    assert "labeltrainedweight1document0position" in told
