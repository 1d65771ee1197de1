"""Signatures of results files: who signed, and `.sig` files from anybody that cause no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchsuite.errors import UsageError
from benchsuite.publishing import signatures
from benchsuite.publishing.signatures import check_signature, sign, signature_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed; it comes with OpenSSH"
)
CONTENT = b"\x1f\x8b\x00 any bytes \xff\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys `alice` and `bob`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("alice", "bob"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    return folder


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Path:
    """A file that alice signed."""
    path = tmp_path / "results.jsonl.gz"
    path.write_bytes(CONTENT)
    signature_file(path).write_bytes(sign(CONTENT, keys / "alice"))
    return path


def public(keys: Path, name: str) -> str:
    return " ".join((keys / f"{name}.pub").read_text().split()[:2])


def fingerprint(keys: Path, name: str) -> str:
    """By another command of the program."""
    command = ["ssh-keygen", "-l", "-f", str(keys / f"{name}.pub")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()[1]


def listed(folder: Path, *lines: str) -> Path:
    (folder / "signers").write_text("\n".join(lines) + "\n")
    return folder / "signers"


def test_who_signed_is_said(keys: Path, signed: Path, tmp_path: Path) -> None:
    signers = listed(tmp_path, f"bob@example.org {public(keys, 'bob')}", f"alice@x {public(keys, 'alice')}")
    found = check_signature(signed, signers)
    assert (found.file, found.verdict) == (signed, "signed")
    assert found.words == f"signed by alice@x (ED25519 key {fingerprint(keys, 'alice')})"


def test_it_is_the_signature_that_ssh_keygen_makes(keys: Path, signed: Path) -> None:
    by_hand = signed.with_name("by-hand")
    by_hand.write_bytes(CONTENT)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "benchsuite", "-f", str(keys / "alice"), str(by_hand)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    assert by_hand.with_name("by-hand.sig").read_bytes() == signature_file(signed).read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", ""),
        ('namespaces="git"', 'not permitted for use in signature namespace "benchsuite"'),
        ('valid-before="20200101"', "key has expired"),
    ],
)
def test_a_key_that_the_list_does_not_allow_is_told_by_its_fingerprint(
    keys: Path, signed: Path, tmp_path: Path, options: str, said: str
) -> None:
    line = f"alice@x {options} {public(keys, 'alice')}" if options else f"bob@x {public(keys, 'bob')}"
    found = check_signature(signed, listed(tmp_path, line))
    assert found.verdict == "unlisted"
    assert "the list of signers does not allow" in found.words
    assert fingerprint(keys, "alice") in found.words
    assert said in found.words
    assert "alice@x" not in found.words


def test_without_a_list_the_fingerprint_is_told(keys: Path, signed: Path) -> None:
    found = check_signature(signed)
    assert found.verdict == "unlisted"
    assert fingerprint(keys, "alice") in found.words
    assert "verify --signers LIST" in found.words


def test_a_list_may_name_several_and_hold_lines_that_are_none(
    keys: Path, signed: Path, tmp_path: Path
) -> None:
    signers = listed(
        tmp_path,
        "no key at all",
        "# a comment",
        f"a@x,b@y {public(keys, 'alice')}",
        f"c {public(keys, 'bob')}",
    )
    assert check_signature(signed, signers).words.startswith("signed by a@x (")
    escape = listed(tmp_path, f"al\x1b[31mice {public(keys, 'alice')}")
    assert "\x1b" not in check_signature(signed, escape).words


def test_a_file_without_a_signature_is_unsigned(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(CONTENT)
    found = check_signature(path)
    assert (found.verdict, found.words) == ("unsigned", "not signed: there is no r.jsonl.sig")


def test_every_changed_byte_of_the_file_is_noticed(signed: Path, keys: Path, tmp_path: Path) -> None:
    signers = listed(tmp_path, f"alice {public(keys, 'alice')}")
    for place in range(len(CONTENT)):
        signed.write_bytes(CONTENT[:place] + bytes([CONTENT[place] ^ 1]) + CONTENT[place + 1 :])
        assert check_signature(signed, signers).verdict == "bad", place
    signed.write_bytes(CONTENT)
    assert check_signature(signed, signers).verdict == "signed"


def test_a_signature_for_another_purpose_is_bad(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(CONTENT)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(keys / "alice"), str(path)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    found = check_signature(path)
    assert found.verdict == "bad"
    assert "namespace does not match" in found.words


def _huge(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(1 << 40)


HOSTILE = {
    "empty": lambda file: file.write_bytes(b""),
    "binary": lambda file: file.write_bytes(os.urandom(5000)),
    "escapes": lambda file: file.write_bytes(b"\x1b[31m\n" * 20),
    "cut": lambda file: file.write_bytes(b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n"),
    "huge": _huge,
    "fifo": os.mkfifo,
    "folder": lambda file: file.mkdir(),
    "dangling link": lambda file: file.symlink_to("nowhere"),
    "circle": lambda file: file.symlink_to(file),
    "device": lambda file: file.symlink_to("/dev/zero"),
    "link to a secret": lambda file: file.symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_signature_is_bad_and_nothing_else_happens(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(CONTENT)
    HOSTILE[kind](signature_file(path))
    found = check_signature(path)
    assert found.verdict == "bad"
    assert found.words.startswith("bad signature: ")
    assert found.words.isprintable()
    assert "root:" not in found.words


@pytest.mark.parametrize("kind", ["absent", *HOSTILE])
def test_a_list_that_is_none_is_a_sentence_or_allows_nobody(signed: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "list"
    if kind != "absent":
        HOSTILE[kind](file)
    if kind in ("empty", "binary", "escapes", "cut", "link to a secret"):
        assert check_signature(signed, file).verdict == "unlisted"
    else:
        with pytest.raises(UsageError, match="the list of signers"):
            check_signature(signed, file)


def test_without_the_program_it_is_said(signed: Path, keys: Path, tmp_path: Path, monkeypatch) -> None:
    signers = listed(tmp_path, f"alice {public(keys, 'alice')}")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_signature(signed)
    assert found.verdict == "unchecked"
    assert "ssh-keygen is not installed" in found.words
    with pytest.raises(UsageError, match="cannot be checked: ssh-keygen is not installed"):
        check_signature(signed, signers)
    with pytest.raises(UsageError, match="ssh-keygen is not installed"):
        sign(CONTENT, keys / "alice")


def test_a_program_that_is_too_old_calls_no_signature_bad(signed: Path, tmp_path: Path, monkeypatch) -> None:
    old = tmp_path / "ssh-keygen"
    old.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2; echo 'usage: ssh-keygen' >&2; exit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = check_signature(signed)
    assert found.verdict == "unchecked"
    assert "OpenSSH 8.3 or newer" in found.words


def test_a_program_that_hangs_is_given_up(signed: Path, tmp_path: Path, monkeypatch) -> None:
    slow = tmp_path / "ssh-keygen"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(signatures, "_SECONDS", 0.2)
    assert check_signature(signed).verdict == "unchecked"


def test_a_key_that_does_not_sign_is_a_sentence(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key file"):
        sign(CONTENT, tmp_path / "absent")
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(UsageError, match="cannot be signed with, so nothing was written"):
        sign(CONTENT, tmp_path / "rubbish")
    locked = tmp_path / "locked"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(UsageError, match="cannot be signed with"):
        sign(CONTENT, locked)
