"""What a machine has and lacks of what Hornbook can use: extras, a compiler, devices, memory, room on the disk."""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.distributed.device import resolve_device
from hornbook.profiling.memory import free_bytes
from hornbook.storage.cores import available_cores
from hornbook.tokenizer.compiled import kept_in
from hornbook.training.compiled import cpp_compiler, missing_compiler

LEAST_MEMORY, LEAST_DISK = 2 * 10**9, 10**9
"""Bytes: below these even the demo may not fit."""
_NOT_FOR_USERS = ("test", "docs", "all")
"""Extras for work on hornbook itself, and the one that is all others."""
_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*;\s*extra == ['"]([\w-]+)['"]""")


@dataclass(frozen=True, kw_only=True)
class Facility:
    """Something that Hornbook can use."""

    name: str
    found: str
    """What there is, or what is missing."""
    advice: str | None = None
    """What to do; None where nothing is missing."""

    @property
    def is_there(self) -> bool:
        """Whether nothing is missing."""
        return self.advice is None


def facilities(out_dir: Path) -> Iterator[Facility]:
    """All of them; `out_dir` is where runs would be written."""
    yield Facility(
        name="python", found=f"{platform.python_version()}, torch {torch.__version__}, {platform.platform()}"
    )
    yield _device()
    yield _memory()
    yield _disk(out_dir)
    yield _compiler()
    yield _kernels()
    yield from _extras()


def _device() -> Facility:
    device, cores = resolve_device("auto"), f"{available_cores()} cores"
    if device.type == "cuda":
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Facility(name="device", found=f"{names}; {cores}")
    if device.type == "mps":
        return Facility(name="device", found=f"Apple GPU; {cores}")
    advice = "a small model is fine on a CPU; for a CUDA device install the torch build that pytorch.org names for it"
    return Facility(name="device", found=f"no GPU that torch sees; {cores}", advice=advice)


def _memory() -> Facility:
    free = free_bytes(torch.device("cpu"))
    if free is None:
        return Facility(name="memory", found="the system does not say how much is free")
    advice = None if free >= LEAST_MEMORY else f"{_gigabytes(LEAST_MEMORY)} are needed: end other programs"
    return Facility(name="memory", found=f"{_gigabytes(free)} free", advice=advice)


def _disk(out_dir: Path) -> Facility:
    place = next(path for path in (out_dir.absolute(), *out_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    advice = None if free >= LEAST_DISK else f"{_gigabytes(LEAST_DISK)} are needed: free some, or set run.out_dir"
    return Facility(name="disk", found=f"{_gigabytes(free)} free at {place}", advice=advice)


def _compiler() -> Facility:
    """What torch.compile needs on this device; a compiler of C++ is tried."""
    device = resolve_device("auto")
    advice = "training then goes on uncompiled, about a fifth slower"
    missing = missing_compiler(device)
    if missing is not None:
        return Facility(name="compiler", found=missing, advice=f"{advice}; on Debian: apt install g++ python3-dev")
    compiler = cpp_compiler()
    if device.type == "cuda" or compiler is None:
        return Facility(name="compiler", found="triton")
    if problem := _refuses(compiler):
        return Facility(name="compiler", found=f"{compiler} does not compile: {problem}", advice=advice)
    return Facility(name="compiler", found=compiler)


def _refuses(compiler: str) -> str | None:
    """Why a compiler cannot make what torch.compile asks of it: a library with threads that Python can load."""
    headers = sysconfig.get_path("include")
    program = '#include <omp.h>\n#include <Python.h>\nextern "C" int threads() { return omp_get_max_threads(); }\n'
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.cpp"
        source.write_text(program, encoding="utf-8")
        command = [compiler, "-shared", "-fPIC", "-fopenmp", f"-I{headers}", str(source), "-o", str(source) + ".so"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return None if done.returncode == 0 else (lines or [f"exit status {done.returncode}"])[0]


def _kernels() -> Facility:
    """What compiles the inner loops of tokenizing and decoding, and where the compiled code is kept."""
    advice = "tokenizing goes on in pure Python, some 30 times slower, and decoding in torch"
    if importlib.util.find_spec("numba") is None:
        return Facility(name="kernels", found="numba is not installed", advice=f"{advice}; pip install numba")
    try:
        directory = kept_in()
    except OSError as error:
        return Facility(name="kernels", found=str(error), advice=f"{advice}; set HORNBOOK_CACHE to a folder with room")
    return Facility(name="kernels", found=f"numba {importlib.metadata.version('numba')}; compiled code in {directory}")


def _extras() -> Iterator[Facility]:
    """The optional packages, by the extra that brings them."""
    try:
        required = importlib.metadata.requires("hornbook") or []
    except importlib.metadata.PackageNotFoundError:
        yield Facility(name="extras", found="hornbook is on the path and not installed", advice="pip install -e .")
        return
    extras: dict[str, list[str]] = {}
    for package, extra in (match.groups() for match in map(_REQUIREMENT.match, required) if match):
        if extra not in _NOT_FOR_USERS:
            extras.setdefault(extra, []).append(package)
    for extra, packages in sorted(extras.items()):
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        there = [f"{package} {version}" for package, version in versions.items() if version is not None]
        found = f"without {', '.join(missing)}" if missing else ", ".join(there)
        advice = f"pip install 'hornbook[{extra}]'" if missing else None
        yield Facility(name=f"hornbook[{extra}]", found=found, advice=advice)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
