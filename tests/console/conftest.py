"""A real console process over a small governed home, and a real browser that keeps count of every complaint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from pilotage.ledger.erasure import erase
from pilotage.ledger.queries import DecisionFilter
from pilotage.replay.backtesting import backtest, keep_backtest
from pilotage.replay.window import Window
from pilotage.workflows.service import Pipelines
from tests.console.world import ConsoleWorld, make_console_world
from tests.unit.workflows.small import declare, tiny_steps

CHROMIUM = Path(os.environ.get("PILOTAGE_TEST_CHROMIUM", "/usr/bin/chromium"))
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass(kw_only=True)
class Console:
    """A running console: its address, its world, and the ids of decisions worth looking at."""

    url: str
    world: ConsoleWorld
    answered: str
    rejected: str
    erased: str
    interrupted: str
    backtest: str
    pipeline: str

    @property
    def home(self) -> Path:
        return self.world.installation.home.root

    @property
    def pages(self) -> dict[str, str]:
        """The path of every page, by name."""
        return {
            "systems": "/systems",
            "system": "/systems/example",
            "readiness": "/systems/example/readiness",
            "interview": "/systems/example/interview",
            "decisions": "/decisions",
            "a filter that finds nothing": "/decisions?fault=none",
            "a filter with faults": "/decisions?since=yesterday&score_min=abc",
            "answered": f"/decisions/{self.answered}",
            "rejected": f"/decisions/{self.rejected}",
            "erased": f"/decisions/{self.erased}",
            "interrupted": f"/decisions/{self.interrupted}",
            "pipelines": "/pipelines",
            "a pipeline": f"/pipelines/{self.pipeline}",
            "backtests": "/backtests",
            "a backtest": f"/backtests/{self.backtest}",
            "a release": "/releases/example@1",
            "what differs": "/releases/example@1/diff?against=example@2",
            "nothing to compare": "/releases/example@1/diff",
            "a contract": "/releases/example@1/contract?against=example@2",
            "then": "/systems/example/at",
            "access": "/access",
            "retention": "/retention",
            "erasure": "/erasure",
            "not found": "/decisions/none",
        }


@dataclass(kw_only=True)
class Visit:
    """A page in a browser, and all that the browser complained of."""

    console: Console
    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(self.console.url + path)
        return self.page

    def sign_in(self, role: str = "auditor") -> Page:
        self.go("/sign-in")
        self.page.fill("#token", self.console.world.token(role))
        self.page.click("main button")
        self.page.wait_for_url("**/systems")
        return self.page


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    world = make_console_world(tmp_path_factory.mktemp("browser"))
    world.assess()
    answered = world.seal(world.answered(120, step_us=200_000))
    erased = world.seal(world.answered(1, seed=99))
    rejected = world.seal(world.rejected(2))
    interrupted = world.seal(world.interrupted())
    erase("c-99-0", "asked", "tests", steward=world.steward)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        home, number = str(world.installation.home.root), str(listener.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "pilotage", "--home", home, "console", "--fd", number],
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
        )
        try:
            _wait_ready(f"{url}/ready")
            yield Console(
                url=url,
                world=world,
                answered=answered[-1],
                rejected=rejected[0],
                erased=erased[0],
                interrupted=interrupted[0],
                backtest=_backtest(world),
                pipeline=_pipeline(world, tmp_path_factory.mktemp("pilot")),
            )
        finally:
            process.terminate()
            _, log = process.communicate(timeout=20)
            world.close()
    assert b'"error"' not in log, log.decode()


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no chromium at {CHROMIUM}: install it, or name it in PILOTAGE_TEST_CHROMIUM")
    # No longer than its module: as long as it lives, an event loop runs in this thread, and asyncio.run fails.
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_FLAGS)
        yield made
        made.close()


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(console: Console, browser: Browser) -> Iterator[Visitor]:
    """Opens browsers' contexts; afterwards no page may have complained, of its own or about the policy."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def open_context(**options: object) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        contexts.append(context)
        visit = Visit(console=console, page=context.new_page())
        visits.append(visit)
        listen(visit)
        return visit

    yield open_context
    for context in contexts:
        context.close()
    assert [complaint for visit in visits for complaint in visit.complaints] == []


def listen(visit: Visit) -> None:
    """Collect console errors and warnings, script errors, and requests to anywhere else."""
    page, own = visit.page, visit.console.url

    def on_console(message: object) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:  # type: ignore[attr-defined]
            visit.complaints.append(f"{page.url}: {message.text}")  # type: ignore[attr-defined]

    def on_request(request: object) -> None:
        if not request.url.startswith((own, "data:")):  # type: ignore[attr-defined]
            visit.complaints.append(f"foreign request: {request.url}")  # type: ignore[attr-defined]

    page.on("console", on_console)
    page.on("pageerror", lambda error: visit.complaints.append(f"{page.url}: {error}"))
    page.on("request", on_request)
    page.on("requestfailed", lambda request: None)


def _pipeline(world: ConsoleWorld, folder: Path) -> str:
    """The id of a run whose last step fails, after one that succeeded."""
    installation = world.installation
    pipelines = Pipelines(home=installation.home, control=installation.control, keyring=installation.keyring)
    pipelines.run(declare(folder), "somebody")
    failing = {"name": "judge", "run": ["python", "-c", "print('<b>no</b>'); raise SystemExit(1)"]}
    return pipelines.run(declare(folder, [*tiny_steps()[:2], failing]), "somebody").id


def _backtest(world: ConsoleWorld) -> str:
    """A stored backtest of a second release; the id of its evidence."""
    installation = world.installation
    candidate = world.governed.release(0.6).digest
    window = Window(wanted=DecisionFilter(), last=200)
    found = backtest(installation.ledger(), installation.releases, candidate, window)
    return keep_backtest(installation.control, installation.objects, found, "tests").id
