"""The nine steps of the demo, in the order that Pilotage enforces."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pilotage.cli.demo.shell import Shell
from pilotage.cli.demo.traffic import (
    SHIFTS,
    HostileReply,
    Reply,
    Row,
    hostile,
    read_rows,
    send_hostile,
    send_rows,
    shift,
)
from pilotage.errors import IntegrityError
from pilotage.kernel.clock import rfc3339

__all__ = ["Journey", "travel"]

SYSTEM = "credit-default"
_PEOPLE = {
    "admin": "admin",
    "model-author": "ml_engineer",
    "model-validator": "model_validator",
    "risk-officer": "risk_officer",
    "operator": "operator",
    "auditor": "auditor",
}


@dataclass(kw_only=True)
class Journey:
    """What the journey has found so far; `result()` is what --json prints."""

    shell: Shell
    pilot: Path
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    gateway: str = ""
    console: str = ""
    assessment: dict[str, Any] = field(default_factory=dict)
    release: dict[str, Any] = field(default_factory=dict)
    challenger: dict[str, Any] = field(default_factory=dict)
    gate_before: dict[str, Any] = field(default_factory=dict)
    gate_after: dict[str, Any] = field(default_factory=dict)
    author_status: int = 0
    replies: list[Reply] = field(default_factory=list)
    traffic_seconds: float = 0.0
    faults: list[HostileReply] = field(default_factory=list)
    recorded: int = 0
    rejected: int = 0
    explanation: dict[str, Any] = field(default_factory=dict)
    replay: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    erasure: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    rollback_ms: float = 0.0

    @property
    def decide_url(self) -> str:
        return f"{self.gateway}/v1/systems/{SYSTEM}/decide"

    def token(self, person: str) -> str:
        """The personal token of one of the demo's people."""
        return str(self.people[person]["token"])

    def answered(self) -> int:
        """How many of the real rows got an answer, as the client saw it."""
        return sum(reply.status == 200 for reply in self.replies)

    def percentile(self, share: float) -> float:
        """Latency in ms below which that share of the real rows was answered, at the client."""
        times = sorted(reply.ms for reply in self.replies)
        return times[min(len(times) - 1, int(share * len(times)))]

    def result(self) -> dict[str, Any]:
        """One JSON object with every figure of the demo."""
        return {
            "assessment": self.assessment,
            "release": self.release,
            "gate": {
                "before": _word(self.gate_before),
                "after": _word(self.gate_after),
                "missing_before": self.gate_before["missing"],
                "missing_after": self.gate_after["missing"],
                "author_approval_status": self.author_status,
            },
            "decisions": {"answered": self.answered(), "recorded": self.recorded, "rejected": self.rejected},
            "hostile": [
                {"case": f.case.name, "status": f.status, "code": f.code, "faults": list(f.codes), "right": f.right}
                for f in self.faults
            ],
            "throughput_per_s": round(len(self.replies) / self.traffic_seconds, 1),
            "latency_ms": {"p50": round(self.percentile(0.5), 3), "p99": round(self.percentile(0.99), 3)},
            "explanation": self.explanation,
            "replay": self.replay,
            "proof": self.proof,
            "ledger": self.ledger,
            "erasure": self.erasure,
            "drift": self.drift,
            "rollback_ms": round(self.rollback_ms, 1),
            "seconds": {name: round(value, 2) for name, value in self.shell.seconds.items()},
        }


def _word(verdict: dict[str, Any]) -> str:
    return "go" if verdict["go"] else "no-go"


def travel(shell: Shell, pilot: Path, rows: int) -> Journey:
    """Travel the whole journey and return what was found. Raises PilotageError where a step fails."""
    journey = Journey(shell=shell, pilot=pilot)
    data = read_rows(next((pilot / "data").glob("*.csv*")), target="Default")
    # The file lies in blocks by age and sex: without shuffling, its second half has really drifted from its first.
    random.Random(2026).shuffle(data)  # noqa: S311 - a sample, not a secret
    with shell.step("pilot", "a stalled pilot, as its author left it"):
        _pilot(journey, len(data))
    with shell.step("assess", "measured, not asked"):
        _people(journey)
        _assess(journey)
    with shell.step("release", "an immutable release, named by its digest"):
        journey.release = _build(journey, pilot)
        _keys(journey)
    with shell.step("gate", "go or no-go, from evidence and four eyes"):
        _gate(journey)
    with shell.step("serve", "every answer on disk before it leaves"):
        _serve(journey, data[:rows])
    with shell.step("record", "shown, explained, replayed, proved, erased"):
        building = _second_release(journey)
        _record(journey)
    with shell.step("watch", "three columns shift, and no other is blamed"):
        _watch(journey, data[rows : rows + 2_500])
    with shell.step("roll back", "a second release goes live, and the first comes back"):
        _roll_back(journey, data, building)
    return journey


def _pilot(journey: Journey, rows: int) -> None:
    names = sorted(p.name for p in journey.pilot.iterdir() if p.name != "pilotage.yaml")
    journey.shell.tell(f"{', '.join(names)}: {rows:,} real rows of the UCI credit-default data")


def _assess(journey: Journey) -> None:
    found = journey.shell.run("assess", str(journey.pilot), "--no-install")
    journey.assessment = {name: found[name] for name in ("level", "weakest", "blockers", "dimensions")}
    levels = ", ".join(f"{each['dimension']} {each['level']}" for each in found["dimensions"])
    journey.shell.tell(f"levels of 5: {levels}; verdict [bold]level {found['level']}[/], held by {found['weakest']}")
    for blocker in found["blockers"][:3]:
        journey.shell.tell(f"[red]blocker[/] {blocker['text']}: {blocker['why']}")


def _people(journey: Journey) -> None:
    shell = journey.shell
    journey.people["admin"] = shell.run("people", "add", "admin", "--role", "admin")
    others = {name: role for name, role in _PEOPLE.items() if name != "admin"}
    begun = {
        name: shell.begin("people", "add", name, "--role", role, token=journey.token("admin"))
        for name, role in others.items()
    }
    journey.people |= {name: shell.end(process) for name, process in begun.items()}


def _keys(journey: Journey) -> None:
    """Two API keys: one for this system, one whose scope is another system."""
    other = journey.pilot / "other.yaml"
    other.write_text((journey.pilot / "pilotage.yaml").read_text().replace(f"id: {SYSTEM}", "id: card-limits"))
    journey.shell.run("system", "declare", str(other), token=journey.token("model-author"), show=False)
    for name, system in (("good", SYSTEM), ("other", "card-limits")):
        words = ("key", "issue", f"demo-{name}", "--scope", f"decide:{system}")
        journey.keys[name] = journey.shell.run(*words, token=journey.token("operator"), show=name == "good")["key"]


def _build(journey: Journey, pilot: Path) -> dict[str, Any]:
    return _told(journey, journey.shell.run("release", "build", str(pilot), token=journey.token("model-author")))


def _told(journey: Journey, built: dict[str, Any]) -> dict[str, Any]:
    auc, single = built["evaluation"]["metrics"]["auc"], built["evaluation"]["baselines"]["single_feature"]
    journey.shell.tell(
        f"[bold]{SYSTEM}@{built['version']}[/] {built['digest'][:19]}… served by {built['runtime']}; "
        f"AUC {auc:.3f}, the best single feature alone ({single['feature']}) {single['auc']:.3f}"
    )
    return built


def _gate(journey: Journey) -> None:
    shell, digest = journey.shell, journey.release["digest"]
    arguments = ("gate", "check", "--system", SYSTEM, "--release", digest, "--to", "internal")
    journey.gate_before = shell.run(*arguments, fine=(0, 3))
    shell.tell(f"[bold]{_word(journey.gate_before)}[/]: {'; '.join(journey.gate_before['missing'])}")
    found = shell.start("--gateway-port", "0", "--console-port", "0")
    journey.gateway, journey.console = found["gateway"], found["console"]
    journey.author_status = _approve(journey, "model-author", digest)
    shell.tell(f"the author's own approval: refused with {journey.author_status}")
    for person in ("model-validator", "risk-officer"):
        shell.tell(f"approval of the {person}: {_approve(journey, person, digest)}")
    journey.gate_after = shell.run(*arguments, fine=(0, 3))
    shell.tell(f"[bold]{_word(journey.gate_after)}[/]")


def _approve(journey: Journey, person: str, digest: str) -> int:
    body = {"system": SYSTEM, "release": digest, "stage": "internal"}
    return journey.shell.api("POST", f"{journey.console}/api/v1/approvals", journey.token(person), body).status


def _promote(journey: Journey, digest: str) -> None:
    token = journey.token("operator")
    journey.shell.run("promote", digest, "--system", SYSTEM, "--to", "internal", token=token)
    _wait_for_release(journey, digest)


def _wait_for_release(journey: Journey, digest: str, limit_s: float = 20.0) -> None:
    """Until ten fresh connections in a row, which the kernel spreads over the workers, are told of this release."""
    headers = {"Authorization": f"Bearer {journey.keys['good']}"}
    deadline, in_a_row = time.monotonic() + limit_s, 0
    while in_a_row < 10:
        if time.monotonic() > deadline:
            raise IntegrityError(f"release {digest} is not live after {limit_s} s", mend="see the gateway's log")
        request = urllib.request.Request(journey.decide_url, headers=headers)  # noqa: S310 - our own gateway
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                in_a_row = in_a_row + 1 if json.loads(response.read())["release"] == digest else 0
        except OSError:
            in_a_row = 0
        if not in_a_row:
            time.sleep(0.05)


def _serve(journey: Journey, rows: list[Row]) -> None:
    _promote(journey, journey.release["digest"])
    shell = journey.shell
    columns = (TextColumn("  sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=shell.screen, transient=True) as bar:
        task = bar.add_task("rows", total=len(rows))
        journey.replies, journey.traffic_seconds = asyncio.run(
            send_rows(journey.decide_url, journey.keys["good"], rows, progress=lambda n: bar.advance(task, n))
        )
    shell.tell(
        f"{journey.answered():,} of {len(rows):,} rows answered, {len(rows) / journey.traffic_seconds:,.0f}/s, "
        f"p50 {journey.percentile(0.5):.1f} ms, p99 {journey.percentile(0.99):.1f} ms at concurrency 64"
    )
    journey.faults = asyncio.run(send_hostile(journey.decide_url, hostile(rows[0]), journey.keys))
    for fault in journey.faults:
        mark = "[green]✓[/]" if fault.right else "[red]✗[/]"
        shell.tell(f"{mark} {fault.case.name}: {fault.status} {', '.join(fault.codes) or fault.code}")


def _stats(journey: Journey) -> dict[str, Any]:
    return journey.shell.api("GET", f"{journey.console}/api/v1/stats", journey.token("auditor")).body


def _wait_until_sealed(journey: Journey, at_least: int, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while (sealed := _stats(journey)["decisions"]) < at_least:
        if time.monotonic() > deadline:
            raise IntegrityError(f"not sealed after {limit_s} s", got=sealed, expected=at_least, mend="see its log")
        time.sleep(0.1)


def _record(journey: Journey) -> None:
    shell = journey.shell
    rejections = sum(fault.status == 422 for fault in journey.faults)
    _wait_until_sealed(journey, journey.answered() + rejections)
    auditor = journey.token("auditor")
    exported = shell.bytes_of("decisions", "list", "--system", SYSTEM, "--all", "--json", token=auditor)
    listed = json.loads(exported)
    ids = {row["id"] for row in listed}
    journey.recorded = sum(reply.id in ids for reply in journey.replies if reply.status == 200)
    journey.rejected = sum(row["outcome"] == "rejected" for row in listed)
    shell.tell(f"{journey.recorded:,} of {journey.answered():,} answers on record, {journey.rejected} rejections too")
    one = next(row for row in listed if row["outcome"] == "answered" and row["label"] == "refer")
    shown = shell.run("decisions", "show", one["id"], token=auditor)
    journey.explanation = shell.run("decisions", "explain", one["id"], token=auditor)
    for reason in journey.explanation["reasons"]:
        shell.tell(f"reason: {reason['text']}")
    journey.replay = shell.run("decisions", "replay", one["id"], token=auditor)
    shell.tell(f"replay: [bold]{journey.replay['verdict']}[/]")
    _prove_and_erase(journey, one["id"], str(shown["payload"]["subject"]))


def _prove_and_erase(journey: Journey, decision: str, subject: str) -> None:
    shell, auditor = journey.shell, journey.token("auditor")
    folder = journey.pilot.parent / "proof"
    folder.mkdir(exist_ok=True)
    (folder / "decision.tlog-proof").write_bytes(shell.bytes_of("decisions", "prove", decision, token=auditor))
    record = shell.bytes_of("decisions", "prove", decision, "--record", token=auditor)
    (folder / "decision.json").write_bytes(record)
    vkey = shell.run("audit", "vkey")["vkey"]
    verify = ("audit", "verify-proof", str(folder / "decision.tlog-proof"), str(folder / "decision.json"))
    before = shell.run(*verify, "--vkey", vkey)
    ledger_before = shell.run("audit", "verify", token=auditor, fine=(0, 1))
    erased = shell.run("erase", "--subject", subject, "--reason", "demo", token=journey.token("risk-officer"))
    after = shell.run(*verify, "--vkey", vkey)
    ledger_after = shell.run("audit", "verify", token=auditor, fine=(0, 1))
    shown = shell.run("decisions", "show", decision, token=auditor)
    unreadable = shown["payload"] is None and bool(shown["unreadable"])
    journey.proof = {"verified": bool(before["verified"] and after["verified"]), "index": after["index"]}
    journey.ledger = {
        "verified": bool(ledger_before["ok"] and ledger_after["ok"]),
        "size": ledger_after["size"],
        "faults": [*ledger_before["faults"], *ledger_after["faults"]],
    }
    journey.erasure = {"unreadable": unreadable, "decisions": erased["decisions"], "why": shown["unreadable"]}
    shell.tell(f"proof verified: {journey.proof['verified']}, ledger verified: {journey.ledger['verified']}")
    shell.tell(f"one person erased: payload unreadable: {unreadable}; proof and ledger still verify")


def _watch(journey: Journey, rows: list[Row]) -> None:
    shell, auditor = journey.shell, journey.token("auditor")
    before = shell.run("monitor", "status", "--system", SYSTEM, token=auditor)
    for name, (text, _) in SHIFTS.items():
        shell.tell(f"shifting {name}: {text}")
    since = int(time.time() * 1_000_000)
    replies, _ = asyncio.run(send_rows(journey.decide_url, journey.keys["good"], shift(rows)))
    answered = journey.answered() + sum(reply.status == 200 for reply in replies)
    _wait_until_sealed(journey, answered + journey.rejected)
    status = shell.run("monitor", "status", "--system", SYSTEM, "--since-us", str(since), token=auditor)
    journey.drift = {
        "shifted": sorted(SHIFTS),
        "columns": sorted(status["shifted"]),
        "exact": sorted(SHIFTS) == sorted(status["shifted"]),
        "before": before["shifted"],
        "rows": status["rows"],
    }
    shell.tell(
        f"named: [bold]{', '.join(journey.drift['columns']) or 'none'}[/]; before the shift: {before['shifted']}"
    )


def _second_release(journey: Journey) -> subprocess.Popen[bytes]:
    """Begin to build the same pilot with a stricter threshold: another release. It is built beside steps 6 and 7."""
    folder = journey.pilot.parent / "pilot-2"
    shutil.copytree(journey.pilot, folder, dirs_exist_ok=True)
    text = (folder / "pilotage.yaml").read_text()
    (folder / "pilotage.yaml").write_text(text.replace("threshold: 0.3", "threshold: 0.25"))
    return journey.shell.begin("release", "build", str(folder), token=journey.token("model-author"))


def _roll_back(journey: Journey, data: list[Row], building: subprocess.Popen[bytes]) -> None:
    shell = journey.shell
    journey.challenger = _told(journey, shell.end(building))
    for person in ("model-validator", "risk-officer"):
        _approve(journey, person, journey.challenger["digest"])
    _promote(journey, journey.challenger["digest"])
    words = [sys.executable, "-m", "pilotage.cli.demo.pressure", journey.decide_url, "60"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as traffic:
        if traffic.stdin is not None:
            traffic.stdin.write(json.dumps({"key": journey.keys["good"], "rows": data[:200]}) + "\n")
            traffic.stdin.flush()
        done = shell.run("rollback", "--system", SYSTEM, token=journey.token("operator"))
        time.sleep(0.5)
    journey.rollback_ms = _first_answers(journey, done)
    shell.tell(f"back on {done['to'][:19]}…: last worker's first answer after [bold]{journey.rollback_ms:.0f} ms[/]")


def _first_answers(journey: Journey, done: dict[str, Any]) -> float:
    """Milliseconds from the rollback's commit to the last worker's first answer from the old release.

    Read from the ledger: the worker of each decision, and when its answer was made.
    """
    workers = int(_stats(journey)["workers"])
    query = urlencode({"system": SYSTEM, "release": done["to"], "since": rfc3339(int(done["at"])), "limit": 1_000})
    deadline = time.monotonic() + 20
    while True:
        rows: Any = journey.shell.api(
            "GET", f"{journey.console}/api/v1/decisions?{query}", journey.token("auditor")
        ).body
        first: dict[str, int] = {}
        for row in rows:
            name, at = f"{row['node']}/{row['worker']}", row["at"] + row["answer_us"]
            first[name] = min(first.get(name, at), at)
        if len(first) >= workers:
            return (max(first.values()) - int(done["at"])) / 1000
        if time.monotonic() > deadline:
            raise IntegrityError(
                "not every worker answered from the old release", got=first, expected=workers, mend="see their logs"
            )
        time.sleep(0.2)
