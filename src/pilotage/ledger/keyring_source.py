"""Where an installation's keyring comes from: its file, the environment, or a command, such as a call to a KMS.

A command prints either the keyring's JSON, or one secret of 32 bytes (raw, hexadecimal or base64) that opens the file:
then the file lies encrypted in the home, and only who may run the command can open it. Its output is never logged.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import InputError, NotFound, Unavailable
from pilotage.ledger.keyring import ENVIRONMENT, Keyring, require_owner_only
from pilotage.ledger.keyring_file import create_file, replace_file

__all__ = ["KeyringSource", "run_command"]

_LIMIT_S = 30.0
_MOST_BYTES = 65_536
_BOUND = b"pilotage keyring file v2"
_Stamp = tuple[int, int, int]


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A keyring file that a command's secret opens: nonce ‖ AES-256-GCM of the JSON form."""

    version: int
    sealed: bytes


class KeyringSource:
    """The keyring as it is now: a change of the file is followed at the next `current`. For several threads.

    `environ` goes before `command`, the command before the file. The environment, and a command that prints a whole
    keyring, are read once: such a process must be started again after a rotation.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], command: str = "") -> None:
        self.path, self._command = path, command
        self._text = environ.get(ENVIRONMENT, "")
        self._lock = threading.Lock()
        self._keyring: Keyring | None = None
        self._stamp: _Stamp | None = None
        self._opener: AESGCM | None = None
        self._whole = bool(self._text)
        self._asked = False

    @property
    def held(self) -> str:
        """In words, where the secrets are."""
        if self._text:
            return f"the environment variable {ENVIRONMENT}"
        if self._command and self._whole:
            return "the output of the keyring command"
        return f"{self.path}, encrypted under the command's secret" if self._command else str(self.path)

    @property
    def in_place(self) -> bool:
        """Whether a changed keyring can be written here; otherwise an operator installs it."""
        self.current()
        return not self._whole

    def exists(self) -> bool:
        """Whether there is a keyring already."""
        return bool(self._text or self._command) or self.path.exists()

    def current(self) -> Keyring:
        """The keyring; its file is made when there is none.

        Raises InputError for one that is exposed or broken, Unavailable when the command fails.
        """
        with self._lock:
            if self._keyring is None or not self._whole:
                self._read()
            if self._keyring is None:
                raise NotFound("there is no keyring", got=self.path, mend="restore it from its backup")
            return self._keyring

    def keep(self, keyring: Keyring, output: Path | None = None) -> None:
        """Write a changed keyring: in its place, or, where it is not ours to write, to `output` with mode 0600.

        Raises InputError without an output then, or when that file is there already.
        """
        self.require_place(output)
        if output is None or self.in_place:
            with self._lock:
                replace_file(self.path, self._content(keyring))
        elif not create_file(output, keyring.to_json()):
            raise InputError("the file is there already", got=output, mend="name a new one")

    def require_place(self, output: Path | None) -> None:
        """Raise InputError unless a changed keyring can be written: in its place, or to an output."""
        if output is None and not self.in_place:
            raise InputError(
                f"the keyring is held by {self.held}, which only you can change",
                code="keyring_elsewhere",
                mend="name a file for the new keyring: --output FILE; install it there, then run this command again",
            )

    def _read(self) -> None:
        if self._text:
            self._keyring = Keyring.from_json(self._text.encode(), where=self.held)
        elif self._command and not self._asked:
            self._ask()
        if not self._whole:
            self._read_file()

    def _ask(self) -> None:
        said = run_command(self._command)
        if said.lstrip()[:1] == b"{":
            self._keyring, self._whole = Keyring.from_json(said, where="the output of the keyring command"), True
        else:
            self._opener = AESGCM(_secret_in(said))
        self._asked = True

    def _read_file(self) -> None:
        stamp = self._look()
        if stamp is None and self._keyring is not None:
            return  # somebody moved the file: what is known still holds
        if stamp is None:
            create_file(self.path, self._content(Keyring.create()))
        elif stamp == self._stamp:
            return
        require_owner_only(self.path)
        self._stamp = self._look()
        self._keyring = self._opened(self.path.read_bytes())

    def _look(self) -> _Stamp | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _content(self, keyring: Keyring) -> bytes:
        if self._opener is None:
            return keyring.to_json()
        nonce = os.urandom(12)
        sealed = nonce + self._opener.encrypt(nonce, keyring.to_json(), _BOUND)
        return msgspec.json.encode({"version": 2, "sealed": base64.b64encode(sealed).decode()})

    def _opened(self, content: bytes) -> Keyring:
        try:
            sealed = msgspec.json.decode(content, type=_Sealed).sealed
        except msgspec.MsgspecError:
            keyring = Keyring.from_json(content, where=str(self.path))
            if self._opener is not None:
                replace_file(self.path, self._content(keyring))  # in clear until now: from now on the secret opens it
                self._stamp = self._look()
            return keyring
        if self._opener is None:
            raise InputError(
                f"{self.path} is encrypted under the secret of a command",
                code="keyring_broken",
                mend="set PILOTAGE_KEYRING_COMMAND as it was when the file was written",
            )
        try:
            return Keyring.from_json(self._opener.decrypt(sealed[:12], sealed[12:], _BOUND), where=str(self.path))
        except (InvalidTag, ValueError):
            raise InputError(
                f"{self.path} does not open with what the keyring command prints",
                code="keyring_broken",
                mend="let the command print the secret that the file was written with, or restore the file",
            ) from None


def run_command(command: str) -> bytes:
    """What a command prints, run without a shell within 30 s. Raises Unavailable, which never shows its output."""
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LIMIT_S
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise _command_failed(type(error).__name__) from None
    if done.returncode or not done.stdout or len(done.stdout) > _MOST_BYTES:
        raise _command_failed(f"exit code {done.returncode}, {len(done.stdout)} bytes")
    return done.stdout


def _secret_in(said: bytes) -> bytes:
    """The 32 bytes in what a command printed."""
    if len(said) == 32:
        return said
    text = said.strip()
    for read in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True)):
        try:
            secret = read(text.decode("ascii"))
        except (ValueError, binascii.Error):
            continue
        if len(secret) == 32:
            return secret
    raise _command_failed(f"{len(said)} bytes that are neither a keyring nor a secret")


def _command_failed(got: str) -> Unavailable:
    return Unavailable(
        "the keyring command gave no keyring",
        got=got,
        expected="a keyring's JSON, or 32 bytes (raw, hexadecimal or base64), within 30 s and exit code 0",
        code="keyring_command",
        mend="run the command of PILOTAGE_KEYRING_COMMAND by hand and look; its output is never logged here",
    )
