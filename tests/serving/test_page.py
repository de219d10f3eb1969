"""The page in a real browser, before a server with known answers: what people do with it, and what it withstands."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hornbook.serving.page import chat_page
from serving.browser import chromium
from serving.page_stub import ANSWER, HOSTILE, MASKED, ORDER, Stub, serving

pytestmark = [pytest.mark.browser, pytest.mark.medium]

LONG = "Donaudampfschifffahrtsgesellschaft" * 9
HOSTILE_RUN = "<img src=x onerror=window.hacked=3>"
LUMINANCE = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  const linear = value => value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = name => {
    probe.style.color = `var(--${name})`;
    const [red, green, blue] = getComputedStyle(probe).color.match(/[0-9.]+/g).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const names = ["paper", "panel", "raised", "ink", "soft", "accent", "alarm", "alarm-tint", "on-accent"];
  return Object.fromEntries(names.map(name => [name, luminance(name)]));
}"""
"""Of the page's colours, as WCAG 2 defines it."""
UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, a")]
  .filter(node => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
  .map(node => node.outerHTML)"""
EXPECTED = re.compile("Failed to load resource|ERR_INTERNET_DISCONNECTED|ERR_CONNECTION")


def write_run(root: Path, name: str, *, steps: int, state: str = "finished") -> None:
    (root / name).mkdir(parents=True)
    (root / name / "state").write_text(state + "\n")
    events: list[dict] = [{"event": "start", "step": 0, "total_steps": 100}]
    train = {"event": "train", "train/learning_rate": 0.1}
    events += [{**train, "step": step, "train/loss": 5.0 / step} for step in range(1, steps + 1)]
    events.append({"event": "val", "step": steps, "val/loss": 1.25})
    (root / name / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("page") / "runs"
    write_run(root, "story", steps=100)
    write_run(root, HOSTILE_RUN, steps=3, state="failed")
    stub = Stub(root)
    with serving(stub.app) as address:
        yield stub, address


@pytest.fixture
def stub(site):
    stub = site[0]
    stub.asked, stub.key, stub.gone, stub.disconnected = [], None, False, 0
    yield stub
    stub.key, stub.gone = None, False


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(site, stub, browser):
    """Opens the page at a view; afterwards nothing may have failed, and nothing been asked of another address."""
    _, address = site
    contexts, wrong = [], []

    def note(message):
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            wrong.append(message.text)

    def open_page(view: str = "", **options) -> Page:
        contexts.append(browser.new_context(**{"viewport": {"width": 1180, "height": 800}, **options}))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", note)
        page.on(
            "request", lambda request: None if request.url.startswith((address, "data:")) else wrong.append(request.url)
        )
        page.goto(f"{address}/{view}")
        expect(page.locator("#model")).to_be_enabled()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def ask(page: Page, text: str) -> None:
    page.locator("#input").fill(text)
    page.locator("#input").press("Enter")


def ended(page: Page, number: int = 1) -> None:
    expect(page.locator(".turn.assistant")).to_have_count(number)
    expect(page.locator(".turn.assistant").last).to_have_attribute("aria-busy", "false")


def answer_of(page: Page) -> str:
    return page.locator(".turn.assistant .body").last.text_content()


def test_without_chromium_there_is_no_test_and_in_ci_a_failure(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"), chromium():
        pass
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception), chromium():
        pass


def test_a_conversation_is_held_with_its_settings(opened, stub):
    page = opened()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be kind.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Top-k").fill("40")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Stop at").fill("END\nFIN")
    ask(page, "hello")
    ended(page)
    assert answer_of(page) == "".join(ANSWER)
    ask(page, "and then?")
    ended(page, 2)
    first, second = stub.asked
    assert first["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]
    assert second["messages"][1:] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "".join(ANSWER)},
        {"role": "user", "content": "and then?"},
    ]
    assert (first["temperature"], first["top_k"], first["seed"], first["stop"]) == (0.5, 40, 7, ["END", "FIN"])
    assert first["stream"] is True
    assert not {"top_p", "min_p", "max_tokens"} & set(first)
    page.reload()
    expect(page.get_by_label("Top-k")).to_have_value("40")
    expect(page.locator(".turn.assistant .token.s4").first).to_have_text(ANSWER[4])
    assert answer_of(page) == "".join(ANSWER)


def test_an_answer_can_be_stopped_and_the_server_hears_of_it(opened, stub):
    page = opened()
    ask(page, "slow")
    expect(page.locator(".turn.assistant")).to_contain_text("word3")
    page.get_by_role("button", name="Stop").click()
    ended(page)
    expect(page.locator(".note")).to_have_text("You stopped this answer.")
    stopped = answer_of(page)
    assert "word3" in stopped
    assert "word399" not in stopped
    ask(page, "slow again")
    expect(page.locator(".turn.assistant").nth(1)).to_contain_text("word1")
    page.keyboard.press("Escape")
    ended(page, 2)
    assert stub.asked[1]["messages"][1] == {"role": "assistant", "content": stopped}
    for _ in range(100):
        if stub.disconnected == 2:
            break
        page.wait_for_timeout(50)
    assert stub.disconnected == 2


def test_retry_keeps_both_answers_edit_begins_anew_and_copy_copies(opened, stub):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    ask(page, "first")
    ended(page)
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".versions")).to_contain_text("2 / 2")
    page.get_by_role("button", name="Previous answer").click()
    expect(page.locator(".versions")).to_contain_text("1 / 2")
    expect(page.get_by_role("button", name="Next answer")).to_be_focused()
    assert stub.asked[0]["seed"] != stub.asked[1]["seed"]
    ask(page, "second")
    ended(page, 2)
    page.locator("#input").press("ArrowUp")
    page.get_by_label("Your message").fill("second, better")
    page.get_by_label("Your message").press("Enter")
    ended(page, 2)
    assert [each["content"] for each in stub.asked[-1]["messages"]] == ["first", "".join(ANSWER), "second, better"]
    page.locator(".turn.assistant").last.get_by_role("button", name="Copy").click()
    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "".join(ANSWER)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#empty h1")).to_have_text("tales")


def test_markup_of_a_model_or_a_user_stays_text(opened):
    page = opened()
    ask(page, f"hostile {HOSTILE}")
    ended(page)
    assert answer_of(page) == HOSTILE
    expect(page.locator(".bubble")).to_have_text(f"hostile {HOSTILE}")
    page.locator(".token").first.hover()
    expect(page.locator("#tip")).to_contain_text("<b>cat</b>")
    page.goto(page.url.partition("#")[0] + "#runs")
    expect(page.locator("#runs li b").filter(has_text=HOSTILE_RUN)).to_be_visible()
    page.get_by_role("link", name=HOSTILE_RUN).click()
    expect(page.get_by_role("heading", name=HOSTILE_RUN)).to_be_visible()
    page.goto(page.url.partition("#")[0] + "#tokens")
    page.locator("#text").fill(HOSTILE)
    expect(page.locator(".pieces")).to_have_text(HOSTILE)
    assert page.locator("main :is(script, img, b:has(*)), #tip :is(script, img, b)").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_policy_forbids_what_is_not_the_pages_own(site, browser):
    page = browser.new_page()
    page.goto(site[1])
    assert "unsafe" not in chat_page().headers["Content-Security-Policy"]
    found = page.evaluate("""() => {
      const found = [];
      try { document.body.innerHTML = "<b>x</b>"; } catch (error) { found.push(error.name); }
      return new Promise(done => {
        document.addEventListener("securitypolicyviolation", event => {
          found.push(event.effectiveDirective);
          if (found.includes("img-src") && found.includes("connect-src")) done(found);
        });
        new Image().src = "/health.png";
        fetch("http://127.0.0.2:1/").catch(() => {});
      });
    }""")
    assert set(found) >= {"TypeError", "img-src", "connect-src"}
    expect(page.locator("#input")).to_be_visible()
    page.close()


def test_tokens_tell_how_probable_they_were_and_what_else_might_have_come(opened):
    page = opened()
    ask(page, "hello")
    ended(page)
    tokens = page.locator(".turn.assistant .token")
    assert tokens.all_text_contents() == [*ANSWER[:5], " ", "🦉", *ANSWER[6:]]  # the owl's first byte and its last
    assert tokens.nth(0).get_attribute("class") == "token s0"
    assert tokens.nth(4).get_attribute("class") == "token s4"
    tokens.nth(4).hover()
    tip = page.locator("#tip")
    expect(tip.locator(".top")).to_have_text("␣owl4.0 %")
    assert tip.locator("li").all_text_contents() == ["␣dog31 %", "␣<b>cat</b>22 %", "␣owl4.0 %"]
    page.mouse.move(5, 400)
    expect(tip).to_be_hidden()
    page.get_by_role("button", name="Copy").last.focus()
    page.keyboard.press("Shift+Tab")
    expect(tip).to_contain_text("Once")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("␣an60 %")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Colour tokens").uncheck()
    expect(tokens).to_have_count(0)
    assert answer_of(page) == "".join(ANSWER)


def test_a_diffusion_model_fills_in_its_masks_step_by_step(opened, stub):
    page = opened()
    page.locator("#model").select_option("masks")
    ask(page, "hello")
    ended(page)
    assert stub.asked[0]["hornbook"] == {"denoising": True}
    assert "logprobs" not in stub.asked[0]
    assert answer_of(page) == "".join(MASKED[:-1])
    slider = page.get_by_label("Step of the denoising")
    expect(slider).to_have_value(str(len(ORDER)))
    filled: set[int] = set()
    for step in range(len(ORDER)):
        slider.fill(str(step))
        filled |= set(ORDER[step - 1]) if step else set()
        expect(page.locator(".mask")).to_have_count(len(MASKED) - len(filled))
        assert answer_of(page) == "".join(word for i, word in enumerate(MASKED) if i in filled)
        expect(page.locator(".fresh")).to_have_count(len(set(ORDER[step - 1]) - {7}) if step else 0)
    page.get_by_text("on", exact=True).hover()
    expect(page.locator("#tip")).to_contain_text("decided in step 2")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator(".scrub output")).to_have_text(f"step 0 of {len(ORDER)} · 0 of {len(MASKED)} filled")
    page.get_by_role("button", name="Play the denoising").click()
    expect(page.locator(".scrub output")).to_have_text(f"step {len(ORDER)} of {len(ORDER)}")
    assert answer_of(page) == "".join(MASKED[:-1])


def test_faults_are_told_where_they_happen(opened, stub):
    page = opened()
    fault = page.locator(".turn.assistant .fault")
    ask(page, "busy")
    expect(fault).to_contain_text("The server is busy7 requests wait already. Try again in 3 seconds.")
    ask(page, "break")
    expect(fault.last).to_contain_text("the model fell over")
    expect(page.locator(".turn.assistant").last).to_contain_text("half an")
    assert [each["content"] for each in stub.asked[-1]["messages"]] == ["break"]  # what failed was never said
    page.context.set_offline(True)
    ask(page, "hello")
    expect(fault.last).to_contain_text("The server cannot be reached")
    page.context.set_offline(False)
    fault.last.get_by_role("button", name="Try again").click()
    ended(page, 3)
    assert answer_of(page) == "".join(ANSWER)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Most new tokens").fill("14")
    ask(page, "hello")
    expect(page.locator(".note")).to_contain_text("Cut at 14 tokens")


def test_a_key_is_asked_for_and_kept_for_this_tab_alone(opened, stub, site):
    page = opened()
    stub.key = "s3cret"
    page.reload()
    expect(page.locator("#empty")).to_contain_text("This server asks for a key")
    page.get_by_role("button", name="Open settings").click()
    page.get_by_label("API key").fill("s3cret")
    page.get_by_label("API key").press("Tab")
    expect(page.locator("#empty h1")).to_have_text("tales")
    ask(page, "hello")
    ended(page)
    assert answer_of(page) == "".join(ANSWER)
    assert "s3cret" not in page.evaluate("JSON.stringify({...localStorage})")


def test_a_server_that_is_away_can_be_looked_for_again(opened, stub):
    page = opened()
    stub.gone = True
    page.reload()
    expect(page.locator("#empty")).to_contain_text("The server failed")
    page.get_by_role("link", name="Runs").click()
    expect(page.locator("#runs-out")).to_contain_text("out of order")
    stub.gone = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name=re.compile("^story"))).to_be_visible()
    page.get_by_role("link", name="Chat").first.click()
    page.get_by_role("button", name="Connect again").click()
    expect(page.locator("#empty h1")).to_have_text("tales")


def test_a_base_model_goes_on_with_the_text(opened, stub):
    page = opened()
    page.locator("#model").select_option("base")
    page.get_by_role("button", name="Once upon a time").click()
    ended(page)
    assert stub.asked[0]["prompt"] == "Once upon a time"
    assert stub.asked[0]["logprobs"] == 5
    expect(page.locator(".answer")).to_have_text("Once upon a time" + "".join(ANSWER))
    assert page.locator(".token.s4").count() == 2
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Chat", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Edit and send again").click()
    page.get_by_label("Your message").fill("Twice")
    page.get_by_label("Your message").press("Enter")
    expect(page.locator(".answer")).to_have_text("Twice" + "".join(ANSWER))


def test_any_text_is_shown_as_tokens(opened):
    page = opened("#tokens")
    page.locator("#text").fill("<|end|> be é")
    pieces = page.locator(".piece")
    expect(pieces).to_have_text(["<|end|>", " be", " ", "⟨c3⟩", "⟨a9⟩"])
    expect(page.locator(".piece.control")).to_have_count(1)
    expect(page.locator(".counts")).to_contain_text("bytes13")
    pieces.nth(3).hover()
    expect(page.locator("#tip")).to_contain_text("part of a character")
    page.get_by_label("Ids").check(force=True)
    assert pieces.all_text_contents() == ["100", "101", "102", "103", "104"]
    page.locator("#text").fill("")
    expect(page.locator("#pieces-out")).to_have_text("Nothing to cut yet.")


def test_curves_of_runs_are_drawn_and_read(opened):
    page = opened("#runs/story")
    plot = page.get_by_role("img", name=re.compile("^Loss, at step 100: training, smoothed"))
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 11, box["y"] + 100)
    expect(page.locator("#tip")).to_contain_text("step 100")
    expect(page.locator("#tip")).to_contain_text("validation1.25")
    plot.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tip")).to_contain_text("step 98")
    path = plot.locator("path").first.get_attribute("d")
    points = [tuple(map(float, point.split())) for point in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
    assert len(points) == 100
    assert [y for _, y in points] == sorted(y for _, y in points)  # a falling loss goes down the screen
    expect(page.locator(".standing")).to_contain_text("step 100 of 100")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(opened, scheme):
    page = opened(color_scheme=scheme)
    found = page.evaluate(LUMINANCE)
    assert (found["paper"] > 0.5) == (scheme == "light")
    pairs = [("ink", "paper"), ("soft", "paper"), ("soft", "panel"), ("soft", "raised"), ("accent", "paper")]
    for text, ground in [*pairs, ("alarm", "alarm-tint"), ("on-accent", "accent")]:
        high, low = sorted((found[text], found[ground]), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)  # WCAG 2, AA
    other = "dark" if scheme == "light" else "light"
    while page.get_by_role("button", name="Colours:").get_attribute("title") != f"Colours: {other}":
        page.get_by_role("button", name="Colours:").click()
    page.reload()
    assert (page.evaluate(LUMINANCE)["paper"] > 0.5) == (other == "light")


def test_a_telephone_needs_no_scrolling_sideways_and_every_control_has_a_name(opened):
    page = opened(viewport={"width": 390, "height": 760}, has_touch=True, is_mobile=True)
    wide = "document.documentElement.scrollWidth + document.getElementById('scroll').scrollWidth"
    ask(page, LONG)
    ended(page)
    ask(page, "hostile")
    ended(page, 2)
    assert page.evaluate(wide) <= 2 * 390
    page.get_by_role("button", name="Settings").click()
    assert page.evaluate("document.getElementById('settings').getBoundingClientRect().right") <= 390
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    address = page.url.partition("#")[0]
    for view, seen in (("#tokens", ".piece"), ("#runs", ".runs li"), ("#runs/story", ".plot svg")):
        page.goto(address + view)
        expect(page.locator(seen).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
    assert page.evaluate(UNNAMED) == []
