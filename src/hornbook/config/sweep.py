"""`[sweep]`: which settings vary over many runs of one configuration, and what a scheduler gives each of them.

Keys inside `grid`, `zip`, `list` and `search.space` are those of the file itself, so TOML reads `optim.learning_rate =
[1e-3, 1e-2]` as tables in tables; they are kept flat: {"optim.learning_rate": [0.001, 0.01]}.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

DISTRIBUTIONS = ("uniform", "log_uniform", "integers", "choice")
"""What may stand behind a key of `search.space`."""
MOST_SOBOL_KEYS = 21
"""For so many there are direction numbers."""
NAME = r"^\w[\w.-]*$"
"""What a sweep may be called: schedulers take it as the name of their jobs."""
_OURS = ("run.name", "run.out_dir", "sweep", "extends")
"""What a sweep decides itself."""


def flat(values: object) -> dict[str, object]:
    """Tables in tables as one of dotted keys; what is not a table is refused.

    Raises:
        ValueError: for anything but a table.
    """
    if not isinstance(values, Mapping):
        raise ValueError("expected a table of keys such as optim.learning_rate = [1e-3, 1e-2]")
    leaves = list(_leaves("", values))
    if twice := [key for key, _ in leaves if sum(key == other for other, _ in leaves) > 1]:
        raise ValueError(f"{twice[0]} stands there twice, once in quotes; leave one of them out")
    return dict(leaves)


def _leaves(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


Settings = Annotated[dict[str, object], BeforeValidator(flat)]
"""Any keys of the file."""


class SearchConfig(Table):
    """Points drawn from ranges, as many as asked for."""

    method: Literal["random", "sobol"] = "random"
    """sobol spreads the points evenly (best with 2, 4, 8, ... of them); random draws each for itself."""
    points: PositiveInt
    seed: NonNegativeInt = 0
    space: Settings
    """A range for each key: KEY.uniform = [low, high], KEY.log_uniform = [low, high], KEY.integers = [low, high]
    (both included) or KEY.choice = [value, ...]."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.space:
            raise ValueError("space is empty; give a range, such as optim.learning_rate.log_uniform = [1e-4, 1e-2]")
        for key, range_ in self.space.items():
            _check_range(key, range_)
        if self.method == "sobol" and len(self.space) > MOST_SOBOL_KEYS:
            raise ValueError(f"space has {len(self.space)} keys, and sobol at most {MOST_SOBOL_KEYS}; use random")
        return self


class ResourcesConfig(Table):
    """What each process of a run is given, here and by a scheduler."""

    processes: PositiveInt = 1
    """Of each run, on each node: more than 1 train in parallel (one for each GPU, where there are GPUs)."""
    cpus: PositiveInt = 1
    """Cores of each process."""
    gpu: bool = False
    """A GPU of its own for each process; without, it sees none."""
    memory_gb: PositiveFloat | None = None
    """Memory of each process. Default: not asked for."""


class SlurmConfig(Table):
    """Job scripts for SLURM."""

    partition: str | None = None
    account: str | None = None
    minutes: PositiveInt | None = None
    """Time limit of a job, which is queued again when it comes near and goes on where it saved."""
    grace_seconds: Annotated[int, Field(ge=1, le=65_535)] = 120
    """So long before the limit, or the partition's, a job is told to save."""
    nodes: PositiveInt = 1
    """Of each run."""
    max_running: PositiveInt | None = None
    """Runs at the same time."""
    options: tuple[Annotated[str, Field(pattern=r"^--?[a-zA-Z]", description="an option that begins with -")], ...] = ()
    """Other options of sbatch, such as "--constraint=a100"."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minutes is not None and self.grace_seconds >= 60 * self.minutes:
            raise ValueError(
                f"grace_seconds = {self.grace_seconds} is not less than the limit, minutes = {self.minutes}: a job "
                "would be told to save as soon as it starts; set one of them otherwise"
            )
        return self


class CondorConfig(Table):
    """Submit files for HTCondor."""

    grace_seconds: PositiveInt = 120
    """So long a job that must leave its machine may take to save."""
    options: tuple[
        Annotated[str, Field(pattern=r"^[+\w.]+\s*=", description="a line of the form NAME = VALUE")], ...
    ] = ()
    """Other lines of the submit file, such as "requirements = (OpSysAndVer == \\"Debian12\\")"."""


class SweepConfig(Table):
    """Many runs of one file. `grid`, `zip`, `list` and `search` may be combined: every point of one with every point of
    the others, the last one varying fastest."""

    name: Annotated[str, Field(pattern=NAME, description="letters, digits, . _ and -")] | None = None
    """Its directory in run.out_dir. Default: the file's name without .toml."""
    metric: str = "val/loss"
    """What `hornbook sweep table` and `best` compare: the best value of each run."""
    goal: Literal["minimize", "maximize"] = "minimize"
    """Whether that is the lowest or the highest."""
    grid: Settings = {}  # noqa: RUF012  pydantic copies it
    """KEY = [value, ...]: every value with every value of the other keys, the last key varying fastest."""
    zip: Settings = {}  # noqa: RUF012
    """KEY = [value, ...]: first values together, second values together, and so on."""
    list: tuple[Settings, ...] = ()
    """Points as they are: one [[sweep.list]] each."""
    search: SearchConfig | None = None
    setup: tuple[str, ...] = ()
    """Lines of shell at the top of job scripts, such as "module load cuda"."""
    resources: ResourcesConfig = ResourcesConfig()
    slurm: SlurmConfig = SlurmConfig()
    condor: CondorConfig = CondorConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for where, axes in (("grid", self.grid), ("zip", self.zip)):
            for key, values in axes.items():
                if not isinstance(values, list) or not values:
                    raise ValueError(f"{where}.{key} is not a list of values; write {key} = [first, second, ...]")
        lengths = {key: len(values) for key, values in self.zip.items() if isinstance(values, list)}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"zip.{key} has {length}" for key, length in lengths.items())
            raise ValueError(f"{said}: lists of equal length go along")
        if any(not point for point in self.list):
            raise ValueError("list has a point without settings; give it some, or take it out")
        _check_keys(self)
        return self


def swept_keys(sweep: SweepConfig) -> list[str]:
    """Every key that varies, in the order of the file: grid, zip, list, search."""
    return [key for key, _ in _swept(sweep)]


def _swept(sweep: SweepConfig) -> list[tuple[str, str]]:
    """(key, where [sweep] says that it varies)."""
    of_list = dict.fromkeys(key for point in sweep.list for key in point)
    of_search = sweep.search.space if sweep.search is not None else {}
    return [
        *((key, f"grid.{key}") for key in sweep.grid),
        *((key, f"zip.{key}") for key in sweep.zip),
        *((key, "list") for key in of_list),
        *((key.rpartition(".")[0], f"search.space.{key}") for key in of_search),
    ]


def _check_keys(sweep: SweepConfig) -> None:
    swept = _swept(sweep)
    if not swept:
        raise ValueError("nothing varies; write [sweep.grid], [sweep.zip], [[sweep.list]] or [sweep.search]")
    for place, (key, where) in enumerate(swept):
        if key in _OURS or key.partition(".")[0] in _OURS:
            raise ValueError(f"{where}: {key} is decided by the sweep and cannot vary; sweep.name names the directory")
        for other_key, other in swept[:place]:
            # A point of a list may set a table as a whole and another point one of its keys: they never meet.
            if _overlap(key, other_key) and not where == other == "list":
                raise ValueError(f"{where} varies {key} once more, after {other}; leave one of them out")


def _overlap(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _check_range(key: str, values: object) -> None:
    setting, _, kind = key.rpartition(".")
    if kind not in DISTRIBUTIONS or not setting:
        raise ValueError(
            f"{key} has no range; write {key}.log_uniform = [low, high], or one of {', '.join(DISTRIBUTIONS)}"
        )
    if not isinstance(values, list) or not values:
        raise ValueError(f"{key} is not a list of values")
    if kind == "choice":
        return
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) != 2 or len(values) != 2 or numbers[0] >= numbers[1]:
        raise ValueError(f"{key} = {values}: expected [low, high], two numbers, the lower first")
    if kind == "log_uniform" and numbers[0] <= 0:
        raise ValueError(f"{key} = {values}: a logarithmic range starts above 0")
    if kind == "integers" and not all(isinstance(each, int) for each in numbers):
        raise ValueError(f"{key} = {values}: expected two integers")
