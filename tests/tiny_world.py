"""A folder with the runs, data sets and files that pages speak of, all of them tiny and nothing learnt."""

import os
import shutil
from pathlib import Path

from hornbook.checkpoint.save import save_checkpoint
from hornbook.config.dump import to_toml
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.data.prepare import prepare
from hornbook.data.tuning import prepare_tuning
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_pairs import write_pairs
from tiny_project import text

ROOT = Path(__file__).parents[1]

PLAIN = ("example", "stories", "large", "small", "tiny", "base", "synthetic-matched-ar", "other", "reader", "wider")
PLAIN += ("wikitext2-vaswani", "wikitext103-gpt2")
DIFFUSION = (
    "diffusion",
    "masks",
    "synthetic-matched-diffusion",
    "tinystories-matched-diffusion",
    "tinystories-diffusion",
)
TUNED = ("sft", "story-sft", "reverse")
"""Names of runs on the pages, by what they are."""

COMMON = """
[run]
device = "cpu"
threads = 1
[tokenizer]
path = "tokenizers/example"
vocab_size = 320
[model]
context_length = 256
d_model = 16
n_layers = 2
n_heads = 2
[train]
steps = 4
tokens_per_step = 512
micro_batch_size = 2
eval_tokens = 512
[generate]
max_new_tokens = 8
"""
TEXT = '[data]\npath = "data/example"\nvalid_fraction = 0.2\ntest_fraction = 0.1\n[data.source]\nkind = "text"\n'
TEXT += 'paths = ["book.txt"]\ndocument_separator = "line"\n'
TASKS = '[data]\npath = "data/{name}"\nstage = "sft"\nvalid_fraction = 0.2\ntest_fraction = 0.2\n'
TASKS += '[data.source]\nkind = "tasks"\nn_rows = 60\n'
PAIRS = '[data]\npath = "data/polite"\nstage = "dpo"\nvalid_fraction = 0.2\ntest_fraction = 0.3\n'
PAIRS += '[data.source]\nkind = "jsonl"\npaths = ["pairs.jsonl"]\n'
FILES = {
    "run.toml": COMMON + TEXT,
    "diffusion.toml": COMMON + TEXT + '[objective]\nkind = "masked_diffusion"\n',
    "sft.toml": COMMON + TASKS.format(name="dialogues"),
    "tales.toml": COMMON + TASKS.format(name="tales"),
    "reverse.toml": COMMON + TASKS.format(name="reverse"),
    "dpo.toml": COMMON.replace("tokens_per_step = 512", "sequences_per_step = 4")
    + PAIRS
    + '[objective]\nkind = "preference"\n',
}


def make_world(root: Path) -> Path:
    """Make it in `root`; the paths that it holds are relative to it."""
    (root / "configs").symlink_to(ROOT / "configs")
    for name, lines in (("book.txt", 200), ("article.txt", 10), ("my-text.txt", 2000)):
        (root / name).write_text(text(lines), encoding="utf-8")
    write_pairs(root / "pairs.jsonl", n=40)
    for name, content in FILES.items():
        (root / name).write_text(content, encoding="utf-8")
    before = Path.cwd()
    os.chdir(root)
    try:
        _fill()
    finally:
        os.chdir(before)
    return root


def _fill() -> None:
    configs = {name: load_config(Path(name)).config for name in FILES}
    plain = configs["run.toml"]
    tokenizer = Tokenizer.train(Path("book.txt").read_text(encoding="utf-8").splitlines(), plain.tokenizer)
    tokenizer.save(plain.tokenizer.path)
    prepare(plain.data, tokenizer)
    shutil.copytree("data/example", "data/wikitext2-cl100k")
    for name in ("sft.toml", "tales.toml", "reverse.toml", "dpo.toml"):
        tuned = prepare_tuning(configs[name], tokenizer).tokenizer()
    _runs(PLAIN, plain, tokenizer)
    _runs(DIFFUSION, configs["diffusion.toml"], tokenizer)
    _runs(TUNED, configs["sft.toml"], tuned)
    _runs(("dpo", "story-dpo"), configs["dpo.toml"], tuned)


def _runs(names: tuple[str, ...], config: Config, tokenizer: Tokenizer) -> None:
    """Finished runs, as random as on their first day."""
    first, *others = names
    model = Transformer(config.model.complete(vocab_size=tokenizer.vocab_size), seed=0)
    run = RunDir.create(Path("runs"), first)
    run.config_file.write_text(to_toml(config), encoding="utf-8")
    event = '{"event": "train", "step": 4, "time": 1.0, "train/loss": 5.0}\n'
    run.metrics_file.write_text(event, encoding="utf-8")
    save_checkpoint(
        run.checkpoints,
        step=4,
        kind="light",
        model_config=model.config,
        objective=config.objective.model_dump(mode="json"),
        weights=model.state_dict(),
        optimizer=None,
        state={"step": 4},
        tokenizer=tokenizer,
    )
    run.set_state("finished")
    for name in others:
        shutil.copytree(run.root, run.root.parent / name)
