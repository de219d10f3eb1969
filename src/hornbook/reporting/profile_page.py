"""A profile as one HTML page: a bar for each process with the parts of its time, and the tables."""

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from hornbook.profiling.profile import Profile, memory_name
from hornbook.profiling.step_clock import OTHER, Breakdown

WIDTH, BAR, LABEL = 1200, 44, 62
OPERATORS = 40
TITLES = {"train": "Profile of training", "decode": "Profile of decoding"}
LEAST_NAMED = 0.06
"""Share of the bar from which on a part's name stands in it."""


def profile_page(profile: Profile) -> str:
    """The whole page, which needs nothing else."""
    style = files("hornbook.reporting").joinpath("report.css").read_text(encoding="utf-8")
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{TITLES[profile.kind]}</title>\n<style>\n{style}</style>\n</head>\n<body>\n",
            *_header(profile),
            "<main>\n",
            *_breakdown(profile),
            *_operators(profile),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _header(profile: Profile) -> Iterator[str]:
    first = profile.ranks[0]
    cards = {
        f"a {profile.unit}": f"{1e3 * first.step:,.1f} ms",
        "tokens a second": f"{profile.tokens_per_second:,.0f}",
        **({} if profile.mfu is None else {"MFU": f"{profile.mfu:.1%}"}),
        **{memory_name(name): f"{size / 2**20:,.0f} MiB" for name, size in profile.peaks.items()},
    }
    yield f"<header><h1>{TITLES[profile.kind]}</h1>\n"
    said = "; ".join([profile.subject, *(f"{name}: {value}" for name, value in profile.facts.items())])
    yield f'<p class="facts">{escape(said)}</p>\n<dl class="cards">\n'
    yield from (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in cards.items())
    yield "</dl></header>\n"


def _breakdown(profile: Profile) -> Iterator[str]:
    first = profile.ranks[0]
    yield f"<section><h2>Where the time of a {profile.unit} goes</h2>\n{bars(profile)}"
    heads = ["part", *(f"rank {rank}, ms" if len(profile.ranks) > 1 else "ms" for rank in range(len(profile.ranks)))]
    shares = ["share"] if len(profile.ranks) == 1 else []
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(head)}</th>' for head in [*heads, *shares]) + "</tr></thead><tbody>\n"
    for name, seconds in profile.rows():
        cells = "".join(f"<td>{1e3 * each:,.3f}</td>" for each in seconds)
        share = f"<td>{seconds[0] / first.step:.1%}</td>" if shares else ""
        sign = "" if name.startswith(" ") else f'<i class="c{_colour(profile, name)}"></i>'
        looks = ' style="font-weight:400;padding-left:2rem"' if name.startswith(" ") else ""
        yield f'<tr><th scope="row"{looks}>{sign}{escape(name.strip())}</th>{cells}{share}</tr>\n'
    yield "</tbody></table></div>\n"
    yield (
        f'<p class="facts">Means of {first.steps}, timed without the profiler; the fastest took '
        f"{1e3 * first.fastest:,.3f} ms, the slowest {1e3 * first.slowest:,.3f}. Parts lie inside one another, and an "
        "instant counts for the innermost; other is what no part covers.</p></section>\n"
    )


def bars(profile: Profile) -> str:
    """SVG: a bar for each process, as long as its step against the longest."""
    longest = max(each.step for each in profile.ranks)
    height = BAR * len(profile.ranks)
    body = "".join(_bar(profile, rank, each, longest) for rank, each in enumerate(profile.ranks))
    told = f"parts of a {profile.unit}; the table below has the numbers"
    return f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{told}">\n{body}</svg></figure>\n'


def _bar(profile: Profile, rank: int, breakdown: Breakdown, longest: float) -> str:
    left = 0.0 if len(profile.ranks) == 1 else float(LABEL)
    top, scale = rank * BAR + 4, (WIDTH - left) / longest
    drawn = [f'<text x="0" y="{top + 22}">rank {rank}</text>\n'] if left else []
    for name, seconds in breakdown.parts(profile.parts).items():
        width = seconds * scale
        if width < 0.05:
            continue
        title = f"<title>{escape(name)}: {1e3 * seconds:,.3f} ms, {seconds / breakdown.step:.1%}</title>"
        drawn.append(
            f'<g class="c{_colour(profile, name)}">{title}<rect x="{left:.2f}" y="{top}" width="{width:.2f}" '
            f'height="{BAR - 10}" fill="var(--of)" stroke="var(--paper)"/>'
        )
        if seconds > LEAST_NAMED * longest:
            drawn.append(f'<text x="{left + 8:.1f}" y="{top + 22}" style="fill:var(--paper)">{escape(name)}</text>')
        drawn.append("</g>\n")
        left += width
    return "".join(drawn)


def _colour(profile: Profile, part: str) -> int:
    """Of the eight; what no part covers is grey."""
    return 7 if part == OTHER else profile.parts.index(part)


def _operators(profile: Profile) -> Iterator[str]:
    on_device = any(each.device for each in profile.operators)
    total = sum(each.device if on_device else each.host for each in profile.operators) or 1.0
    yield "<section><h2>The dearest operators</h2>\n"
    heads = ["operator", "calls", "host, ms", *(["device, ms"] if on_device else []), "share"]
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr></thead><tbody>\n"
    for each in profile.operators[:OPERATORS]:
        device = f"<td>{1e3 * each.device:,.3f}</td>" if on_device else ""
        share = (each.device if on_device else each.host) / total
        yield (
            f'<tr><th scope="row">{escape(each.name)}</th><td>{each.calls:,}</td><td>{1e3 * each.host:,.3f}</td>'
            f"{device}<td>{share:.1%}</td></tr>\n"
        )
    yield "</tbody></table></div>\n"
    yield (
        '<p class="facts">Of the traced part, without what an operator calls; the profiler makes calls of short '
        "operators look longer than they are.</p></section>\n"
    )
