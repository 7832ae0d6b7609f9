"""The root command: names and one-line helps are here, so that `pilotage --help` imports nothing else."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field

import click

from pilotage import __version__
from pilotage.errors import PilotageError

__all__ = ["COMMANDS", "Chosen", "main", "root"]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Take the example pilot through the whole journey."),
    "up": ("up", "Run gateway, steward and console on this machine."),
    "assess": ("assess", "Measure how ready a pilot is for production."),
    "readiness": ("readiness", "See how ready a running system is, and what expires soon."),
    "roadmap": ("roadmap", "Plan a pilot's way to production; see how far it has come."),
    "value": ("value", "Say what a system is worth: its business case."),
    "check-data": ("check_data", "Look for leaks in a table: what gives the target away."),
    "contract": ("contract", "Infer, import, check, compare and print data contracts."),
    "system": ("system", "Declare, list and show AI systems."),
    "adopt": ("adopt", "Turn a pilot that was found into a production-first system."),
    "init": ("init", "Start a new system production-first, or write a CI workflow."),
    "pipeline": ("pipeline", "Run a system's steps from data to a release; resume, show."),
    "release": ("release", "Build, list and show immutable releases."),
    "evaluate": ("evaluate", "Judge a release, or any file of predictions."),
    "gate": ("gate", "Check what stands between a release and its next stage."),
    "fairness": ("fairness", "Compare protected groups on live decisions; review it, as two people."),
    "approve": ("gate", "Approve a release for a stage, as one of several eyes."),
    "promote": ("rollout", "Put a release live at a stage whose gate it passed."),
    "rollback": ("rollout", "Return to the release that was live before."),
    "drill": ("drill", "Rehearse a rollback or a fallback on what serves, as evidence."),
    "stop": ("rollout", "Refuse every request to a system, at once, on record."),
    "start": ("rollout", "End a stop."),
    "decisions": ("decisions", "List, show, explain, replay and prove decisions."),
    "outcomes": ("outcomes", "Upload and list what became of decisions."),
    "audit": ("audit", "Verify the ledger and its proofs."),
    "ledger": ("ledger", "Count, export and rebuild what is sealed."),
    "erase": ("erase", "Make one person's payloads unreadable for ever."),
    "retention": ("retention", "Show how long what is kept; delete what is over."),
    "hold": ("erase", "Place, list and release legal holds."),
    "monitor": ("monitor", "See drift against a release's reference."),
    "people": ("people", "Add people, with roles and personal tokens."),
    "key": ("key", "Issue and revoke API keys of the gateway."),
    "oidc": ("oidc", "Trust an issuer of tokens (OpenID Connect)."),
    "limit": ("limit", "Limit what a key, a system or all may use."),
    "keys": ("keys", "Show and rotate what wraps, seals and signs the record."),
    "sign-in": ("people", "Print a one-time sign-in link to the console."),
    "gateway": ("gateway", "Run one gateway worker (pilotage up runs them for you)."),
    "node": ("node", "Invite, join, list and retire gateway nodes."),
    "journal": ("journal", "Carry the journal of an edge node to the ledger by hand."),
    "steward": ("steward", "Run the steward (pilotage up runs it for you)."),
    "console": ("console", "Run console and API (pilotage up runs them for you)."),
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The root options, as the commands receive them (`click.pass_obj`)."""

    home: str | None = None
    database_url: str | None = field(default=None, repr=False)


class Root(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pilotage.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        if not isinstance(command, click.Command):
            raise TypeError(f"pilotage.cli.{COMMANDS[cmd_name][0]}.{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pilotage")
@click.option("--home", metavar="FOLDER", help="Where state lives (default ./.pilotage, or PILOTAGE_HOME).")
@click.option("--database-url", metavar="URL", help="A PostgreSQL URL (default: SQLite files in the home).")
@click.pass_context
def root(ctx: click.Context, home: str | None, database_url: str | None) -> None:
    """Pilotage takes an AI pilot to governed production."""
    ctx.obj = Chosen(home=home, database_url=database_url)


def main() -> None:
    """Run the command line: exit 0 when done, 1 on an error that says its mend, 2 on a wrong call, 130 on Ctrl-C."""
    try:
        code = root.main(prog_name="pilotage", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except PilotageError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)} [{error.code}] {error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
