"""Write the tables of docs/recipes.md from the files in configs/: python scripts/make_recipe_tables.py

The files are the only place where a recipe's numbers stand; a test compares the page with what this script would write.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hornbook.config.load import load_config
from hornbook.config.optim import NoamSchedule
from hornbook.config.run import Config
from hornbook.models.accounting import parameter_counts

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"
BEGIN, END = "<!-- made by scripts/make_recipe_tables.py -->\n", "<!-- end -->\n"
NO_RECIPES = {"data", "eval", "generate", "sweep", "sweep-slurm", "tokenizer", "train", "train-ddp", "train-fsdp"}

Column = Callable[[Config], object]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + "\n".join(tables()) + "\n" + END + rest.partition(END)[2]


def tables() -> Iterator[str]:
    """Shapes, then optimizers, then runs; first the recipes, then their smoke forms."""
    files = sorted(path for path in (ROOT / "configs").glob("*.toml") if path.stem not in NO_RECIPES)
    configs = {path.stem: load_config(path).config for path in files}
    recipes = {name: config for name, config in configs.items() if not name.endswith("-smoke")}
    smokes = {name: config for name, config in configs.items() if name not in recipes}
    yield from table(recipes, SHAPE)
    yield from table(recipes, OPTIMIZER)
    yield from table(recipes, RUN)
    yield from ["The smoke forms, where they differ:", ""]
    yield from table(smokes, SMOKE)


def table(configs: Mapping[str, Config], columns: Mapping[str, Column]) -> Iterator[str]:
    """One row a recipe."""
    yield f"| recipe | {' | '.join(columns)} |"
    yield "| --- " * (len(columns) + 1) + "|"
    for name, config in configs.items():
        yield f"| `{name}` | {' | '.join(shown(column(config)) for column in columns.values())} |"
    yield ""


def shown(value: object) -> str:
    """A number with thousands apart, a small one in full, and no as a dash."""
    if value is None or value == ():
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parameters(config: Config) -> str:
    """Millions, embeddings included."""
    shape = config.model.complete(vocab_size=config.model.vocab_size or 0)
    return f"{sum(parameter_counts(shape).values()) / 1e6:.1f}M"


def rates(config: Config) -> str:
    """The peak, and those of roles that have their own."""
    text = f"{config.optim.kind}, {config.optim.learning_rate:g}"
    groups = {role: getattr(config.optim.groups, role) for role in type(config.optim.groups).model_fields}
    own = [f"{role} {own.learning_rate:g}" for role, own in groups.items() if own is not None and own.learning_rate]
    return ", ".join([text, *own])


def warmup(config: Config) -> str:
    """Steps or a share of the run."""
    schedule = config.schedule
    if isinstance(schedule, NoamSchedule) or schedule.warmup_steps is not None:
        return f"{schedule.warmup_steps:,} steps"
    return f"{100 * (schedule.warmup_fraction or 0):g} %"


def batch(config: Config) -> str:
    """Of one update: tokens, or what tuning counts."""
    rows = config.train.sequences_per_step
    if rows is None:
        return f"{config.train.tokens_per_step:,}"
    return f"{rows} {'pairs' if config.data.stage == 'dpo' else 'rows'}"


def start(config: Config) -> str:
    """Whose weights a run starts from."""
    return "" if config.model.init_from is None else f"`{config.model.init_from.name}`"


def full(config: Config) -> str:
    """Checkpoints that can be gone on from; one is always made at the end."""
    kept = config.checkpoint
    return f"{kept.full_every:,}, keep {kept.full_keep}" if kept.full_every else "at the end"


def light(config: Config) -> str:
    """Checkpoints of weights alone."""
    kept = config.checkpoint
    return f"{kept.light_every:,}, keep {kept.light_keep}" if kept.light_every else "none"


SHAPE: dict[str, Column] = {
    "layers": lambda c: c.model.n_layers,
    "heads": lambda c: c.model.n_heads,
    "d_model": lambda c: c.model.d_model,
    "d_ff": lambda c: c.model.complete(vocab_size=1).d_ff,
    "context": lambda c: c.model.context_length,
    "ids": lambda c: c.model.vocab_size,
    "parameters": parameters,
    "tokenizer": lambda c: f"`{c.tokenizer.path.name}`",
}
OPTIMIZER: dict[str, Column] = {
    "optimizer, rate": rates,
    "betas": lambda c: "{:g}, {:g}".format(*c.optim.betas),
    "weight decay": lambda c: c.optim.weight_decay,
    "of": lambda c: ", ".join(c.optim.decay) or "none",
    "clip": lambda c: c.optim.clip_grad_norm,
    "schedule": lambda c: c.schedule.kind,
    "warm-up": warmup,
}
RUN: dict[str, Column] = {
    "starts from": start,
    "objective": lambda c: f"`{c.objective.kind}`",
    "steps": lambda c: c.train.steps,
    "tokens a step": batch,
    "micro-batch": lambda c: c.train.micro_batch_size,
    "stride": lambda c: c.data.stride or "context",
    "precision": lambda c: c.train.precision,
    "full checkpoints": full,
    "light": light,
    "best": lambda c: "yes" if c.checkpoint.best else "no",
    "seed": lambda c: str(c.run.seed),
}
SMOKE: dict[str, Column] = {
    "layers": lambda c: c.model.n_layers,
    "d_model": lambda c: c.model.d_model,
    "context": lambda c: c.model.context_length,
    "parameters": parameters,
    "steps": lambda c: c.train.steps,
    "tokens a step": batch,
    "warm-up": warmup,
}

if __name__ == "__main__":
    main()
