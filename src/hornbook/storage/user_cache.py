"""Where what can be made again is kept between processes."""

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """The directory that HORNBOOK_CACHE names, else hornbook's own in the user's cache; it may not exist yet."""
    if named := os.environ.get("HORNBOOK_CACHE"):
        return Path(named)
    match sys.platform:
        case "win32":
            return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "hornbook" / "cache"
        case "darwin":
            return Path.home() / "Library" / "Caches" / "hornbook"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hornbook"
