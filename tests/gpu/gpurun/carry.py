"""Small libraries that a machine with a GPU may lack, unpacked beforehand where there is a network."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from gpurun.figures import say

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = (
    "annotated-types",
    "markdown-it-py",
    "mdurl",
    "nvidia-ml-py",
    "lazy-loader",
    "packaging",
    "platformdirs",
    "psutil",
    "pydantic",
    "pydantic-core",
    "pygments",
    "pytest-timeout",
    "rich",
    "safetensors",
    "tomli-w",
    "typing-extensions",
    "typing-inspection",
)
MOST_BYTES = 60_000_000
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def carry(folder: Path, pythons: list[str]) -> int:
    """Unpack the libraries for some versions of Python into a folder; returns an exit code.

    Each version has a folder of its own, since compiled libraries fit one version alone.
    """
    for python in pythons:
        target = _of(folder, python)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        command += ["--no-compile", "--only-binary=:all:", "--python-version", python]
        command += [word for platform in _PLATFORMS for word in ("--platform", platform)]
        done = subprocess.run([*command, "--target", str(target), *_pinned()], check=False)
        if done.returncode:
            say(f"pip could not unpack the libraries for Python {python}")
            return done.returncode
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    say(f"{folder}: {size / 1e6:.1f} MB for Python {', '.join(pythons)}")
    if size > MOST_BYTES:
        say(f"that is more than {MOST_BYTES / 1e6:.0f} MB: name fewer versions of Python")
        return 1
    return 0


def _pinned() -> list[str]:
    """The packages; pydantic-core in the one version that pydantic takes, where it is installed here."""
    from importlib.metadata import PackageNotFoundError, version

    pinned = list(PACKAGES)
    for name in ("pydantic", "pydantic-core"):
        try:
            pinned[pinned.index(name)] = f"{name}=={version(name)}"
        except PackageNotFoundError:
            say(f"{name} is not installed here: its newest version is taken")
    return pinned


def carried_folder(folder: Path) -> list[Path]:
    """The folder for the running Python, if something was carried for it."""
    own = _of(folder, f"{sys.version_info.major}.{sys.version_info.minor}")
    return [own.resolve()] if own.is_dir() else []


def _of(folder: Path, python: str) -> Path:
    return folder / f"python{python}"
