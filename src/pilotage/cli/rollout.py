"""What is live: promote, roll back, stop, start."""

from __future__ import annotations

import click

from pilotage.cli.gate import STAGE, chosen_release
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option
from pilotage.kernel.digests import short
from pilotage.releases.store import find_release
from pilotage.rollout.model import Published
from pilotage.storage.database import reading

__all__ = ["promote", "rollback", "start", "stop"]

_system_option = click.option("--system", required=True, help="The system's id.")


@click.command()
@click.argument("release", required=False, default="")
@click.option("--system", default="", help="The system; its newest release when none is named.")
@click.option("--to", "stage", type=STAGE, required=True, help="The stage to put it live at.")
@json_option
@click.pass_obj
def promote(chosen: Chosen, release: str, system: str, stage: str, json_: bool) -> None:
    """Put a release live at a stage, if its gate says go at that moment; every worker follows within a second."""
    installation = opened(chosen)
    digest = chosen_release(installation, system, release)
    with reading(installation.control) as connection:
        system = system or find_release(connection, digest).system
    _tell(installation.rollout.promote(acting(installation), system, digest, stage), json_)


@click.command()
@_system_option
@click.option("--reason", default="", help="Why, for the record.")
@json_option
@click.pass_obj
def rollback(chosen: Chosen, system: str, reason: str, json_: bool) -> None:
    """Return to the release that was live before at this stage; every worker follows within a second."""
    installation = opened(chosen)
    done = installation.rollout.rollback(acting(installation), system, reason)
    if json_:
        as_json({"from": done.from_release, "to": done.to_release, "plan": done.plan_version, "at": done.committed})
    else:
        click.echo(
            f"{system} is back on {short(done.to_release)} (was {short(done.from_release)}), plan {done.plan_version}"
        )


@click.command()
@_system_option
@click.option("--reason", required=True, help="Why; callers read it.")
@json_option
@click.pass_obj
def stop(chosen: Chosen, system: str, reason: str, json_: bool) -> None:
    """Refuse every request to a system within a second, each refusal on record, until `pilotage start`."""
    installation = opened(chosen)
    _tell(installation.rollout.stop(acting(installation), system, reason), json_)


@click.command()
@_system_option
@click.option("--reason", default="", help="Why, for the record.")
@json_option
@click.pass_obj
def start(chosen: Chosen, system: str, reason: str, json_: bool) -> None:
    """End a stop: the live release answers again."""
    installation = opened(chosen)
    _tell(installation.rollout.start(acting(installation), system, reason), json_)


def _tell(done: Published, json_: bool) -> None:
    act = done.deployment
    if json_:
        as_json(
            {
                "system": act.system,
                "release": act.release,
                "stage": act.stage,
                "action": act.action,
                "plan": done.plan_version,
                "at": done.committed,
            }
        )
    else:
        click.echo(f"{act.action}: {act.system} {short(act.release)} at {act.stage}, plan {done.plan_version}")
