"""Accelerators and what their data sheets promise, from `accelerators.toml`; no torch."""

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hornbook.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One kind of device."""

    name: str
    half: float
    """Dense products of 16-bit numbers, FLOP/s."""
    fp32: float
    """Products of float32 numbers without TF32, FLOP/s."""
    memory: float
    """Bytes."""
    bandwidth: float
    """Of its memory, bytes a second."""
    watts: float
    """The most that the board takes."""
    source: str

    def peak(self, precision: str) -> float:
        """Dense FLOP/s in fp32, bf16 or fp16."""
        return self.fp32 if precision == "fp32" else self.half


@functools.cache
def accelerators() -> tuple[Accelerator, ...]:
    """All that the table lists, in its order."""
    text = (Path(__file__).parent / "accelerators.toml").read_text(encoding="utf-8")
    return tuple(
        Accelerator(
            name=row["name"],
            half=row["half"] * 1e12,
            fp32=row["fp32"] * 1e12,
            memory=row["memory"] * 1e9,
            bandwidth=row["bandwidth"] * 1e9,
            watts=float(row["watts"]),
            source=row["source"],
        )
        for row in tomllib.loads(text)["accelerator"]
    )


def accelerator_of(device_name: str) -> Accelerator | None:
    """The one that a device calls itself, such as "NVIDIA A100-SXM4-80GB"; None if it is not listed.

    Names are whole words, so that an L40 is no L4 and an A10G no A10; a portable computer's chip is another one.
    """
    if "Laptop" in device_name:
        return None
    whole_word = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    return next((each for each in accelerators() if re.search(whole_word.format(each.name), device_name)), None)


def accelerator_named(name: str) -> Accelerator:
    """The one that a user names, whatever the case.

    Raises:
        ConfigError: if the table has no such one.
    """
    for each in accelerators():
        if each.name.casefold() == name.casefold():
            return each
    known = ", ".join(each.name for each in accelerators())
    raise ConfigError(f"no accelerator {name!r}; known are {known}")
