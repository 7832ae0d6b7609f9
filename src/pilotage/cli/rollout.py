"""What is live: promote, roll back, stop, start."""

from __future__ import annotations

import click

from pilotage.cli.gate import STAGE, chosen_release
from pilotage.cli.identity import acting, opened, settings_of
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option
from pilotage.errors import InputError
from pilotage.gateway.stops import ALL, stop_here
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import short
from pilotage.releases.store import find_release
from pilotage.rollout.model import Published
from pilotage.storage.database import reading
from pilotage.wiring.workers import await_stop

__all__ = ["promote", "rollback", "start", "stop"]

_HERE = click.option("--here", is_flag=True, help="On this node only, by a file in its home, without the database.")
_ALL = click.option("--all", "all_", is_flag=True, help="With --here: every system.")
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
@click.option("--system", default="", help="The system's id.")
@click.option("--reason", required=True, help="Why; callers read it.")
@_HERE
@_ALL
@json_option
@click.pass_obj
def stop(chosen: Chosen, system: str, reason: str, here: bool, all_: bool, json_: bool) -> None:
    """Refuse every request to a system within a second, each refusal on record, until `pilotage start`.

    With --here, the gateways of this home refuse it at once, also while the database is away and after a restart; it
    takes no token, but the right to write the home.
    """
    if here or all_:
        _switch_here(chosen, system, all_, reason, here=here, json_=json_)
        return
    installation = opened(chosen)
    _tell(installation.rollout.stop(acting(installation), _named(system), reason), json_)


@click.command()
@click.option("--system", default="", help="The system's id.")
@click.option("--reason", default="", help="Why, for the record.")
@_HERE
@_ALL
@json_option
@click.pass_obj
def start(chosen: Chosen, system: str, reason: str, here: bool, all_: bool, json_: bool) -> None:
    """End a stop: the live release answers again. With --here, end one that was made with --here."""
    if here or all_:
        _switch_here(chosen, system, all_, None, here=here, json_=json_)
        return
    installation = opened(chosen)
    _tell(installation.rollout.start(acting(installation), _named(system), reason), json_)


def _named(system: str) -> str:
    if not system:
        raise InputError("which system?", expected="--system NAME", mend="name it: pilotage system list")
    return system


def _switch_here(chosen: Chosen, system: str, all_: bool, reason: str | None, *, here: bool, json_: bool) -> None:
    if not here or bool(system) == all_:
        raise InputError(
            "a stop on this node is for one system or for all",
            expected="--here with --system NAME or --all",
            mend="name one of them",
        )
    if reason is not None and not reason.strip():
        raise InputError("a stop needs a reason", mend="say why: callers read it")
    home, name = settings_of(chosen).home, ALL if all_ else system
    stop_here(home.stops, name, reason, now_us())
    followed, running = await_stop(home, name, stopped=reason is not None)
    if json_:
        as_json({"system": name, "stopped": reason is not None, "workers": running, "followed": followed})
        return
    what = "everything" if all_ else name
    click.echo(
        f"{what} is {'stopped' if reason is not None else 'started'} here: {followed} of {running} workers follow"
    )


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
                "fallback": done.fallback,
            }
        )
    else:
        click.echo(f"{act.action}: {act.system} {short(act.release)} at {act.stage}, plan {done.plan_version}")
        if done.fallback:
            click.echo("falls back to: " + ", then ".join([*map(short, done.fallback), "a refusal"]))
