"""`hornbook chat`: turns, commands, what is read when the context is full, and an answer that is stopped."""

import io
import json
import sys

import pytest

from hornbook.cli.conversation import ByTemplate, Conversation, OneText
from hornbook.cli.main import main
from hornbook.config.chat import TEMPLATES, ChatTemplate
from hornbook.config.generate import GenerateConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import GenerationError
from hornbook.generation.engine import Engine
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("chat"))


def talk(monkeypatch, capsys, run, *lines: str, flags: tuple[str, ...] = ()) -> tuple[list[dict], str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert main(["chat", str(run), "--max-new-tokens", "4", "--set", "run.threads=1", *flags]) == 0
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_piped_lines_give_one_json_object_a_turn(monkeypatch, capsys, run):
    turns, _ = talk(monkeypatch, capsys, run, "the cat", "", "a dog")
    assert [(turn["event"], turn["prompt"]) for turn in turns] == [("chat", "the cat"), ("chat", "a dog")]
    assert all(turn["finish_reason"] in ("stop", "length") for turn in turns)


def test_guesses_change_no_answer(monkeypatch, capsys, run):
    greedy = ("--temperature", "0")
    plain, _ = talk(monkeypatch, capsys, run, "the cat", "a dog", flags=greedy)
    for setting in (f"generate.draft.checkpoint='{run}'", "generate.draft.lookup=1"):
        turns, _ = talk(monkeypatch, capsys, run, "the cat", "a dog", flags=(*greedy, "--set", setting))
        assert [turn["output"] for turn in turns] == [turn["output"] for turn in plain]


def test_bytes_that_are_no_text_are_told_and_the_talk_goes_on(monkeypatch, capsys, run):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff\nthe\n"), encoding="utf-8"))
    assert main(["chat", str(run), "--max-new-tokens", "4", "--set", "run.threads=1"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["prompt"] for line in captured.out.splitlines()] == ["the"]
    assert "U+DCFF" in captured.err


def test_quit_ends_and_help_helps(monkeypatch, capsys, run):
    turns, errors = talk(monkeypatch, capsys, run, "/help", "/nonsense", "/quit", "never said")
    assert turns == []
    assert errors.count("/save FILE") == 2
    assert "/nonsense: not a command" in errors


def test_save_writes_a_new_file_and_never_over_one(monkeypatch, capsys, run, tmp_path):
    file = tmp_path / "talk.txt"
    turns, errors = talk(monkeypatch, capsys, run, "the cat", f"/save {file}", f"/save {file}")
    assert file.read_text(encoding="utf-8") == f"the cat{turns[0]['output']}\n"
    assert "saved 1 turns" in errors
    assert "not saved: File exists" in errors


def test_nothing_is_saved_before_an_answer(monkeypatch, capsys, run, tmp_path):
    _, errors = talk(monkeypatch, capsys, run, f"/save {tmp_path / 'talk.json'}")
    assert "not saved: the conversation has no answer yet" in errors
    assert not any(tmp_path.iterdir())


def test_a_line_that_cannot_be_read_is_told_and_the_talk_goes_on(monkeypatch, capsys, run):
    turns, errors = talk(monkeypatch, capsys, run, "zq" * 20, "the")
    assert [turn["prompt"] for turn in turns] == ["the"]
    assert "more than the model's context_length" in errors


def test_a_terminal_sees_the_answers(monkeypatch, run):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n"))
    assert main(["chat", str(run), "--max-new-tokens", "4"]) == 0
    assert shown.getvalue().strip()
    assert "{" not in shown.getvalue()[:1]


class Answer:
    """A stream of given pieces, as TextStream is one; a piece that is an exception is raised."""

    def __init__(self, *pieces) -> None:
        self._pieces = list(pieces)
        self._said = ""
        self.finish_reason = "length"

    def __iter__(self):
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            self._said += piece
            yield piece

    @property
    def text(self) -> str:
        return self._said

    @property
    def generation(self):
        return self


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["x"], TokenizerConfig(vocab_size=257, special_tokens="none"))


def conversation(tokenizer, *answers, context_length=32, **settings):
    waiting = list(answers)
    seen = []

    def answer(prompt, seed):
        seen.append((prompt, seed))
        told = waiting.pop(0)
        if isinstance(told, GenerationError):
            raise told
        return told

    config = GenerateConfig(**{"max_new_tokens": 8, **settings})
    return Conversation(OneText(tokenizer), config, context_length=context_length, answer=answer), seen


def test_history_is_text_and_every_turn_has_its_own_seed(tokenizer):
    talk, seen = conversation(tokenizer, Answer(" b", "c"), Answer("e"), seed=5)
    pieces = []
    assert talk.say("a", pieces.append).answer == " bc"
    assert talk.say("d", pieces.append).answer == "e"
    assert pieces == [" b", "c", "e"]
    assert seen == [("a", 5), ("a bc\nd", 6)]
    talk.reset()
    assert talk.prompt("z") == "z"


def test_oldest_whole_turns_are_left_out_and_told_of_once(tokenizer, capsys):
    """32 tokens of a byte each, 8 for the answer: 25 may be read."""
    talk, seen = conversation(tokenizer, *[Answer("-" * 7) for _ in range(6)])
    for letter in "abcdef":
        talk.say(letter * 2, str)
    turn = "{0}{0}" + "-" * 7 + "\n"
    assert [prompt for prompt, _ in seen] == [
        "aa",
        turn.format("a") + "bb",
        turn.format("a") + turn.format("b") + "cc",
        turn.format("b") + turn.format("c") + "dd",
        turn.format("c") + turn.format("d") + "ee",
        turn.format("d") + turn.format("e") + "ff",
    ]
    assert capsys.readouterr().err.count("outgrew the context") == 1
    assert len(talk.turns) == 6


def test_a_long_conversation_is_not_encoded_anew_from_its_first_turn(tokenizer):
    read = []

    class Counting:
        def encode(self, text):
            read.append(len(text))
            return tokenizer.encode(text)

    talk, _ = conversation(Counting(), *[Answer("-" * 7) for _ in range(60)])
    for _ in range(60):
        talk.say("aa", str)
    assert max(read) <= 32 + 10


def test_a_line_that_cannot_be_read_costs_no_turn(tokenizer, capsys):
    talk, seen = conversation(tokenizer, Answer("-"), GenerationError("too long"), Answer("-"))
    talk.say("aa", str)
    with pytest.raises(GenerationError):
        talk.say("b" * 40, str)
    talk.say("c", str)
    assert seen[-1][0] == "aa-\nc"
    assert "outgrew" not in capsys.readouterr().err


def test_a_long_answer_may_have_half_of_the_context(tokenizer):
    talk, seen = conversation(tokenizer, Answer("-" * 12), Answer("-"), max_new_tokens=1000)
    talk.say("aa", str)
    talk.say("b", str)
    assert seen[1][0] == "aa" + "-" * 12 + "\nb"


def test_interrupting_the_model_keeps_what_was_said(tokenizer):
    talk, _ = conversation(tokenizer, Answer("once ", KeyboardInterrupt(), "never"), Answer("more"))
    turn = talk.say("a", str)
    assert (turn.answer, turn.reason) == ("once ", "interrupted")
    assert talk.say("b", str).answer == "more"


def test_interrupting_the_terminal_does_too(tokenizer):
    def show(piece: str) -> None:
        raise KeyboardInterrupt

    talk, _ = conversation(tokenizer, Answer("once ", "never"))
    assert talk.say("a", show).reason == "interrupted"
    assert talk.turns[0].answer == "once "


def by_template(tokenizer, *answers, template="hornbook", system="", **settings):
    speaks = tokenizer.with_chat_template(template if isinstance(template, ChatTemplate) else TEMPLATES[template])
    inner, _ = conversation(tokenizer, *answers, **settings)
    prompts = []

    def answer(prompt, seed):
        prompts.append(speaks.decode(prompt))
        return inner._answer(prompt, seed)

    context = settings.get("context_length", 32)
    return Conversation(
        ByTemplate(speaks), inner._config, context_length=context, answer=answer, system=system
    ), prompts


def test_a_template_is_spoken_with_history_and_system_message(tokenizer):
    talk, prompts = by_template(tokenizer, Answer("b"), Answer("d"), Answer("f"), system="s", context_length=100)
    talk.say("a", str)
    talk.say("<|end|>", str)
    talk.system = ""
    talk.say("e", str)
    assert prompts == [
        "<|system|>s<|end|><|user|>a<|end|><|assistant|>",
        "<|system|>s<|end|><|user|>a<|end|><|assistant|>b<|end|><|user|><|end|><|end|><|assistant|>",
        "<|user|>a<|end|><|assistant|>b<|end|><|user|><|end|><|end|><|assistant|>d<|end|><|user|>e<|end|><|assistant|>",
    ]


def test_of_a_template_whole_turns_are_left_out_and_the_system_message_stays(tokenizer, capsys):
    """25 tokens may be read: 3 of the system message, 14 a turn, 5 of the line and what stands before the answer."""
    talk, prompts = by_template(tokenizer, *[Answer("-" * 8) for _ in range(4)], system="s")
    for letter in "abcd":
        talk.say(letter * 2, str)
    for before, after, prompt in zip("abc", "bcd", prompts[1:], strict=True):
        turn = f"<|user|>{before * 2}<|end|><|assistant|>{'-' * 8}<|end|>"
        assert prompt == f"<|system|>s<|end|>{turn}<|user|>{after * 2}<|end|><|assistant|>"
    assert capsys.readouterr().err.count("outgrew the context") == 1
    talk.reset()
    assert (talk.turns, talk.system) == ([], "s")


def test_a_line_that_leaves_less_room_than_asked_for_is_read_alone(tokenizer):
    talk, prompts = by_template(tokenizer, Answer("-"), Answer("-"))
    talk.say("aa", str)
    talk.say("b" * 24, str)
    assert prompts[1] == f"<|user|>{'b' * 24}<|end|><|assistant|>"


def test_a_turn_without_an_answer_is_not_read_again(tokenizer):
    talk, prompts = by_template(tokenizer, Answer(KeyboardInterrupt()), Answer("-"))
    assert talk.say("a", str).reason == "interrupted"
    talk.say("b", str)
    assert prompts[1] == "<|user|>b<|end|><|assistant|>"


def test_what_was_left_out_does_not_come_back_whatever_was_not_answered(tokenizer):
    stopped = [Answer(KeyboardInterrupt()) for _ in range(2)]
    talk, prompts = by_template(tokenizer, stopped[0], Answer("-" * 8), stopped[1], Answer("-"))
    for line in ("x", "a", "b" * 12, "c"):
        talk.say(line, str)
    assert prompts[2] == f"<|user|>{'b' * 12}<|end|><|assistant|>"
    assert prompts[3] == "<|user|>c<|end|><|assistant|>"


def test_where_the_system_gives_instructions_the_first_line_is_one(tokenizer):
    talk, prompts = by_template(tokenizer, Answer("b"), Answer("d"), Answer("f"), template="simple_transformer")
    talk.say("a", str)
    talk.say("c", str)
    talk.reset()
    talk.system = "s"
    talk.say("e", str)
    assert prompts == [
        "<SYSTEM>a</SYSTEM><MODEL>",
        "<SYSTEM>a</SYSTEM><MODEL>b</MODEL><USER>c</USER><MODEL>",
        "<SYSTEM>s</SYSTEM><USER>e</USER><MODEL>",
    ]


def test_saved_as_messages_it_can_be_tuned_on_and_as_text_be_read(tokenizer, tmp_path):
    talk, _ = by_template(
        tokenizer, Answer("b"), Answer(KeyboardInterrupt()), Answer("d\n"), system="s", context_length=99
    )
    for line in ("a", "x", "c"):
        talk.say(line, str)
    said = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d\n")]
    record = {"messages": [{"role": role, "content": content} for role, content in said]}
    for name, content in (("t.jsonl", record), ("t.json", [record])):
        talk.save(tmp_path / name)
        assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == content
    assert "\n" not in (tmp_path / "t.jsonl").read_text(encoding="utf-8").removesuffix("\n")
    talk.save(tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "system: s\n\n> a\nb\n\n> x\n\n\n> c\nd\n\n"


@pytest.fixture(scope="module", params=["next_token", "masked_diffusion"])
def tuned(request, tmp_path_factory):
    """A run whose checkpoint speaks ChatML; its model is as random as on its first day."""
    template = ChatTemplate(**{**TEMPLATES["chatml"].model_dump(), "default_system": "be kind"})
    room = {"model__context_length": 128, "train__tokens_per_step": 256}
    return make_run(tmp_path_factory.mktemp("tuned"), {"kind": request.param}, chat_template=template, **room)


def test_a_tuned_checkpoint_has_a_system_message_to_show_and_to_set(monkeypatch, capsys, tuned):
    lines = ("/system", "hi", "/system be brief", "/system", "a", '/system ""', "/system")
    turns, errors = talk(monkeypatch, capsys, tuned, *lines)
    assert [turn["prompt"] for turn in turns] == ["hi", "a"]
    assert [line for line in errors.splitlines() if "system" in line] == [
        "system: be kind",
        "system: be brief",
        "no system message",
    ]


@pytest.mark.parametrize("tuned", ["next_token"], indirect=True)
def test_a_turn_reads_only_what_is_new(monkeypatch, capsys, tuned):
    """One engine for the whole conversation; without it, two turns would read the first one twice."""
    made = []

    class SmallChunks(Engine):
        def __init__(self, backend, **settings):
            super().__init__(backend, prefill_chunk=8, **settings)
            made.append(self)

    monkeypatch.setattr("hornbook.generation.engines.Engine", SmallChunks)
    talk(monkeypatch, capsys, tuned, "the cat sat on the mat")
    talk(monkeypatch, capsys, tuned, "the cat sat on the mat", "a")
    one, two = (engine.tokens_read for engine in made)
    assert one < two < 2 * one


def test_answers_are_at_most_half_of_a_context_that_is_short_of_the_default(monkeypatch, capsys, tuned):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    assert main(["chat", str(tuned), "--set", "run.threads=1"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "hi"


def test_a_system_message_from_the_command_line(monkeypatch, capsys, tuned, run):
    _, errors = talk(monkeypatch, capsys, tuned, "/system", flags=["--system", "be brief"])
    assert "system: be brief" in errors
    _, errors = talk(monkeypatch, capsys, run, "/system be brief")
    assert "/system: this checkpoint has no chat template" in errors
    assert main(["chat", str(run), "--system", "be brief"]) == 2
    assert "has no chat template" in capsys.readouterr().err
