"""Their side of `bench speedrun` where a nanoGPT checkout is given: its own train.py with its README's CPU command.

What the command needs is copied beside the race, so that the checkout stays as it is: its .py files, config/ and
data/shakespeare_char/prepare.py, which finds the text of our recipe there and need not download one. In the copy of
train.py another seed stands, which is a number in its text, and a checkpoint becomes a safetensors file. Seconds of a
step are those that train.py prints; a step in which it evaluated counts like the median step.
"""

import re
import shutil
import statistics
import sys
import time
from pathlib import Path

from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.recipe_runs import SpeedrunError, fresh_environment, run_command
from hornbook.benchmarks.side import Side, SideProcess
from hornbook.benchmarks.speedrun import Contestant, Finished

SETTINGS = {
    "device": "cpu",
    "compile": False,
    "eval_iters": 20,
    "log_interval": 1,
    "block_size": 64,
    "batch_size": 12,
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 128,
    "max_iters": 2000,
    "lr_decay_iters": 2000,
    "dropout": 0.0,
    "always_save_checkpoint": True,
}
"""Of the README, "I only have a macbook"; the rest is in config/train_shakespeare_char.py. Its log is of every
step here, and the last weights are saved whether or not they are the best."""
PREPARE = "data/shakespeare_char/prepare.py"
_SEED = "torch.manual_seed(1337"
_STEP = re.compile(r"^iter (\d+): loss [\d.]+, time ([\d.]+)ms", re.MULTILINE)
_EVALUATED = re.compile(r"^step (\d+): train loss", re.MULTILINE)


def contestant(checkout: Path, text: str, folder: Path, *, window: int, quick: bool) -> Contestant:
    """nanoGPT's own command on `text`, in a copy below `folder`.

    Raises:
        SpeedrunError: if the checkout is not what it should be.
    """
    home = folder / "nanogpt"
    for name in ("train.py", "model.py", "configurator.py", "config/train_shakespeare_char.py", PREPARE):
        if not (checkout / name).is_file():
            raise SpeedrunError(f"--nanogpt {checkout}: no {name} there; expected a checkout of nanoGPT")
    if _SEED not in (checkout / "train.py").read_text(encoding="utf-8"):
        raise SpeedrunError(f"{checkout / 'train.py'}: no line with {_SEED}; expected nanoGPT's train.py")
    home.mkdir()
    for file in checkout.glob("*.py"):
        shutil.copy(file, home)
    shutil.copytree(checkout / "config", home / "config")
    shutil.copy(Path(__file__).parent / "sides" / "nanogpt_save.py", home)
    _prepare(text, checkout, home)
    settings = SETTINGS | ({"max_iters": 8, "eval_interval": 4, "eval_iters": 1} if quick else {})

    def run(seed: int) -> Finished:
        return _train(home, seed, settings, (checkout / "train.py").read_text(encoding="utf-8"), window)

    return Contestant(name="nanoGPT's train.py", run=run)


def _prepare(text: str, checkout: Path, home: Path) -> None:
    folder = (home / PREPARE).parent
    folder.mkdir(parents=True)
    shutil.copy(checkout / PREPARE, folder)
    (folder / "input.txt").write_text(text, encoding="utf-8")
    (folder / "requests.py").write_text('"""For the import alone: the text is here."""\n', encoding="utf-8")
    run_command([_python(), PREPARE], home, fresh_environment(home / "cache"))


def _python() -> str:
    return peer_python("torch") or sys.executable


def _train(home: Path, seed: int, settings: dict[str, object], script: str, window: int) -> Finished:
    changed = script.replace(_SEED, f"torch.manual_seed({seed}").replace("torch.save(", "save(")
    (home / "train.py").write_text(f"from nanogpt_save import save\n{changed}", encoding="utf-8")
    out = home / f"out-{seed}"
    given = [f"--{name}={value}" for name, value in (settings | {"out_dir": str(out)}).items()]
    cache = home / f"cache-{seed}"
    started = time.perf_counter()
    command = [_python(), "train.py", "config/train_shakespeare_char.py", *given]
    said = run_command(command, home, fresh_environment(cache))
    seconds = time.perf_counter() - started
    steps = step_seconds(said)
    return Finished(
        contestant="nanoGPT's train.py",
        seed=seed,
        steps=len(steps),
        training_seconds=sum(steps),
        command_seconds=seconds,
        loss=_loss(home, out, window),
    )


def step_seconds(said: str) -> list[float]:
    """Of each step that counts in what train.py printed; it makes one more than max_iters, which no one evaluates."""
    evaluated = {int(number) for number in _EVALUATED.findall(said)}
    taken = {int(number): float(time_) / 1e3 for number, time_ in _STEP.findall(said)}
    plain = [seconds for number, seconds in taken.items() if number not in evaluated]
    if not plain:
        raise SpeedrunError(
            "nanoGPT's train.py printed no times of steps; expected lines such as: iter 5: loss 3.1, time 30.00ms"
        )
    usual = statistics.median(plain)
    return [usual if number in evaluated else taken[number] for number in range(max(taken))]


def _loss(home: Path, out: Path, window: int) -> float:
    settings = {"checkout": str(home), "checkpoint": str(out / "ckpt.pt"), "window": window}
    with SideProcess(Side(name="loss", file="nanogpt_loss.py", settings=settings)) as process:
        process.set_up()
        process.block()
        return float(process.checks["loss"])
