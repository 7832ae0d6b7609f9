"""Runs inside the box: the pilot's own tests, in a fresh copy of it. Standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pilotage.assess.probing.boxed_copy import Child, Writer, begin, copied, interpreter

__all__ = ["main"]

_WANTS_NETWORK = re.compile(
    r"Network is unreachable|Name or service not known|Temporary failure in name resolution|getaddrinfo failed"
    r"|Max retries exceeded|ConnectError|No address associated"
)
_LACKS = re.compile(r"No module named '([\w.]+)'")
_USAGE = 4
_MOST = 0.8


def main() -> None:
    """Read the request, run pytest, tell how many passed and which did not."""
    request, writer = begin()
    copy = copied(Path(request["root"]), request["files"])
    if copy is None:
        writer.unknown("infrastructure.tests_pass", "the folder is too large to be copied")
        return
    report = Path.cwd() / "report.xml"
    paths = [str(path) for path in (copy / "src", copy) if path.is_dir()]
    env = {"PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    if not request["own"]:  # the plugins installed here are not the pilot's
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    seconds = request["seconds"]
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    child = Child([*interpreter(), *words], copy, env)
    status = child.wait(seconds)
    if status == _USAGE and not report.exists():  # options of plugins that it does not declare
        child = Child([*interpreter(), *words, "-o", "addopts="], copy, env)
        status = child.wait(seconds)
    if status is None:
        writer.unknown("infrastructure.tests_pass", f"its tests were still at work after {seconds:.0f} s")
    elif not report.exists():
        last = (child.text.strip().splitlines() or [f"status {status}"])[-1]
        writer.unknown("infrastructure.tests_pass", f"its tests ended without a report (status {status}): {last}")
    else:
        _tell(writer, ElementTree.parse(report).getroot(), own=request["own"])  # noqa: S314 - bounded by the box
    writer.tell(done="tests")


def _tell(writer: Writer, root: ElementTree.Element, *, own: bool) -> None:
    cases = list(root.iter("testcase"))
    passed, apart, failed = 0, [], []
    skipped = 0
    for case in cases:
        fault = next((each for each in case if each.tag in ("failure", "error")), None)
        if fault is None:
            skipped += any(each.tag == "skipped" for each in case)
            passed += not any(each.tag == "skipped" for each in case)
            continue
        said = f"{fault.get('message') or ''}\n{fault.text or ''}"
        lacks = _LACKS.search(said)
        if _WANTS_NETWORK.search(said):
            apart.append("it wants a network")
        elif lacks and not own:
            apart.append(f"{lacks[1]} is not installed here")
        else:
            failed.append(_failure(case, fault, lacks))
    run = passed + len(failed)
    figures: dict[str, Any] = {"passed": passed, "failed": len(failed), "skipped": skipped, "apart": len(apart)}
    if not run:
        why = "none was run" if not apart else f"none could be judged here: {apart[0]}"
        writer.unknown("infrastructure.tests_pass", why if not skipped else f"{why} ({skipped} skip themselves)")
        return
    level = 1.0 if not failed else 0.5 if passed >= _MOST * run else 0.0
    beside = f"; {len(apart)} could not be judged here ({apart[0]})" if apart else ""
    beside += f"; {skipped} skip themselves" if skipped else ""
    said = f"{passed} of {run} tests pass in a fresh copy{beside}"
    writer.step("infrastructure.tests_pass", level, said, findings=failed[:20], **figures)


def _failure(case: ElementTree.Element, fault: ElementTree.Element, lacks: re.Match[str] | None) -> dict[str, Any]:
    first = (fault.get("message") or fault.text or "").strip().splitlines() or [fault.tag]
    name = case.get("name") or case.get("classname") or "a test"
    mend = f"declare {lacks[1].split('.')[0]}, or add the file" if lacks else "mend the code, or the test"
    message = f"no module named {lacks[1]}" if lacks else first[0]
    file, line = case.get("file") or "", int(case.get("line") or -1) + 1
    if not file and name.endswith(".py"):
        file = name
    if not file and (dotted := (case.get("classname") or name).replace(".", "/") + ".py"):
        file = dotted
    return {"message": f"{name}: {message}", "file": file, "line": line, "mend": mend}


if __name__ == "__main__":
    main()
