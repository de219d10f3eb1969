"""The parent of every configuration table: frozen, strict, and closed to keys that it does not know."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One TOML table. Every default stands here and nowhere else; a validated table never changes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
