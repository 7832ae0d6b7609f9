"""One gateway worker process."""

from __future__ import annotations

import sys

import click

from pilotage.cli.identity import settings_of
from pilotage.cli.main import Chosen
from pilotage.gateway.idempotency import Idempotency
from pilotage.gateway.limit import Limits
from pilotage.gateway.peers import Peers
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.worker import serve
from pilotage.wiring.lifeline import log_as_json, watch_lifeline
from pilotage.wiring.supervisor import listener

__all__ = ["gateway"]


@click.command()
@click.option("--worker", type=click.IntRange(0, 9_999), default=0, show_default=True, help="This worker's number.")
@click.option("--fd", type=int, help="A listening socket handed over by a supervisor.")
@click.option("--host", help="Address to listen on, without --fd.")
@click.option("--port", "gateway_port", type=int, help="Port to listen on, without --fd.")
@click.pass_obj
def gateway(chosen: Chosen, worker: int, fd: int | None, host: str | None, gateway_port: int | None) -> None:
    """Run one gateway worker until SIGTERM, which drains it."""
    log_as_json()
    settings = settings_of(chosen, host=host, gateway_port=gateway_port)
    watch_lifeline()
    sys.exit(
        serve(
            home=settings.home,
            node=settings.node,
            worker=worker,
            sockets=[listener(fd, settings.host, settings.gateway_port)],
            database_url=settings.database_url,
            limits=Limits(body_bytes=settings.max_body_mib << 20),
            peers=Peers(settings.trusted_proxies),
            idempotency=Idempotency(
                settings.home.idempotency,
                kept_s=settings.idempotency_hours * 3_600,
                most_bytes=settings.idempotency_mib << 20,
            ),
            tracing=Tracing(settings.otlp_endpoint, node=settings.node, worker=worker)
            if settings.otlp_endpoint
            else None,
        )
    )
