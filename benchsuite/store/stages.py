"""Stages on disk: folders of the run directory that hold what trials share, complete or not at all.

A stage's `stage.json` has the facts that its maker noted, a checksum of each file that decides numbers, and
what it was made from. What does not agree with it is damaged and is made anew.
"""

from __future__ import annotations

import fcntl
import shutil
from contextlib import ExitStack, suppress
from glob import escape
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from benchsuite.errors import BenchsuiteError
from benchsuite.store.file_digests import file_digest, read_digest
from benchsuite.store.files import (
    open_regular,
    own_directory,
    own_file,
    read_regular,
    storing,
    write_atomically,
)
from benchsuite.store.freed import was_freed
from benchsuite.store.keys import content_key
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

_STAGE = "stage.json"
_LARGEST_NOTE = 1 << 28
"""Bytes of a `stage.json`: it may list removed units by the hundred thousand."""
_LARGE = 1 << 24
"""Files of more bytes are not read again to check them while size and times of change stay the same."""


class Facts(BaseModel):
    """What the maker of a stage notes beside its files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    decide: ClassVar[tuple[str, ...]] = ()
    """Fields that decide numbers of others, as the files do; the rest are durations and the like."""


class _StageFile(BaseModel):
    """The content of `stage.json`.

    Attributes:
        key: the stage's own key, the name of its folder: files of another stage do not stand for it.
        facts: what the maker noted.
        files: a checksum of each file that decides numbers.
        made_from: what the stages are that it was made from.
        content: what identifies its numbers; see `content_digest`.
        checksum: of all of these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    facts: dict[str, Any]
    files: dict[str, str]
    made_from: str
    content: str
    checksum: str = ""

    def summed(self) -> _StageFile:
        """The same with its checksum."""
        return self.model_copy(update={"checksum": content_key(self.model_dump(exclude={"checksum"}))})


class StageDamaged(BenchsuiteError):  # noqa: N818 - it says what is the case, as the other errors do
    """A stage's files are not what its maker left."""


F = TypeVar("F", bound=Facts)


class Stage(Generic[F]):
    """A stage of one kind in its folder.

    Args:
        folder: where it is.
        facts: what its maker notes.
        files: names of the files that decide numbers; those that the maker leaves are checked.
        made_from: what the stages are that this one is made from, by `content_digest`. One that was made
            from something else is made anew.
        accept_old: also take a stage from before checksums, of which only the facts are checked.
    """

    def __init__(
        self,
        folder: Path,
        facts: type[F],
        files: Sequence[str],
        made_from: str = "",
        *,
        accept_old: bool = False,
    ) -> None:
        self.folder = folder
        self._facts = facts
        self._files = tuple(files)
        self._made_from = made_from
        self._accept_old = accept_old

    def read(self) -> F | None:
        """The facts of the complete stage, or None where there is none.

        Raises:
            StageDamaged: it is not as its maker left it, or was made from something else.
        """
        found = _read(self.folder, self._facts)
        if found is None:
            return None
        facts, stored = found
        if stored is None:
            if not self._accept_old:
                raise StageDamaged(f"{self.folder} has no checksums")
            return facts
        for name, expected in stored.files.items():
            self._check(name, expected)
        if stored.made_from != self._made_from:
            raise StageDamaged(f"{self.folder} was made from other stages than there are now")
        return facts

    def get(self, make: Callable[[], F], tell: Callable[[str], None]) -> F:
        """The facts of the stage, which is made if it is not there or is damaged.

        Of several processes that want the same stage one makes it, and the others wait.

        Args:
            make: leaves the files in the folder and returns the facts.
            tell: told in a sentence when a damaged stage is made anew.
        """
        facts = self._usable(None)
        if facts is not None:
            return facts
        with ExitStack() as held:
            own_directory(self.folder)
            with storing(self.folder / ".lock"):
                fcntl.flock(held.enter_context(own_file(self.folder / ".lock")), fcntl.LOCK_EX)
            facts = self._usable(tell)
            if facts is None:
                self._clear()
                try:
                    facts = make()
                except BaseException:
                    with suppress(OSError):  # what is left is no stage without its stage.json
                        self._clear()
                    raise
                self.complete(facts)
        return facts

    def _clear(self) -> None:
        """Take away what is in the place of the stage's files; raises `StorageError` if that is refused."""
        with storing(self.folder):
            for name in (_STAGE, *self._files):
                _take_away(self.folder / name)
            for path in self.folder.iterdir():
                # In a stranger's run directory: the maker must not write through it.
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    path.unlink()
            self._clear_temporary()

    def _clear_temporary(self) -> None:
        """Delete what processes left of these files that ended while they wrote them."""
        for name in (_STAGE, *self._files):
            for path in self.folder.glob(f".{escape(name)}.*"):
                if path.name.rpartition(".")[2].isdigit():
                    path.unlink(missing_ok=True)

    def complete(self, facts: F) -> None:
        """Declare the stage complete: its files are all there."""
        there = [name for name in self._files if (self.folder / name).is_file()]
        noted = facts.model_dump(mode="json")
        files = {name: read_digest(self.folder / name) for name in there}
        if (self.folder / _STAGE).is_dir():
            with storing(self.folder / _STAGE):
                _take_away(self.folder / _STAGE)
        stored = _StageFile(
            key=self.folder.name,
            facts=noted,
            files=files,
            made_from=self._made_from,
            content=content_key([files, {name: noted[name] for name in self._facts.decide}]),
        )
        self._clear_temporary()
        write_atomically(self.folder / _STAGE, stored.summed().model_dump_json(indent=1))

    def _usable(self, tell: Callable[[str], None] | None) -> F | None:
        try:
            return self.read()
        except StageDamaged as damage:
            if tell is not None:
                tell(f"{damage}; it is made anew")
            return None

    def _check(self, name: str, expected: str) -> None:
        if name not in self._files:
            raise StageDamaged(
                f"{self.folder / _STAGE} is damaged (it names {name[:80]!r}, which is no file of it)"
            )
        path = self.folder / name
        try:
            found = file_digest(path) if path.stat().st_size > _LARGE else read_digest(path)
        except FileNotFoundError:
            reason = "was freed by clean" if was_freed(self.folder) else "is gone"
            raise StageDamaged(f"{path} {reason}") from None
        except OSError as error:
            raise StageDamaged(f"{path} cannot be read ({error.strerror or error})") from error
        if found != expected:
            raise StageDamaged(f"{path} is damaged (its checksum is another)")


def _take_away(path: Path) -> None:
    """Delete a file, or a folder that somebody left in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(folder: Path, kind: type[F]) -> tuple[F, _StageFile | None] | None:
    """The facts of a stage and what else its file says, which is nothing in one from before checksums."""
    path = folder / _STAGE
    try:
        content = read_json(read_regular(path, _LARGEST_NOTE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StageDamaged(f"{path} is damaged ({error})") from error
    try:
        if isinstance(content, dict) and content and "files" not in content:
            return kind.model_validate(content), None
        stored = _StageFile.model_validate(content)
        facts = kind.model_validate(stored.facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise StageDamaged(f"{path} is damaged ({where}: {first['msg'].lower()})") from error
    if stored.summed().checksum != stored.checksum:
        raise StageDamaged(f"{path} is damaged (its checksum is another)")
    if stored.key != folder.name:
        raise StageDamaged(f"{path} is that of another stage, {stored.key[:40]!r}")
    return facts, stored


def read_facts(folder: Path, kind: type[F]) -> F | None:
    """The facts of a stage without a look at its files, for those who only show them; None without a stage.

    Raises:
        StageDamaged: they cannot be read.
    """
    found = _read(folder, kind)
    return None if found is None else found[0]


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a stage that was completed; its files are not checked."""
    return (folder / _STAGE).is_file()


def content_digest(folder: Path) -> str | None:
    """What identifies the numbers of a stage: its files and the facts that decide numbers.

    It is the same whenever and wherever the same numbers are made. None where there is no stage, or one from
    before checksums.
    """
    try:
        stored = _StageFile.model_validate_json(read_regular(folder / _STAGE))
    except (OSError, ValueError):
        return None
    return stored.content


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors in one step; tensors that share memory are stored apart."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote; raises `StageDamaged` for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        open_regular(path).close()
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StageDamaged(f"{path} is damaged ({error})") from error
