"""`hornbook generate` in this process: JSON lines when piped, streamed text on a terminal, and helpful refusals."""

import io
import json
import sys

import pytest

from hornbook.cli.main import main
from hornbook.config.chat import TEMPLATES
from hornbook.storage.run_dir import RunDir
from tiny_run import STEP, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("generate"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def piped(monkeypatch):
    def pipe(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="ascii"))

    return pipe


def generate(capsys, *arguments) -> list[dict]:
    assert main(["generate", *map(str, arguments), "--set", "run.threads=1", "--max-new-tokens", "8"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_json_object_a_prompt(run, capsys):
    results = generate(capsys, run, "--prompt", "the cat", "--prompt", "a", "--temperature", "0.5", "--seed", "3")
    assert [result["prompt"] for result in results] == ["the cat", "a"]
    for result in results:
        assert (result["event"], result["step"]) == ("generate", STEP)
        assert result["parameters"]["temperature"] == 0.5
        assert result["parameters"]["seed"] == 3
        assert result["parameters"]["max_new_tokens"] == 8
        assert 1 <= result["tokens"] <= 8
        assert result["finish_reason"] in ("stop", "length")
        assert result["latency_ms"] > 0
        assert result["tokens_per_second"] > 0
        assert isinstance(result["output"], str)


def test_backend_and_precision_are_settings_with_flags(run, capsys):
    [result] = generate(capsys, run, "--prompt", "the", "--backend", "torch", "--precision", "bfloat16")
    assert (result["parameters"]["backend"], result["parameters"]["precision"]) == ("torch", "bfloat16")
    assert main(["generate", str(run), "--prompt", "the", "--precision", "int4"]) == 2
    assert "int8" in capsys.readouterr().err
    assert main(["generate", str(run), "--prompt", "a", "--precision", "int8", "--set", "generate.cache=false"]) == 2
    assert "precision has no effect with cache = false" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_text(run, capsys):
    first, again = (generate(capsys, run, "--prompt", "the")[0]["output"] for _ in range(2))
    assert first == again


def test_samples_have_seeds_of_their_own(run, capsys):
    three = generate(capsys, run, "--prompt", "the", "--num-samples", 3, "--temperature", 2)
    assert [result["parameters"]["seed"] for result in three] == [0, 1, 2]
    assert len({result["output"] for result in three}) == 3
    [third] = generate(capsys, run, "--prompt", "the", "--seed", 2, "--temperature", 2)
    assert third["output"] == three[2]["output"]


def test_a_prompt_from_stdin(run, capsys, piped):
    piped("the big dög\n".encode())
    assert generate(capsys, run)[0]["prompt"] == "the big dög"


def test_a_stdin_that_is_not_text(run, capsys, piped):
    piped(b"ab\xff\n")
    assert main(["generate", str(run)]) == 2
    assert "stdin: not UTF-8 (byte 2)" in capsys.readouterr().err


def test_a_prompt_from_a_file(run, capsys, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("line one\nline two\n", encoding="utf-8")
    assert generate(capsys, run, "--prompt-file", file)[0]["prompt"] == "line one\nline two"


def test_a_prompt_file_that_is_not_text(run, capsys, tmp_path):
    file = tmp_path / "prompt.bin"
    file.write_bytes(b"ab\xff")
    assert main(["generate", str(run), "--prompt-file", str(file)]) == 2
    assert "prompt.bin: not UTF-8 (byte 2)" in capsys.readouterr().err


def test_an_empty_stdin_starts_from_end_of_text(run, capsys, piped):
    piped(b"")
    assert generate(capsys, run)[0]["prompt_tokens"] == 1


def test_the_configuration_file_and_what_lies_over_it(run, capsys, tmp_path):
    config = tmp_path / "generate.toml"
    config.write_text(f'[generate]\ncheckpoint = "{run.as_posix()}"\nprompts = ["x"]\ntop_k = 5\n', encoding="utf-8")
    [result] = generate(capsys, "--config", config, "--set", "generate.top_p=0.9", "--set", "generate.top_k=7")
    assert (result["parameters"]["top_k"], result["parameters"]["top_p"]) == (7, 0.9)
    [flagged] = generate(capsys, "--config", config, "--set", "generate.top_k=7", "--top-k", "2")
    assert flagged["parameters"]["top_k"] == 2


def test_print_config(run, capsys):
    assert main(["generate", str(run), "--top-k", "3", "--print-config=json"]) == 0
    assert json.loads(capsys.readouterr().out)["generate"]["top_k"] == 3


def test_a_stop_string(run, capsys):
    [free] = generate(capsys, run, "--prompt", "the", "--temperature", 2)
    stop = free["output"][3:5]
    [stopped] = generate(capsys, run, "--prompt", "the", "--temperature", 2, "--stop", stop)
    assert stopped["output"] == free["output"][: free["output"].index(stop)]
    assert stopped["finish_reason"] == "stop"


def test_a_terminal_sees_the_streamed_text(run, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    arguments = ["generate", str(run), "--prompt", "the", "--max-new-tokens", "8"]
    assert main(arguments) == 0
    streamed = terminal.getvalue()
    assert main([*arguments, "--no-stream"]) == 0
    assert terminal.getvalue() == 2 * streamed
    assert streamed.startswith("the")
    assert main([*arguments, "--json"]) == 0
    assert json.loads(terminal.getvalue()[2 * len(streamed) :])["prompt"] == "the"


def test_the_runs_record_hears_of_it(run, capsys):
    metrics = RunDir.open(run).metrics_file
    before = metrics.read_text(encoding="utf-8")
    generate(capsys, run, "--prompt", "the", "--top-k", "4", "--stop", "never said")
    [line] = metrics.read_text(encoding="utf-8")[len(before) :].splitlines()
    event = json.loads(line)
    assert (event["event"], event["step"], event["prompt"]) == ("generate", STEP, "the")
    assert (event["parameters/top_k"], event["parameters/seed"]) == (4, 0)
    assert json.loads(event["parameters/stop"]) == ["never said"]


def test_a_run_that_is_training_is_left_alone(run, capsys):
    directory = RunDir.open(run)
    before = directory.metrics_file.read_bytes()
    directory.set_state("running")
    try:
        generate(capsys, run, "--prompt", "the")
    finally:
        directory.set_state("finished")
    assert directory.metrics_file.read_bytes() == before


def test_tensorboard_hears_of_it_when_asked_to(run, capsys):
    pytest.importorskip("tensorboard")
    generate(capsys, run, "--prompt", "the", "--set", "tracking.tensorboard=true")
    assert list(RunDir.open(run).tensorboard.iterdir())


def test_a_prompt_that_slides_is_told_of_once(run, capsys):
    arguments = [str(run), "--set", 'generate.context_overflow="slide"', "--set", "run.threads=1"]
    assert main(["generate", *arguments, "--max-new-tokens", "2", "--prompt", "zq" * 20, "--prompt", "qz" * 20]) == 0
    captured = capsys.readouterr()
    assert all(json.loads(line)["prompt_tokens_dropped"] > 0 for line in captured.out.splitlines())
    assert captured.err.count("do not fit the context") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "hornbook demo` makes one"),
        (["runs/nowhere"], "runs/nowhere: no such run or checkpoint directory; `hornbook demo`"),
        (["RUN", "--prompt", "zq" * 20], "more than the model's context_length = 16"),
        (["RUN", "--temperature", "-1"], "generate.temperature"),
        (["RUN", "--config", "nowhere.toml"], "nowhere.toml: no such file"),
        (["RUN", "--prompt", "a", "--stop", ""], "empty string"),
    ],
)
def test_refusals_say_what_to_do(run, capsys, piped, arguments, message):
    piped(b"")
    assert main(["generate", *[str(run) if part == "RUN" else part for part in arguments]]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_more_prompts_than_fit_one_batch(run, capsys):
    results = generate(capsys, run, "--prompt", "a", "--num-samples", 18)
    assert len(results) == 18


def test_a_prompt_as_a_message(tmp_path, capsys, monkeypatch, run):
    tuned = make_run(
        tmp_path, chat_template=TEMPLATES["hornbook"], model__context_length=64, train__tokens_per_step=128
    )
    [result] = generate(capsys, tuned, "--chat", "--prompt", "hi<|end|>")
    assert result["prompt"] == "<|user|>hi<|end|><|end|><|assistant|>"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["generate", str(tuned), "--chat", "--prompt", "hi", "--max-new-tokens", "4"]) == 0
    assert "hi" not in terminal.getvalue()
    assert main(["generate", str(run), "--chat", "--prompt", "hi"]) == 2
    assert "--chat: " in capsys.readouterr().err
    assert main(["generate", str(tuned), "--chat", "--prompt", " "]) == 2
    assert "--chat: an empty message cannot be answered" in capsys.readouterr().err
    assert main(["generate", str(tuned), "--chat", "--infill", "a<|mask|>"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
