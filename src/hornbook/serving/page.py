"""The page at `/`, and the headers that keep it from running or loading anything but itself.

Its one script and its one style sheet stand in the file and are named in the Content-Security-Policy by their digests.
No string becomes markup anywhere on it: browsers that know Trusted Types refuse to try.
"""

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

_ELEMENT = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Page(NamedTuple):
    """What a server answers with."""

    body: bytes
    """UTF-8."""
    headers: dict[str, str]


@functools.cache
def chat_page() -> Page:
    """The page of this installation."""
    text = files("hornbook.serving").joinpath("page.html").read_text(encoding="utf-8")
    return Page(text.encode(), {"Content-Type": "text/html; charset=utf-8", **headers_for(text)})


def headers_for(text: str) -> dict[str, str]:
    """Headers under which the page `text` runs its own <script> and <style> elements (without attributes) alone."""
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _ELEMENT.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        digests[kind].append(f"'sha256-{digest}'")
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(digests["script"]) or "'none'",
        "style-src": " ".join(digests["style"]) or "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
