"""Downloading Broden's archive, resumed as often as needed."""

from __future__ import annotations

import fcntl
import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHER = "http://netdissect.csail.mit.edu/data/broden1_{size}.zip"
ARCHIVE = "https://web.archive.org/web/2024id_/" + PUBLISHER
"""The publisher's host is often down for long; the Internet Archive has a copy."""
TIMEOUT = 30.0
ATTEMPTS = 5
_BLOCK = 1 << 20


def download_broden(size: int, folder: Path, sources: tuple[str, ...] = (PUBLISHER, ARCHIVE)) -> None:
    """Download the published folder `broden1_<size>` into the data folder, unless it exists.

    An interrupted download continues where it ended. The size is checked against the one that the host
    states, the archive against its own checksums; there is no published checksum. A progress bar is shown on
    the error output.

    Raises:
        DataError: no source could be reached, or the file is not the archive; says what to do by hand.
    """
    name = f"broden1_{size}"
    archive = folder / f"{name}.zip"
    by_hand = (
        f"fetch {' or '.join(source.format(size=size) for source in sources)} (1 GB)"
        f" and unpack it so that {folder / name / 'index.csv'} exists"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / name / "index.csv").is_file():
                return
            if not archive.is_file():
                _fetch_from_any([source.format(size=size) for source in sources], archive)
            _unpack(archive, folder, name)
    except (OSError, http.client.HTTPException, zipfile.BadZipFile) as error:
        raise benchsuite.DataError(
            f"Broden is not in {folder} and could not be downloaded ({type(error).__name__}: {error});"
            f" {by_hand}"
        ) from error


def _fetch_from_any(urls: list[str], target: Path) -> None:
    for url in urls:
        try:
            _fetch(url, target)
        except (OSError, http.client.HTTPException):
            if url == urls[-1]:
                raise
        else:
            return


def _fetch(url: str, target: Path) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    part = target.with_name(target.name + ".part")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(target.name, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        for attempt in range(ATTEMPTS):
            before = part.stat().st_size if part.is_file() else 0
            try:
                if _fetch_rest(url, part, advance):
                    part.replace(target)
                    return
            except urllib.error.HTTPError as error:
                if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                    part.unlink(missing_ok=True)  # longer than the file: it is of another version
                    continue
                raise
            except (OSError, http.client.HTTPException):
                # Try again as long as some data arrived; the host often breaks connections.
                grown = part.is_file() and part.stat().st_size > before
                if not grown or attempt == ATTEMPTS - 1:
                    raise
    raise OSError(f"{url}: the transfer broke off {ATTEMPTS} times; start again to go on from {part}")


def _fetch_rest(url: str, part: Path, advance: Callable[[int, int], None]) -> bool:
    """Append the missing part; return whether the file has the size that the host states."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http(s)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - fixed addresses
        if have and answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the host sends the whole file again
        length = answer.headers.get("Content-Length")
        if length is None:
            raise OSError(
                f"{url}: the host states no size, so that a complete file cannot be told from a broken one"
            )
        total = have + int(length)
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                advance(have, total)
    return have == total


def _unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack under another name, then rename, so that an incomplete folder is never used."""
    aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(aside)  # checks every member's CRC and keeps members inside
        except zipfile.BadZipFile as error:
            archive.unlink()
            raise zipfile.BadZipFile(f"{archive} was damaged and is removed: {error}") from error
        indexes = sorted(aside.rglob("index.csv"), key=lambda path: len(path.parts))
        if not indexes or not indexes[0].read_bytes().startswith(b"image,"):
            raise OSError(f"{archive} has no index.csv with a header that begins with 'image'")
        indexes[0].parent.replace(folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
