"""Signatures of results files, made and checked by OpenSSH's `ssh-keygen -Y`.

The signature of `FILE` is `FILE.sig` and covers the bytes of the file, in the namespace `benchsuite`.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from benchsuite.errors import UsageError
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMESPACE = "benchsuite"
_LARGEST_SIGNATURE = 1 << 16
_LARGEST_LIST = 1 << 24
_SECONDS = 600
"""How long a check may take; hashing the largest results file takes seconds."""
_ABSENT = "ssh-keygen is not installed here; it comes with OpenSSH (8.3 or newer)"
_OLD = "ssh-keygen here cannot check signatures of files; OpenSSH 8.3 or newer can"
_KEY = re.compile(r"with (\S+) key (\S+)")
_UNKNOWN_OPTION = re.compile(r"unknown option|illegal option|unsupported operation|^usage:", re.I | re.M)

Verdict = Literal["unsigned", "signed", "unlisted", "bad", "unchecked"]


@dataclass(frozen=True)
class Signature:
    """What is known of who signed a results file.

    Attributes:
        file: the results file.
        verdict: "signed" by somebody in the list of signers; "unlisted" if the signature is valid and no list
            has its key, or none was given; "bad" if it is no signature of these bytes; "unchecked" if
            nothing here can check it.
        words: the verdict in words, with the signer or the key's fingerprint; printable.
    """

    file: Path
    verdict: Verdict
    words: str


def signature_file(path: Path) -> Path:
    """Where the signature of a results file is."""
    return path.with_name(f"{path.name}.sig")


def sign(content: bytes, key: Path) -> bytes:
    """The signature of a results file's bytes, as the content of a `.sig` file.

    `ssh-keygen` asks for the key's passphrase on the terminal, or has ssh-agent sign if the key is public.

    Raises:
        UsageError: there is no such key, or `ssh-keygen` does not sign with it.
    """
    if not key.is_file():
        raise UsageError(f"there is no key file {key} to sign with; ssh-keygen -t ed25519 makes one")
    with tempfile.TemporaryDirectory(prefix="benchsuite-sign-") as folder:
        file = Path(folder) / "results"
        file.write_bytes(content)
        # At a terminal it may ask for a passphrase or for a touch of a security key.
        asks = sys.stdin is not None and sys.stdin.isatty()
        command = ["-q", "-Y", "sign", "-f", str(key.absolute()), "-n", NAMESPACE, str(file)]
        done = _keygen(command, subprocess.DEVNULL if not asks else None, quiet=not asks)
        try:
            signature = signature_file(file).read_bytes()
        except FileNotFoundError:
            said = f" ({_said(done)})" if done.stderr else ""
            raise UsageError(
                f"{key} cannot be signed with, so nothing was written: ssh-keygen failed{said}"
            ) from None
    return signature


def check_signature(path: Path, signers: Path | None = None) -> Signature:
    """Who signed a results file; nothing in its `.sig` file is trusted.

    Args:
        path: the results file.
        signers: a list in OpenSSH's format of allowed signers.

    Raises:
        UsageError: the list cannot be read, or nothing here can check a signature that it is wanted for.
    """
    known = None if signers is None else _content(signers, _LARGEST_LIST, "the list of signers")
    if isinstance(known, str):
        raise UsageError(known)
    file = signature_file(path)
    if not os.path.lexists(file):
        return Signature(path, "unsigned", f"not signed: there is no {_name(file)}")
    signature = _content(file, _LARGEST_SIGNATURE, "the signature")
    if isinstance(signature, str):
        return Signature(path, "bad", f"bad signature: {signature}")
    try:
        with tempfile.TemporaryDirectory(prefix="benchsuite-signature-") as folder:
            return _checked(path, signature, known, Path(folder))
    except _Unchecked as reason:
        if signers is not None:
            raise UsageError(f"{path}: its signature cannot be checked: {reason}") from None
        return Signature(path, "unchecked", f"the signature was not checked: {reason}")


class _Unchecked(Exception):  # noqa: N818 - it says what is the case
    """Nothing here can check signatures."""


def _checked(path: Path, signature: bytes, known: bytes | None, folder: Path) -> Signature:
    copy, allowed = folder / "signature", folder / "signers"
    copy.write_bytes(signature)
    of_copy = ["-n", NAMESPACE, "-s", str(copy)]
    found = _about(["-Y", "check-novalidate", *of_copy], path)
    if found.returncode != 0:
        return Signature(
            path, "bad", f"bad signature: {_name(signature_file(path))} is none of this file ({_said(found)})"
        )
    match = _KEY.search(found.stdout.decode(errors="replace"))
    key = printable(f"{match[1]} key {match[2]}", 300) if match else "unknown key"
    if known is None:
        words = f"a valid signature by the {key}; verify --signers LIST says whose that is"
        return Signature(path, "unlisted", words)
    allowed.write_bytes(known)
    listed = _about(["-Y", "find-principals", "-s", str(copy), "-f", str(allowed)], path)
    principals = listed.stdout.decode(errors="replace").split("\n") if listed.returncode == 0 else []
    said = _said(listed)
    for principal in filter(None, principals):
        # The list may allow a key in some namespaces or for some time only.
        found = _about(["-Y", "verify", "-f", str(allowed), "-I", principal, *of_copy], path)
        if found.returncode == 0:
            return Signature(path, "signed", f"signed by {printable(principal, 300)} ({key})")
        said = _said(found)
    reason = "" if said in ("", "No principal matched.") else f" ({said.replace(str(allowed), 'signers')})"
    words = f"a valid signature, but by a key that the list of signers does not allow: {key}{reason}"
    return Signature(path, "unlisted", words)


def _about(arguments: Sequence[str], path: Path) -> subprocess.CompletedProcess[bytes]:
    """What `ssh-keygen` finds on a file, which it reads from its standard input."""
    try:
        with path.open("rb") as content:
            done = _keygen(arguments, content)
    except UsageError as error:
        raise _Unchecked(str(error)) from None
    except subprocess.TimeoutExpired:
        raise _Unchecked(f"ssh-keygen took longer than {_SECONDS} seconds") from None
    if done.returncode != 0 and _UNKNOWN_OPTION.search(done.stderr.decode(errors="replace")):
        raise _Unchecked(_OLD)
    return done


def _keygen(
    arguments: Sequence[str], given: IO[bytes] | int | None, *, quiet: bool = True
) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UsageError(_ABSENT)
    output = subprocess.PIPE if quiet else None
    return subprocess.run(  # noqa: S603 - the words are ours, or names of files and signers as single words
        [program, *arguments],
        stdin=given,
        stdout=output,
        stderr=output,
        env={**os.environ, "LC_ALL": "C"},
        timeout=_SECONDS if quiet else None,
        check=False,
    )


def _content(path: Path, most: int, what: str) -> bytes | str:
    """A small file's bytes, or why it cannot be read; what is no plain file is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return f"{what} {path} is no plain file"
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{what} {path} cannot be read: {error.strerror or error}"
    if len(content) > most:
        return f"{what} {path} has more than {most:,} bytes"
    return content


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """The first line that the program complained with."""
    lines = (done.stderr or b"").decode(errors="replace").splitlines()
    first = next((line for line in lines if line.strip(" @\r")), "")
    return printable(first.strip(), 300)


def _name(path: Path) -> str:
    return printable(path.name, 300)
