"""The console process: HTML pages and the control API."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import click
import uvicorn

from pilotage.cli.identity import opened, settings_of
from pilotage.cli.main import Chosen
from pilotage.gateway.tls import Tls
from pilotage.storage.scratch import remove_left_over
from pilotage.web.bounded_head import BoundedHead
from pilotage.web.console.app import create_app
from pilotage.wiring.endpoints import listener
from pilotage.wiring.lifeline import log_as_json, watch_lifeline

__all__ = ["console"]


@click.command()
@click.option("--fd", type=int, help="A listening socket handed over by a supervisor.")
@click.option("--host", help="Address to listen on, without --fd.")
@click.option("--port", "console_port", type=int, help="Port to listen on, without --fd.")
@click.pass_obj
def console(chosen: Chosen, fd: int | None, host: str | None, console_port: int | None) -> None:
    """Run the console and the control API until SIGTERM."""
    log_as_json()
    settings = settings_of(chosen, host=host, console_port=console_port)
    watch_lifeline()
    installation = opened(chosen, create=True)
    remove_left_over(installation.home.run)
    files = settings.tls
    tls = Tls(replace(files, client_ca=None)) if files is not None else None
    if tls is not None:
        threading.Thread(target=_follow, args=(tls,), daemon=True, name="tls").start()
    config = uvicorn.Config(
        create_app(installation, stopping=lambda: server.should_exit),
        http=BoundedHead,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=3,
        ssl_context_factory=(lambda _config, _default: tls.context) if tls is not None else None,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener(fd, settings.host, settings.console_port)])
    installation.close()


def _follow(tls: Tls) -> None:
    while True:
        time.sleep(1.0)
        tls.reload()
