"""Make the pictures of the page in docs/images/: two small models learn nursery rhymes, are served, and are talked to.

    python scripts/make_page_pictures.py [--work DIRECTORY]

With `--work` what is trained is kept and used again. It takes some minutes, and needs chromium and the extras test.
"""

import argparse
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
RHYMES = """
# Humpty Dumpty
Humpty Dumpty sat on a wall,
Humpty Dumpty had a great fall.
All the king's horses and all the king's men
Couldn't put Humpty together again.

# Jack and Jill
Jack and Jill went up the hill
To fetch a pail of water.
Jack fell down and broke his crown,
And Jill came tumbling after.

# Hickory, dickory, dock
Hickory, dickory, dock,
The mouse ran up the clock.
The clock struck one,
The mouse ran down,
Hickory, dickory, dock.

# Little Bo-Peep
Little Bo-Peep has lost her sheep,
And can't tell where to find them.
Leave them alone, and they'll come home,
Bringing their tails behind them.

# Hey diddle diddle
Hey diddle diddle, the cat and the fiddle,
The cow jumped over the moon.
The little dog laughed to see such sport,
And the dish ran away with the spoon.

# Little Miss Muffet
Little Miss Muffet sat on a tuffet,
Eating her curds and whey.
There came a big spider, who sat down beside her,
And frightened Miss Muffet away.

# Baa, baa, black sheep
Baa, baa, black sheep, have you any wool?
Yes, sir, yes, sir, three bags full.
One for the master, and one for the dame,
And one for the little boy who lives down the lane.

# Twinkle, twinkle
Twinkle, twinkle, little star,
How I wonder what you are!
Up above the world so high,
Like a diamond in the sky.

# Little Jack Horner
Little Jack Horner sat in the corner,
Eating his Christmas pie.
He put in his thumb, and pulled out a plum,
And said, what a good boy am I!

# The queen of hearts
The queen of hearts, she made some tarts,
All on a summer's day.
The knave of hearts, he stole the tarts,
And took them clean away.

# Old King Cole
Old King Cole was a merry old soul,
And a merry old soul was he.
He called for his pipe, and he called for his bowl,
And he called for his fiddlers three.

# Mary had a little lamb
Mary had a little lamb,
Its fleece was white as snow.
And everywhere that Mary went,
The lamb was sure to go.
"""
"""Each after its name."""
ASKED = ("How does {} go?", "Do you know {}?", "Please sing {}.", "Tell me {}.")
TOKENIZER = """
[run]
out_dir = "{work}/runs"
name = "rhymes"
seed = 1
threads = 1

[tokenizer]
path = "{work}/tokenizer"
kind = "bpe"
vocab_size = 640
special_tokens = "chat"

[data]
path = "{work}/text"

[data.source]
kind = "text"
paths = ["{work}/rhymes.txt"]
"""
TRAINING = """
extends = "tokenizer.toml"

[data]
stage = "sft"
path = "{work}/data"
split = "position"
valid_fraction = 0.1

[data.source]
kind = "jsonl"
paths = ["{work}/rhymes.jsonl"]

[model]
context_length = 128
d_model = 96
n_layers = 3
n_heads = 4

[optim]
learning_rate = 4e-3

[schedule]
kind = "cosine"
warmup_steps = 10

[train]
steps = 60
compile = "off"
sequences_per_step = 16
micro_batch_size = 16
log_every = 2
eval_every = 20

[checkpoint]
full_every = 0
light_every = 0
"""
MASKED = """
extends = "rhymes.toml"

[run]
name = "rhymes-masked"

[objective]
kind = "masked_diffusion"

[train]
steps = 500
log_every = 5
eval_every = 50
"""


def train(work: Path) -> None:
    """The two runs, unless they are there."""
    if (work / "runs/rhymes-masked/state").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    rhymes = dict(each.split("\n", 1) for each in RHYMES.strip().removeprefix("# ").split("\n\n# "))
    (work / "rhymes.txt").write_text("\n\n".join(rhymes.values()) + "\n", encoding="utf-8")
    with (work / "rhymes.jsonl").open("w", encoding="utf-8") as file:
        for question in ASKED:
            for name, rhyme in rhymes.items():
                said = [{"role": "user", "content": question.format(name)}, {"role": "assistant", "content": rhyme}]
                file.write(json.dumps({"messages": said}) + "\n")
    for name, text in (("tokenizer", TOKENIZER), ("rhymes", TRAINING), ("masked", MASKED)):
        (work / f"{name}.toml").write_text(text.format(work=work.as_posix()), encoding="utf-8")
    hornbook("tokenizer", "train", work / "tokenizer.toml")
    hornbook("data", "prepare", work / "rhymes.toml")
    hornbook("train", work / "rhymes.toml")
    hornbook("train", work / "masked.toml")


def hornbook(*words: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "hornbook", *map(str, words)], check=True)


@contextlib.contextmanager
def served(work: Path) -> Iterator[str]:
    """The address of a server of both models."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hornbook", "serve", "--port", str(port)]
    for name in ("rhymes", "rhymes-masked"):
        command += ["--model", f"{name}={work / 'runs' / name}"]
    server = subprocess.Popen(command, cwd=work)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health").close()
                break
            time.sleep(0.1)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


class Photographer:
    """Opens pages and takes pictures of them."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        self._address = address

    def open(
        self, view: str = "", *, width: int = 1080, height: int = 700, dark: bool = False, **settings: str
    ) -> Page:
        """A page with other settings than its own, as a desktop or (narrow) a telephone has it."""
        phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2} if width < 500 else {}
        scheme = "dark" if dark else "light"
        context = self._browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **phone)
        page = context.new_page()
        kept = json.dumps({"model": "rhymes", "temperature": "0.7", "seed": "3", **settings})
        page.add_init_script(f"localStorage.hornbook ??= {json.dumps(kept)}")
        page.goto(f"{self._address}/{view}")
        expect(page.locator("#model")).to_be_enabled()
        return page

    def take(self, page: Page, name: str) -> None:
        """Into docs/images/page-NAME.png."""
        page.wait_for_timeout(300)
        page.screenshot(path=IMAGES / f"page-{name}.png")


def ask(page: Page, text: str) -> None:
    """Say something, and wait for the whole answer."""
    number = page.locator(".turn.assistant").count() + 1
    page.locator("#input").fill(text)
    page.locator("#input").press("Enter")
    expect(page.locator(".turn.assistant")).to_have_count(number)
    expect(page.locator(".turn.assistant").last).to_have_attribute("aria-busy", "false", timeout=120_000)


def surprising(page: Page) -> None:
    """Point at the last token that was far from a matter of course."""
    page.locator(".turn.assistant").last.locator(".s4, .s5").last.hover()


def photograph(camera: Photographer) -> None:
    """All pictures."""
    page = camera.open()
    ask(page, "How does Humpty Dumpty go?")
    ask(page, "And a rhyme about a mouse?")
    surprising(page)
    camera.take(page, "light")
    page = camera.open(dark=True)
    page.get_by_role("button", name="Settings").click()
    ask(page, "Do you know Old King Cole?")
    camera.take(page, "dark")
    page = camera.open(width=390, height=760)
    ask(page, "Please sing Twinkle, twinkle.")
    ask(page, "And what of the little star?")
    camera.take(page, "phone")
    page = camera.open(model="rhymes-masked", height=520, max_tokens="40")
    ask(page, "Tell me Jack and Jill.")
    slider = page.get_by_label("Step of the denoising")
    slider.fill(str(int(slider.get_attribute("max") or 0) * 3 // 5))
    page.mouse.click(5, 400)
    camera.take(page, "diffusion")
    page = camera.open("#tokens", height=620)
    page.locator("#text").fill("A hornbook was a child's first reader:\none sheet, the letters, a handle. Très ancien.")
    page.wait_for_timeout(600)
    page.locator(".piece").nth(3).hover()
    camera.take(page, "tokens")
    page = camera.open("#runs/rhymes-masked", height=760)
    page.locator(".plot svg").first.hover()
    camera.take(page, "runs")


def main() -> None:
    """Train, serve, photograph."""
    parser = argparse.ArgumentParser(description="Make the pictures of the page.")
    parser.add_argument("--work", type=Path, help="where the two models are kept")
    arguments = parser.parse_args()
    work = (arguments.work or Path(tempfile.mkdtemp())).absolute()
    IMAGES.mkdir(exist_ok=True)
    try:
        train(work)
        path = shutil.which("chromium")
        with served(work) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
            photograph(Photographer(browser, address))
            browser.close()
    finally:
        if arguments.work is None:
            shutil.rmtree(work)
    for picture in sorted(IMAGES.glob("page-*.png")):
        print(f"{picture.name}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
