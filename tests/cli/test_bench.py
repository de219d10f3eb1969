"""The benchmark's own promise: both sides compute the same thing. Speed is never a test."""

import json

import pytest

from data_paths import DATA, needs
from hornbook.benchmarks import decoding
from hornbook.benchmarks.comparison import rows_of
from hornbook.benchmarks.harness import run_case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.tokenizer import GROUPS
from hornbook.cli import bench as bench_verb
from hornbook.cli.main import main

TEXT = "".join(f"Chapter {i}: it's the {i}th naïve 東京 story.\n\n  It ends.<|endoftext|>" for i in range(300))


def bench(*arguments):
    return main(["bench", "tokenizer", "--blocks", "1", "--threads", "1", *map(str, arguments)])


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_DATA", str(DATA))
    path = tmp_path / "own.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.medium
def test_tokenizers_agree_on_a_text_of_ones_own(text, tmp_path, capsys):
    needs("tokenizer/gpt2")
    needs("tokenizer/cl100k_base.tiktoken")
    only = ("--only", "train", "--only", "encode", "--only", "decode")
    assert bench("--text", text, *only, "--peers", "tokenizers,tiktoken", "--json", tmp_path / "rows.json") == 0
    report = json.loads((tmp_path / "rows.json").read_text())
    rows = report["rows"]
    assert report["machine"]["cores"] >= 1
    assert [row["failure"] for row in rows if row["failure"]] == []
    same = {(row["case"].split(",")[0], row["side"]): tuple(row["same"]) for row in rows if row["side"] != "hornbook"}
    assert same == {
        ("train 32k in process", "tokenizers"): ("merges",),
        ("train 8k in process", "tokenizers"): ("merges",),
        ("encode gpt2", "tiktoken"): ("ids",),
        ("encode gpt2", "tiktoken encode_to_numpy"): ("ids",),
        ("encode gpt2", "tokenizers"): ("ids",),
        ("encode cl100k_base", "tiktoken"): ("ids",),
        ("decode gpt2", "tiktoken"): ("text",),
        ("decode cl100k_base", "tiktoken"): ("text",),
    }
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line["side"] for line in lines] == [row["side"] for row in rows], "a pipe gets JSON lines and nothing else"
    assert "ids equal" in captured.err


@pytest.mark.medium
def test_a_small_text_trains_as_a_whole_command(text, tmp_path):
    path = tmp_path / "small.json"
    assert bench("--text", text, "--only", "small", "--peers", "none", "--json", path) == 0
    ours, python = json.loads(path.read_text())["rows"]
    assert ours["checks"]["files written"] >= 3
    assert python["verdicts"][0]["bar"]["value"] == 1.5


def test_missing_peers_and_vocabularies_are_told(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HORNBOOK_PEERS", str(tmp_path))
    monkeypatch.setenv("HORNBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("hornbook.cli.bench._compile", lambda _: None)
    assert bench("--text", text, "--only", "decode", "--peers", "gigatoken,fastokens") == 0
    said = capsys.readouterr().err
    assert "not installed, so left out: gigatoken, fastokens; to have them: hornbook bench peers" in said
    assert "name it with --gpt2 DIR" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "1,x"), "--threads 1,x: expected positive numbers"),
        (("--threads", "0"), "--threads 0: expected positive numbers"),
        (("--json", "."), "--json .: this is a folder"),
        (("--peers", "nobody"), "--peers nobody: no peer is called nobody; there are tokenizers,"),
        (("--text", "/no/such/file"), "/no/such/file: no such file or folder"),
    ],
)
def test_mistakes_are_one_message(arguments, message, text, capsys):
    given = arguments if arguments[0] == "--text" else ("--text", text, *arguments)
    assert main(["bench", "tokenizer", *map(str, given)]) == 2
    assert message in capsys.readouterr().err


def test_groups_are_those_that_there_are():
    assert set(bench_verb.GROUPS) == set(GROUPS)


@pytest.mark.medium
def test_the_same_llama_decodes_alike(tmp_path):
    pytest.importorskip("transformers")
    [case] = decoding.decode_cases({"quick": decoding.QUICK}, tmp_path, kinds=["batch"], precisions=["fp32"])
    ours, limit, *theirs = rows_of(case, run_case(case, blocks=1))
    assert (ours.failure, limit.failure) == (None, None)
    assert limit.checks["said"].endswith(" MB a step")
    names = ["transformers dynamic", "transformers static", *["llama.cpp F32"] * (peer_python("xllamacpp") is not None)]
    assert [row.side for row in theirs] == names
    assert [(row.failure, row.differs, row.same) for row in theirs] == [(None, (), ("tokens",))] * len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "25M,1B"), "--size 25M,1B: 1B is none of 25M, 124M"),
        (("--only", "threshold"), "--only threshold: threshold is none of prefill, decode, batch"),
        (("--precision", "fp8"), "--precision fp8: fp8 is none of fp32, bf16, int8"),
        (("--size", "25M", "--quick"), "--size has no effect with --quick"),
        (("--size", "25M", "--diffusion"), "--size has no effect with --diffusion"),
        (("--cache", "dual"), "--cache has an effect only with --diffusion"),
    ],
)
def test_what_decoding_cannot_do_is_one_message(arguments, message, capsys):
    assert main(["bench", "decode", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_floors_of_decoding(tmp_path, monkeypatch):
    """Each names a side that is there."""
    monkeypatch.setattr(decoding, "random_model", lambda directory, *_, **__: directory)
    monkeypatch.setattr(decoding, "_gguf_file", lambda model, kind: model / f"{kind}.gguf")
    monkeypatch.setattr(decoding, "peer_python", lambda name: "python")
    cases = {case.name: case for case in decoding.decode_cases(decoding.SHAPES, tmp_path)}
    assert len(cases) == 2 * 3 * 3
    for case in cases.values():
        assert {bar.peer for bar in case.bars} <= {side.name for side in case.sides}
    floors = {name: {(bar.peer, bar.value) for bar in case.bars} for name, case in cases.items() if case.bars}
    assert floors["decode 124M, int8"] == {("llama.cpp Q8_0", 1.2), ("memory reads", 0.8)}
    assert floors["decode 25M, int8"] == {("llama.cpp Q8_0", 1.2)}, "23 MB stay in a cache"
    assert floors["batch 25M, bf16"] == {("transformers dynamic", 2.0), ("transformers static", 2.0)}
    assert {name for name in floors if name.startswith("prefill")} == set()
