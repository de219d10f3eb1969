"""The page before the real server: what it shows is what the models said."""

import re

import pytest
from playwright.sync_api import Page, expect

from hornbook.config.generate import GenerateConfig
from hornbook.generation.prompt_ids import encode_prompt
from hornbook.generation.text import generate_text
from hornbook.tokenizer.chat import Message, render_prompt
from serving.browser import chromium
from tiny_server import served, serving

pytestmark = [pytest.mark.browser, pytest.mark.medium]

SEED, LENGTH, SAID = 5, 9, "the cat sees a dog"


@pytest.fixture(scope="module")
def models():
    all_models = served(), served("diffuser", "masked_diffusion"), served("base", chat=False)
    return {model.name: model for model in all_models}


@pytest.fixture(scope="module")
def page(models):
    with serving(*models.values()) as url, chromium() as browser:
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#model")).to_be_enabled()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Seed").fill(str(SEED))
        page.get_by_label("Most new tokens").fill(str(LENGTH))
        yield page


def answer(page: Page, model: str) -> str:
    page.locator("#model").select_option(model)
    page.get_by_role("button", name="New conversation").click()
    page.locator("#input").fill(SAID)
    page.locator("#input").press("Enter")
    expect(page.locator(".turn.assistant")).to_have_attribute("aria-busy", "false")
    return page.locator(".turn.assistant .body").text_content()


@pytest.mark.parametrize("name", ["tiny", "diffuser", "base"])
def test_the_answer_is_the_text_of_generate(page, models, name):
    model = models[name]
    tokenizer = model.tokenizer
    chat = tokenizer.chat_template is not None
    prompt = render_prompt(tokenizer, [Message("user", SAID)]).ids if chat else encode_prompt(tokenizer, SAID)
    config = GenerateConfig.model_validate({"max_new_tokens": LENGTH, "temperature": 0.8})
    [made] = generate_text(model.model, tokenizer, [prompt], config, objective=model.objective, seeds=[SEED])
    assert answer(page, name) == made.text
    expect(page.locator(".turn .facts")).to_contain_text(f"{len(made.tokens)} token")
    if name == "diffuser":
        slider = page.get_by_label("Step of the denoising")
        steps = int(slider.get_attribute("max"))
        slider.fill("0")
        expect(page.locator(".mask")).to_have_count(LENGTH)
        slider.fill(str(steps - 1))
        expect(page.locator(".mask")).to_have_count(1)
    elif "\ufffd" not in made.text:
        assert "".join(page.locator(".turn.assistant .token").all_text_contents()) == made.text


def test_tokens_are_those_of_the_models_tokenizer(page, models):
    tokenizer = models["tiny"].tokenizer
    page.locator("#model").select_option("tiny")
    page.get_by_role("link", name="Tokens").click()
    page.locator("#text").fill("the naïve cat")
    ids = encode_prompt(tokenizer, "the naïve cat")
    expect(page.locator(".counts")).to_contain_text(f"tokens{len(ids)}characters")
    page.get_by_label("Ids").check(force=True)
    assert page.locator(".piece").all_text_contents() == [str(i) for i in ids]


def test_the_server_shows_the_runs_of_its_folder(page):
    page.get_by_role("link", name="Runs").click()
    expect(page.locator("#runs-out")).to_contain_text(re.compile("Nothing has been trained|runs? in the folder"))
    page.get_by_role("link", name="Chat").first.click()
