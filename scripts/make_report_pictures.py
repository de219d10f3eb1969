"""Make the pictures of the report in docs/images/: a small model reads Python's documentation, is evaluated and swept.

    python scripts/make_report_pictures.py [--work DIRECTORY]

With `--work` what is trained is kept and used again. It takes some minutes, and needs chromium and the extras test.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
READER = """
[run]
name = "reader"
seed = 1
threads = 1

[tokenizer]
vocab_size = 1024

[data]
max_tokens = 400_000
valid_fraction = 0.1

[data.source]
kind = "embedded"

[model]
context_length = 64
d_model = 64
n_layers = 2
n_heads = 4

[optim]
learning_rate = 6e-3

[schedule]
kind = "wsd"
warmup_steps = 20

[train]
steps = 400
compile = "off"
tokens_per_step = 1024
micro_batch_size = 16
log_every = 2
eval_every = 25
eval_tokens = 8192
sample_every = 100
sample_prompts = ["A function is"]

[generate]
max_new_tokens = 60
temperature = 0.7

[eval]
max_tokens = 8192

[checkpoint]
full_every = 100
full_keep = 8

[tracking]
norms_every = 10
"""
SWEEP = """
extends = "reader.toml"

[run]
name = "none"

[train]
steps = 80
eval_every = 20
sample_every = 0

[sweep]
name = "rates"

[sweep.grid]
optim.learning_rate = [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3]
model.feed_forward = ["swiglu", "gelu"]
"""


def train(work: Path) -> None:
    """The run with its evaluations, a second one to compare it with, and the sweep, unless they are there."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "reader.toml").write_text(READER, encoding="utf-8")
    (work / "rates.toml").write_text(SWEEP, encoding="utf-8")
    if not (work / "runs/reader/state").exists():
        hornbook(work, "tokenizer", "train", "reader.toml")
        hornbook(work, "data", "prepare", "reader.toml")
        hornbook(work, "train", "reader.toml")
        for step in (100, 200, 300, 400):
            hornbook(work, "eval", "perplexity", f"runs/reader/checkpoints/step-{step:08d}")
    if not (work / "runs/wider/state").exists():
        hornbook(work, "train", "reader.toml", *sets('run.name="wider"', "model.d_model=96", "train.sample_every=0"))
    if not (work / "runs/rates/sweep.toml").exists():
        hornbook(work, "sweep", "run", "rates.toml")


def sets(*assignments: str) -> list[str]:
    """As arguments."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def hornbook(work: Path, *words: object) -> None:
    """Run a command in the folder, so that what is said of paths is short."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    subprocess.run([sys.executable, "-P", "-m", "hornbook", *map(str, words)], check=True, cwd=work, env=environment)


class Photographer:
    """Opens reports and takes pictures of them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def open(self, page: Path, *, width: int = 1080, height: int = 760, dark: bool = False) -> Page:
        """A page as a desktop or (narrow) a telephone has it."""
        phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2} if width < 500 else {}
        scheme = "dark" if dark else "light"
        context = self._browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **phone)
        opened = context.new_page()
        opened.goto(page.absolute().as_uri())
        return opened

    def take(self, page: Page, name: str) -> None:
        """Into docs/images/report-NAME.png."""
        page.wait_for_timeout(200)
        page.screenshot(path=IMAGES / f"report-{name}.png")


def scroll(page: Page, heading: str) -> None:
    """So that a part stands at the top."""
    page.get_by_role("heading", name=heading, exact=True).first.evaluate("h => h.scrollIntoView()")


def photograph(camera: Photographer, work: Path) -> None:
    """All pictures."""
    page = camera.open(work / "runs/reader/report.html", height=900)
    page.locator("#losses svg >> visible=true").hover()
    camera.take(page, "run")
    page = camera.open(work / "runs/reader/report.html", dark=True, height=560)
    for step in (200, 100):
        page.get_by_text(f"step {step}", exact=True).first.click()
    scroll(page, "Samples")
    camera.take(page, "samples-dark")
    page = camera.open(work / "runs/reader/report.html", height=820)
    scroll(page, "Evaluations")
    camera.take(page, "evaluations")
    scroll(page, "Data")
    camera.take(page, "data")
    page = camera.open(work / "both.html", height=900)
    page.locator(".across .by-flops").check()
    page.locator("#losses svg >> visible=true").hover()
    camera.take(page, "both")
    page = camera.open(work / "runs/rates/report.html", height=860)
    scroll(page, "The sweep")
    camera.take(page, "sweep")


def main() -> None:
    """Train, report, photograph."""
    parser = argparse.ArgumentParser(description="Make the pictures of the report.")
    parser.add_argument("--work", type=Path, help="where the runs are kept")
    arguments = parser.parse_args()
    work = (arguments.work or Path(tempfile.mkdtemp())).absolute()
    IMAGES.mkdir(exist_ok=True)
    try:
        train(work)
        hornbook(work, "report", "runs/reader", "--plots", "plots", "--by", "tokens")
        hornbook(work, "report", "runs/reader", "runs/wider", "--out", "both.html")
        hornbook(work, "report", "runs/rates")
        shutil.copy(work / "plots/losses.svg", IMAGES / "report-plot.svg")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            photograph(Photographer(browser), work)
            browser.close()
    finally:
        if arguments.work is None:
            shutil.rmtree(work)
    for picture in sorted(IMAGES.glob("report-*")):
        print(f"{picture.name}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
