"""Gateway workers: run one, restart all one by one, find out why a system does not answer."""

from __future__ import annotations

import os
import signal
import sys

import click

from pilotage.cli.identity import settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.errors import Unavailable
from pilotage.gateway.idempotency import Idempotency
from pilotage.gateway.limit import Limits
from pilotage.gateway.peers import Peers
from pilotage.gateway.tls import Tls
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.worker import serve
from pilotage.wiring.endpoints import endpoints, listener
from pilotage.wiring.gateway_check import check_gateway
from pilotage.wiring.lifeline import log_as_json, watch_lifeline
from pilotage.wiring.workers import await_workers, workers_of

__all__ = ["gateway"]


@click.group(invoke_without_command=True)
@click.option("--worker", type=click.IntRange(0, 9_999), default=0, show_default=True, help="This worker's number.")
@click.option("--fd", type=int, help="A listening socket handed over by a supervisor.")
@click.option("--host", help="Address to listen on, without --fd.")
@click.option("--port", "gateway_port", type=int, help="Port to listen on, without --fd.")
@click.pass_context
def gateway(context: click.Context, worker: int, fd: int | None, host: str | None, gateway_port: int | None) -> None:
    """Run one gateway worker until SIGTERM, which drains it; or, with a command, look after those that run."""
    if context.invoked_subcommand is not None:
        return
    log_as_json()
    settings = settings_of(context.obj, host=host, gateway_port=gateway_port)
    watch_lifeline()
    sys.exit(
        serve(
            home=settings.home,
            node=settings.node,
            worker=worker,
            sockets=[listener(fd, settings.host, settings.gateway_port)],
            database_url=settings.database_url,
            limits=Limits(body_bytes=settings.max_body_mib << 20, queue_delay_s=settings.queue_delay_ms / 1_000),
            tls=Tls(settings.tls) if settings.tls is not None else None,
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


@gateway.command("restart")
@click.option("--timeout", "seconds", type=click.IntRange(1, 3_600), default=120, show_default=True, help="In seconds.")
@json_option
@click.pass_obj
def restart(chosen: Chosen, seconds: int, json_: bool) -> None:
    """Restart the workers of this home one by one, without losing a request; the others answer meanwhile.

    The same as SIGHUP to the process of pilotage up. It takes no token, but the right to signal that process.
    """
    home = settings_of(chosen).home
    supervisor = int(endpoints(home.run)["pid"])
    before = {each.pid for each in workers_of(home)}
    os.kill(supervisor, signal.SIGHUP)
    least = max(1, len(before))
    fresh, running = await_workers(
        home, lambda each: each.state == "ready" and each.pid not in before, seconds, least=least
    )
    if fresh < least:
        raise Unavailable(
            "not every worker came back",
            got=f"{fresh} of {len(before)}",
            mend=f"see {home.run}/gateway-*.log; the others were left as they are",
        )
    if json_:
        as_json({"restarted": fresh, "workers": running})
    else:
        click.echo(f"{fresh} workers were restarted")


@gateway.command("check")
@click.argument("system", required=False, default="")
@click.option("--key", "key_", default="", help="Also look whether this API key (its id) may ask.")
@json_option
@click.pass_obj
def check(chosen: Chosen, system: str, key_: str, json_: bool) -> None:
    """Find out why SYSTEM (or any) does not answer on this node: each fault with its mend and the next command.

    It works with the database away and takes no token. Exit 1 when something is wrong.
    """
    findings = check_gateway(settings_of(chosen), system, key_)
    wrong = [each for each in findings if not each.fine]
    if json_:
        as_json({"fine": not wrong, "findings": [each.as_dict() for each in findings]})
    else:
        rows = [("fine" if each.fine else "WRONG", each.name, each.what, each.mend, each.next) for each in findings]
        show_table(("", "looked at", "found", "mend", "next"), rows)
    sys.exit(1 if wrong else 0)
