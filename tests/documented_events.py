"""The events and values that docs/formats.md lists."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs/formats.md"


def documented() -> dict[str, set[str]]:
    """Event -> names of its values, out of the table."""
    found: dict[str, set[str]] = {}
    event = ""
    for line in DOCUMENT.read_text(encoding="utf-8").split("### Events and their values")[1].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and "`" in cells[2]:
            event = cells[1].strip("`") or event
            found.setdefault(event, set()).update(re.findall(r"`([^`]+)`", cells[2]))
    return found
