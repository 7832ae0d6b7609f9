"""Inside the box: start the pilot's service and find where it listens. Standard library only."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pilotage.assess.probing.boxed_copy import Child, Writer, interpreter, place_of
from pilotage.assess.probing.boxed_http import listening

__all__ = ["Started"]

_NETWORK = re.compile(
    r"Network is unreachable|Name or service not known|Temporary failure in name resolution|Max retries"
)
_LACKS = re.compile(r"No module named '?([\w.]+)'?")
_SETTING = re.compile(r"KeyError: '([A-Z][A-Z0-9_]{2,})'")


class Started:
    """The pilot's service. `env` is added to what each command sets; `ours` are ports that are not the service's."""

    def __init__(
        self,
        request: dict[str, Any],
        writer: Writer,
        copy: Path,
        *,
        env: Mapping[str, str] | None = None,
        ours: Collection[int] = (),
    ) -> None:
        self.request, self.writer, self.copy = request, writer, copy
        self.env, self.ours = dict(env or {}), ours
        self.child: Child | None = None
        self.port = 0

    def start(self) -> bool:
        """Try each command until something listens; tell what came of it."""
        said: list[tuple[dict[str, Any], str]] = []
        until = time.monotonic() + self.request["boot_s"]
        for command in self.request["commands"]:
            began = time.monotonic()
            listens = self._listens(command, until)
            if listens:
                self._started(command, listens, time.monotonic() - began)
                return True
            said.append((command, self.child.text if self.child and self.child.ended else ""))
            if self.child:
                self.child.end()
        self._not_started(said)
        return False

    @property
    def stands(self) -> bool:
        """Whether it is still there and listens."""
        return self.child is not None and not self.child.ended and self.port in listening()

    def _listens(self, command: dict[str, Any], until: float) -> dict[int, str]:
        argv = command["argv"]
        words = [*interpreter(), *argv[1:]] if argv[0] == "python" else argv
        cwd = self.copy / command["cwd"]
        paths = [str(cwd), str(self.copy), os.environ.get("PYTHONPATH", "")]
        env = {"PYTHONPATH": os.pathsep.join(paths), "PORT": "8000", **command["env"], **self.env}
        self.child = Child(words, cwd, env)
        while time.monotonic() < until:
            if found := {port: where for port, where in listening().items() if port not in self.ours}:
                return found
            if self.child.ended:
                return {}
            time.sleep(0.1)
        return {}

    def _started(self, command: dict[str, Any], ports: dict[int, str], seconds: float) -> None:
        self.port = min(ports)
        where = ports[self.port]
        said = f"it listens on port {self.port} of {where} {seconds:.1f} s after {command['said']}"
        self.writer.step(
            "infrastructure.starts",
            1,
            said,
            port=self.port,
            address=where,
            seconds=round(seconds, 2),
            how=command["argv"],
        )
        opened = self.request["exposed"]
        if opened and self.port not in [port for _, _, port in opened]:
            file, line, port = opened[0]
            message = f"it opens port {port}, the service listens on {self.port}"
            found = {"message": message, "file": file, "line": line, "mend": "use one port"}
            self.writer.step("infrastructure.container", 0, message, findings=[found], port=self.port, opened=port)
        elif opened and where == "127.0.0.1" and command["said"].startswith(opened[0][0]):
            file, line, port = opened[0]
            message = f"in a container nobody reaches it: it listens on 127.0.0.1:{self.port} only"
            found = {"message": message, "file": file, "line": line, "mend": "listen on 0.0.0.0"}
            self.writer.step("infrastructure.container", 0, message, findings=[found], port=self.port, opened=port)

    def _not_started(self, said: list[tuple[dict[str, Any], str]]) -> None:
        """Only an end of its own, for a reason that lies in the pilot, is a finding; all else stays unknown."""
        ended = [(command, text) for command, text in said if text]
        if not ended:
            why = (
                "nothing says how to start it"
                if not said
                else f"nothing listened within {self.request['boot_s']:.0f} s"
            )
            self.writer.unknown("infrastructure.starts", why)
            return
        command, text = ended[0]
        last = next((line for line in reversed(text.strip().splitlines()) if line.strip()), "it ended")
        lacks, setting = _LACKS.search(text), _SETTING.search(text)
        absent = lacks[1].split(".")[0] if lacks else ""
        if absent and not (self.copy / f"{absent}.py").exists() and not self.request["own"]:
            self.writer.unknown("infrastructure.starts", f"{absent} is not installed here")
        elif _NETWORK.search(text):
            self.writer.unknown("infrastructure.starts", "it wants a network before it listens")
        elif setting:
            self.writer.unknown("infrastructure.starts", f"it needs the setting {setting[1]}, which a stranger lacks")
        else:
            file, line = place_of(text, self.copy)
            mend = f"declare {absent}" if absent else "mend what it names, or say in the README what must be there"
            found = [{"message": last, "file": file, "line": line, "mend": mend}]
            self.writer.step(
                "infrastructure.starts", 0, f"it does not start ({command['said']}): {last}", findings=found
            )
