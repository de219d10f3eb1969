"""The official client talks to the server, and gets the text that `generate_text` makes for the same seed."""

import json

import httpx
import openai
import pytest

from hornbook.config.generate import GenerateConfig
from hornbook.generation.text import Generation, generate_text
from hornbook.serving.served_model import ServedModel
from hornbook.tokenizer.chat import Message, render_prompt
from tiny_server import served, serving

HELLO = [{"role": "user", "content": "the cat sees a dog"}]


@pytest.fixture(scope="module")
def url():
    models = served(), served("diffuser", "masked_diffusion"), served("base", chat=False)
    with serving(*models) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def expected(model: ServedModel, prompt: str | list[int], seed: int, **settings: object) -> Generation:
    config = GenerateConfig.model_validate({"max_new_tokens": 12, **settings})
    [made] = generate_text(model.model, model.tokenizer, [prompt], config, objective=model.objective, seeds=[seed])
    return made


def of_chat(model: ServedModel, *messages: Message) -> list[int]:
    return render_prompt(model.tokenizer, messages).ids


def test_models_are_listed_with_what_they_are(client):
    found = {each.id: each for each in client.models.list().data}
    assert list(found) == ["tiny", "diffuser", "base"]
    assert found["diffuser"].hornbook["decoder"] == "diffusion"
    assert found["base"].hornbook["chat"] is False
    assert client.models.retrieve("tiny").hornbook["context_length"] == 96
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'; there are 'tiny'"):
        client.models.retrieve("other")


@pytest.mark.parametrize("name", ["tiny", "diffuser"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_answer_is_the_text_of_generate(client, name, temperature):
    model = served(name, "masked_diffusion") if name == "diffuser" else served()
    said = [
        {"role": "system", "content": "be kind"},
        *HELLO,
        {"role": "assistant", "content": "so"},
        {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "bird"}]},
    ]
    prompt = of_chat(
        model, Message("system", "be kind"), Message("user", "the cat sees a dog"), Message("assistant", "so"),
        Message("user", "a bird"),
    )  # fmt: skip
    settings = {"temperature": temperature, "seed": 5, "max_tokens": 9}
    wanted = expected(model, prompt, 5, temperature=temperature, max_new_tokens=9)
    whole = client.chat.completions.create(model=name, messages=said, **settings)
    assert whole.choices[0].message.content == wanted.text
    assert whole.choices[0].finish_reason == wanted.finish_reason
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(prompt), len(wanted.tokens))
    pieces = list(
        client.chat.completions.create(
            model=name, messages=said, stream=True, stream_options={"include_usage": True}, **settings
        )
    )
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == wanted.text
    assert [p.choices[0].finish_reason for p in pieces if p.choices][-1] == wanted.finish_reason
    assert pieces[-1].usage.total_tokens == len(prompt) + len(wanted.tokens)


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_conversation_goes_on_with_the_answer_as_it_came(client, as_dictionary):
    first = client.chat.completions.create(model="tiny", messages=HELLO, seed=1, max_tokens=4).choices[0].message
    said = [*HELLO, first.model_dump() if as_dictionary else first, {"role": "user", "content": "so"}]
    made = client.chat.completions.create(model="tiny", messages=said, seed=2, max_tokens=4)
    prompt = of_chat(
        served(), Message("user", "the cat sees a dog"), Message("assistant", first.content), Message("user", "so")
    )
    assert made.choices[0].message.content == expected(served(), prompt, 2, max_new_tokens=4).text


def test_several_choices_have_seeds_of_their_own(client):
    prompt = of_chat(served(), Message("user", "the cat sees a dog"))
    made = client.chat.completions.create(model="tiny", messages=HELLO, n=3, seed=7)
    wanted = [expected(served(), prompt, 7 + i).text for i in range(3)]
    assert [each.message.content for each in made.choices] == wanted
    assert len(set(wanted)) == 3
    streamed = ["", "", ""]
    for piece in client.chat.completions.create(model="tiny", messages=HELLO, n=3, seed=7, stream=True):
        streamed[piece.choices[0].index] += piece.choices[0].delta.content or ""
    assert streamed == wanted


def test_without_a_seed_texts_differ(client):
    made = {client.completions.create(model="base", prompt="the").choices[0].text for _ in range(3)}
    assert len(made) > 1


def test_prompts_are_texts_or_ids_and_may_be_many(client):
    model = served("base", chat=False)
    ids = model.tokenizer.encode("a red")
    settings = {"model": "base", "seed": 3, "max_tokens": 6}
    texts = client.completions.create(prompt=["the cat", "a red"], **settings).choices
    assert [c.text for c in texts] == [expected(model, p, 3, max_new_tokens=6).text for p in ("the cat", "a red")]
    assert client.completions.create(prompt=ids, **settings).choices[0].text == texts[1].text
    assert client.completions.create(prompt=[ids, ids], **settings).choices[1].text == texts[1].text


def test_settings_mean_what_they_mean_to_generate(client):
    model = served("base", chat=False)
    settings = {"temperature": 1.3, "top_p": 0.8}
    ours = {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.2}
    made = client.completions.create(model="base", prompt="the", seed=2, extra_body=ours, **settings)
    assert made.choices[0].text == expected(model, "the", 2, **settings, **ours).text


def test_a_stop_string_ends_the_text_and_no_part_of_it_is_streamed(client):
    model = served("base", chat=False)
    full = expected(model, "the", 1, max_new_tokens=40).text
    stop = next(full[i : i + 3] for i in range(8, 30) if "\ufffd" not in full[i : i + 3])
    wanted = full[: full.index(stop)]
    settings = {"model": "base", "prompt": "the", "seed": 1, "max_tokens": 40, "stop": ["never said", stop]}
    whole = client.completions.create(logprobs=2, **settings)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (wanted, "stop")
    assert whole.choices[0].logprobs.text_offset[-1] < max(1, len(wanted))
    pieces = [each.choices[0] for each in client.completions.create(stream=True, logprobs=2, **settings)]
    assert "".join(piece.text for piece in pieces) == wanted
    tokens = [token for piece in pieces if piece.logprobs for token in piece.logprobs.tokens]
    assert tokens == whole.choices[0].logprobs.tokens


def test_log_probabilities_are_the_models_own_and_join_to_the_text(client):
    prompt = of_chat(served(), Message("user", "the cat sees a dog"))
    wanted = expected(served(), prompt, 9)
    made = client.chat.completions.create(model="tiny", messages=HELLO, seed=9, logprobs=True, top_logprobs=3)
    scores = made.choices[0].logprobs.content
    assert [each.logprob for each in scores] == pytest.approx(list(wanted.logprobs[: len(scores)]), abs=1e-5)
    assert b"".join(bytes(each.bytes) for each in scores).decode("utf-8", "replace") == wanted.text
    for each in scores:
        best = [other.logprob for other in each.top_logprobs]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert each.logprob <= best[0] + 1e-6


def test_denoising_steps_are_streamed_where_they_are_asked_for(client):
    model = served("diffuser", "masked_diffusion")
    wanted = expected(model, of_chat(model, Message("user", "the cat sees a dog")), 4, max_new_tokens=6)
    pieces = list(
        client.chat.completions.create(
            model="diffuser", messages=HELLO, seed=4, max_tokens=6, stream=True,
            extra_body={"hornbook": {"denoising": True}},
        )
    )  # fmt: skip
    steps = [piece.hornbook["denoise"] for piece in pieces if not piece.choices]
    assert [step["step"] for step in steps] == list(range(len(steps)))
    masked = [sum(token["text"] is None for token in step["tokens"]) for step in steps]
    assert masked == sorted(masked, reverse=True)
    assert len(steps) == 6 - masked[-1]
    assert all(0 < token["confidence"] <= 1 for token in steps[-1]["tokens"] if token["text"] is not None)
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == wanted.text
    with pytest.raises(openai.BadRequestError, match="denoising needs a diffusion model"):
        client.chat.completions.create(model="tiny", messages=HELLO, extra_body={"hornbook": {"denoising": True}})


REFUSED = [
    ({"temperature": "hot"}, "temperature", "invalid_value"),
    ({"temperature": -1}, "temperature", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"n": 1000}, "n", "invalid_value"),
    ({"nonsense": 1}, "nonsense", "unknown_parameter"),
    ({"tools": [{"type": "function"}]}, None, "invalid_value"),
    ({"logit_bias": {"1": 2.0}}, None, "invalid_value"),
    ({"logit_bias": {"a": "b"}}, None, "invalid_value"),
    ({"frequency_penalty": 0.5}, None, "invalid_value"),
    ({"top_logprobs": 2}, None, "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"stop": 3}, "stop", "invalid_value"),
    ({"stop": ["a", ""]}, "stop", "invalid_value"),
    ({"messages": [{"role": "user", "content": ""}]}, None, "invalid_value"),
    ({"messages": [{"role": "assistant", "content": "so"}]}, None, "invalid_value"),
    ({"messages": [{"role": "user", "content": "the cat " * 200}]}, "messages", "context_length_exceeded"),
    ({"model": "base"}, "model", "no_chat_template"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_what_cannot_be_served_is_refused_with_its_reason(client, fields, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "tiny", "messages": HELLO, "extra_body": fields})
    assert "Value error" not in caught.value.message
    assert (caught.value.param, caught.value.code, caught.value.type) == (param, code, "invalid_request_error")


def test_what_says_off_and_what_changes_no_text_is_taken(client):
    quiet = {"frequency_penalty": 0, "tools": [], "response_format": {"type": "text"}, "user": "me", "store": False}
    assert client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=1, extra_body=quiet).choices


def test_tokens_there_and_back(url):
    own = served().tokenizer
    for text in ("the cat é 🦉", "<|end|> is text", ""):
        made = httpx.post(f"{url}/tokenize", json={"model": "tiny", "prompt": text}).json()
        assert made["tokens"] == own.encode(text)
        assert made["count"] == len(made["tokens"])
        assert b"".join(bytes(piece["bytes"]) for piece in made["pieces"]).decode() == text
        back = httpx.post(f"{url}/detokenize", json={"model": "tiny", "tokens": made["tokens"]})
        assert back.json() == {"prompt": text}
    made = httpx.post(f"{url}/tokenize", json={"model": "tiny", "messages": HELLO}).json()
    assert made["tokens"] == of_chat(served(), Message("user", "the cat sees a dog"))
    assert made["pieces"][0] == {
        "id": own.special_tokens["<|user|>"], "text": "<|user|>", "bytes": list(b"<|user|>"), "special": True,
    }  # fmt: skip
    wrong = httpx.post(f"{url}/detokenize", json={"model": "tiny", "tokens": [10**6]})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "tokens")


def test_every_line_of_a_stream_is_an_event(url):
    body = {"model": "base", "prompt": "the", "stream": True}
    answer = httpx.post(f"{url}/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(each.removeprefix("data: "))["object"] == "text_completion" for each in events[:-2])
