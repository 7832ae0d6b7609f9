"""How the demo works: it calls the commands and the API that a user would call, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pilotage.errors import Unavailable

__all__ = ["ApiReply", "Shell"]


@dataclass(frozen=True, kw_only=True)
class ApiReply:
    """An API answer: HTTP status and the JSON body."""

    status: int
    body: dict[str, Any]


@dataclass(kw_only=True)
class Shell:
    """Runs `pilotage` commands in one home and shows them; `seconds` keeps what each step took."""

    home: Path
    screen: Console
    seconds: dict[str, float] = field(default_factory=dict)
    up: subprocess.Popen[str] | None = None

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """One step of the journey: a heading, then its time."""
        self.screen.print(f"\n[bold cyan]{len(self.seconds) + 1} {name}[/]  {title}")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        self.screen.print(f"  [dim]{self.seconds[name]:.1f} s[/]")

    def tell(self, text: str) -> None:
        """One line of result."""
        self.screen.print(f"  {text}", soft_wrap=True)

    def run(self, *words: str, token: str = "", fine: tuple[int, ...] = (0,), show: bool = True) -> Any:
        """Run `pilotage WORDS --json` and return its JSON. Raises Unavailable with its own words when it fails."""
        done = self._call(*words, "--json", token=token, show=show)
        if done.returncode not in fine:
            raise Unavailable(
                f"`pilotage {' '.join(words)}` ended with {done.returncode}",
                got=done.stderr.decode(errors="replace").strip()[-2000:],
                mend="see the message above; the home is kept with --home FOLDER",
            )
        return json.loads(done.stdout)

    def begin(self, *words: str, token: str = "") -> subprocess.Popen[bytes]:
        """Start a command beside the others; `end` waits for it."""
        self._show(*words, "--json")
        return subprocess.Popen(
            self.command(*words, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PILOTAGE_TOKEN": token},
        )

    def end(self, begun: subprocess.Popen[bytes]) -> Any:
        """The JSON of a command that was begun. Raises Unavailable with its own words when it failed."""
        out, words = begun.communicate()
        if begun.returncode:
            raise Unavailable("a command failed", got=words.decode(errors="replace").strip()[-2000:], mend="see it")
        return json.loads(out)

    def bytes_of(self, *words: str, token: str = "") -> bytes:
        """Run a command and return its standard output as it is."""
        done = self._call(*words, token=token, show=True)
        if done.returncode:
            raise Unavailable(
                f"`pilotage {' '.join(words)}` failed", got=done.stderr.decode().strip(), mend="see its message"
            )
        return done.stdout

    def _call(self, *words: str, token: str, show: bool) -> subprocess.CompletedProcess[bytes]:
        if show:
            self._show(*words)
        environ = {**os.environ, "PILOTAGE_TOKEN": token}
        return subprocess.run(self.command(*words), capture_output=True, env=environ, check=False)

    def _show(self, *words: str) -> None:
        shortened = " ".join(word[:26] + "…" if len(word) > 60 else word for word in words)
        self.screen.print(f"  [dim]$ pilotage {shortened}[/]", soft_wrap=True)

    def command(self, *words: str) -> list[str]:
        """The full argument list of a command in this home."""
        return [sys.executable, "-m", "pilotage", "--home", str(self.home), *words]

    def start(self, *options: str) -> dict[str, str]:
        """Run `pilotage up` in the background until it says that it is ready; returns its endpoints."""
        self.screen.print(f"  [dim]$ pilotage up {' '.join(options)} &[/]")
        self.up = subprocess.Popen(
            self.command("up", "--json", *options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.up.stdout.readline() if self.up.stdout else ""
        if not line:
            raise Unavailable("`pilotage up` did not start", mend=f"see the logs in {self.home / 'run'}")
        found: dict[str, str] = json.loads(line)
        return found

    def stop(self) -> None:
        """Drain `pilotage up`, if it runs."""
        if self.up is not None and self.up.poll() is None:
            self.up.terminate()
            self.up.wait(60)

    def api(self, method: str, url: str, token: str, body: dict[str, Any] | None = None) -> ApiReply:
        """One call of the control API with a person's token."""
        request = urllib.request.Request(  # noqa: S310 - the address is our own console's
            url,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return ApiReply(status=response.status, body=json.loads(response.read()))
        except urllib.error.HTTPError as error:
            return ApiReply(status=error.code, body=json.loads(error.read()))
