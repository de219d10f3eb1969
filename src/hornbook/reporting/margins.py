"""The margins of preferences as a picture: a bar a pair, from the least to the greatest, and the share above zero.

SVG needs nothing, and HTML holds it with its title; PNG needs the extra `plot`.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from hornbook.errors import ConfigError, MissingExtraError
from hornbook.reporting.scale import scale_of, short
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import explained

WIDTH, HEIGHT = 900, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 44
ABOVE, BELOW = "#2a78b5", "#c8553d"
AXIS = "margin: nats gained on the chosen answer less those on the rejected one"


def check_name(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        ConfigError: naming the endings that can, or the folder that is missing.
    """
    if path.suffix.lower() not in (".svg", ".html", ".png"):
        raise ConfigError(f"--plot {path}: expected a name that ends in .svg, .html or .png")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {path}: {path.parent} is no folder; create it, or correct the path")
    if path.is_dir():
        raise ConfigError(f"--plot {path}: is a folder; expected the name of a file")


def save_margins(margins: Sequence[float], title: str, path: Path) -> None:
    """Draw at least one margin, in nats.

    Raises:
        ConfigError: as `check_name`.
        MissingExtraError: for PNG, if matplotlib is not installed.
        StorageError: if it cannot be written.
    """
    check_name(path)
    match path.suffix.lower():
        case ".png":
            _png(sorted(margins), title, path)
        case ".svg":
            replace_file(path, margins_svg(margins, title))
        case _:
            page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n<body>\n'
            replace_file(path, f"{page}{margins_svg(margins, title)}</body></html>\n")


def margins_svg(margins: Sequence[float], title: str) -> str:
    """One SVG element."""
    ordered = sorted(margins)
    scale = scale_of([0.0, *ordered])
    assert scale is not None, "zero is finite"

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - scale.share(value) * (HEIGHT - TOP - BOTTOM)

    step = (WIDTH - LEFT - RIGHT) / max(1, len(ordered))
    zero = y(0.0)
    bars = [
        f'<rect x="{LEFT + place * step:.2f}" width="{max(0.5, 0.85 * step):.2f}" y="{min(y(value), zero):.2f}" '
        f'height="{abs(y(value) - zero):.2f}" fill="{ABOVE if value > 0 else BELOW}"/>'
        for place, value in enumerate(ordered)
    ]
    grid = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
        f'<text x="{LEFT - 6}" y="{y(tick):.1f}" dy=".32em" text-anchor="end">{escape(short(tick))}</text>'
        for tick in scale.ticks()
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="12" aria-label="{escape(title)}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
            *grid,
            *bars,
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#444"/>',
            f'<text x="{(LEFT + WIDTH - RIGHT) // 2}" y="{HEIGHT - 14}" text-anchor="middle">{AXIS}; '
            f"{len(ordered)} pairs in order</text>",
            "</svg>\n",
        ]
    )


def _png(ordered: list[float], title: str, path: Path) -> None:
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state and no display
    except ImportError:
        raise MissingExtraError("eval preference --plot FILE.png", package="matplotlib", extra="plot") from None
    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    axes = canvas.add_subplot()
    axes.bar(range(len(ordered)), ordered, color=[ABOVE if value > 0 else BELOW for value in ordered])
    axes.axhline(0.0, color="#444444", linewidth=1)
    axes.set(title=title, xlabel=f"{len(ordered)} pairs in order", ylabel="margin (nats)")
    with explained(path):
        canvas.savefig(path, dpi=150)
