"""`pilotage up`: everything on this machine, under one supervisor."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request

import click

from pilotage.access.service import list_people
from pilotage.cli.identity import settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console
from pilotage.wiring.endpoints import own_context
from pilotage.wiring.installation import open_installation
from pilotage.wiring.pulls import check_own_name, node_settings
from pilotage.wiring.supervisor import Supervisor
from pilotage.wiring.workers import await_workers

__all__ = ["up"]

_READY_S = 30.0


@click.command()
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--gateway-port", type=int, help="Port of the gateway (default 8700, 0 picks a free one).")
@click.option("--console-port", type=int, help="Port of console and API (default 8701, 0 picks a free one).")
@click.option("--role", type=click.Choice(["all", "gateway"]), default="all", show_default=True, help="All, or a node.")
@click.option("--node", "node_name", help="The node's name, with --role gateway: checked against its invitation.")
@click.option("--journal-host", help="Address to offer a node's journal on (default 127.0.0.1).")
@click.option("--journal-port", type=int, help="Port to offer a node's journal on (default 8702, 0 picks a free one).")
@click.option("--workers", type=int, help="Gateway processes (default 2, or fewer cores).")
@click.option("--json", "json_", is_flag=True, help="Print the endpoints as one JSON object once ready.")
@click.pass_obj
def up(
    chosen: Chosen,
    host: str | None,
    gateway_port: int | None,
    console_port: int | None,
    role: str,
    node_name: str | None,
    journal_host: str | None,
    journal_port: int | None,
    workers: int | None,
    json_: bool,
) -> None:
    """Run gateway workers, the steward and the console until Ctrl-C, which drains: no accepted request is lost.

    With --role gateway, this home is a node that was invited: gateway workers, and its journal for the steward.
    """
    started = time.monotonic()
    settings = settings_of(
        chosen,
        host=host,
        gateway_port=gateway_port,
        console_port=console_port,
        journal_host=journal_host,
        journal_port=journal_port,
        workers=workers,
    )
    nobody = False
    if role == "gateway":
        settings = node_settings(settings, node_name or "")
    else:
        installation = open_installation(settings, create=True)
        check_own_name(installation.control, settings.node)
        installation.rollout.publish()
        nobody = not list_people(installation.control)
        installation.close()
    screen = errors_console()
    supervisor = Supervisor(settings, lambda line: screen.print(f"[dim]{line}[/]"))
    found = supervisor.start(gateway_only=role == "gateway")

    def announce() -> None:
        # Whoever asks for client certificates does not let this process in either: the workers' own word must do.
        asked = ("console",) if settings.tls_client_ca is not None else ("gateway", "console")
        ready = [f"{found[name]}/ready" for name in asked if name in found]
        if "gateway" not in asked:
            await_workers(settings.home, lambda each: each.state == "ready", _READY_S, least=settings.workers)
        if not _wait_ready(ready, supervisor):
            screen.print(f"[red]not ready after {_READY_S:.0f} s[/]: see the logs in {settings.home.run}")
            return
        if json_:
            as_json(found)
            return
        screen.print(f"[bold green]ready[/] in {time.monotonic() - started:.1f} s, home {settings.home.root}")
        screen.print(f"  gateway  {found['gateway']}  ({settings.workers} workers)")
        for name in ("console", "journal"):
            if name in found:
                screen.print(f"  {name}  {found[name]}")
        if nobody:
            screen.print("  nobody is known yet; add the first admin: pilotage people add admin --role admin")
        signing = "sign in with: pilotage sign-in    " if "console" in found else ""
        screen.print(f"  {signing}stop with: Ctrl-C")

    threading.Thread(target=announce, daemon=True, name="announce").start()
    supervisor.run()


def _wait_ready(urls: list[str], supervisor: Supervisor) -> bool:
    """Poll until every address answers 200, for at most 30 s."""
    deadline = time.monotonic() + _READY_S
    while urls and time.monotonic() < deadline and not supervisor.stopping:
        urls = [url for url in urls if not _answers(url)]
        time.sleep(0.02)
    return not urls


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2, context=own_context(url)) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
