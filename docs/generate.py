"""Write the pages that the program itself knows: `python docs/generate.py` writes, `--check` only compares.

docs/reference/commands.md comes from the command line's own declarations, docs/reference/settings.md from
`pilotage.wiring.settings`. A test holds both current.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from pilotage.cli.main import COMMANDS, root
from pilotage.wiring.settings import Settings

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n"

COMMANDS_HEAD = """# Commands

`pilotage [--home FOLDER] [--database-url URL] COMMAND ...`. Tables are drawn on a terminal and tab-separated when
piped; `--json` prints one JSON value on standard output and nothing else there. Progress and errors go to standard
error.

Exit codes: 0 done; 1 an [error](errors.md), which names its mend, or `audit verify` found a change, or `gateway check`
a fault; 2 a wrong call; 3 `gate check` says no-go; 4 and 5 an alarm of `audit follow`; 130 Ctrl-C.

Who acts is the person whose token is in `PILOTAGE_TOKEN`; `pilotage people add` issues it.
"""

SETTINGS_HEAD = """# Settings

An option wins over the environment variable, which wins over the default. Every command takes `--home` and
`--database-url` before its name; the others belong to the commands named in [commands](commands.md).
"""

MEANINGS = {
    "home": ("--home", "./.pilotage", "Where state lives: databases, keyring, journals, ledger, releases, logs."),
    "database_url": (
        "--database-url",
        "two SQLite files in the home",
        "A PostgreSQL URL, such as `postgresql+psycopg://user@host/name`. Prefer the variable: options are seen by "
        "other users of the machine.",
    ),
    "host": ("--host", Settings.host, "The address to listen on."),
    "gateway_port": ("--gateway-port", str(Settings.gateway_port), "The gateway's port; 0 picks a free one."),
    "console_port": ("--console-port", str(Settings.console_port), "The port of console and API; 0 picks a free one."),
    "workers": ("--workers", "2, or fewer cores", "Gateway processes."),
    "journal_host": (
        "--journal-host",
        Settings.journal_host,
        "Where a gateway node offers its journal to the steward; nobody but the steward gets in.",
    ),
    "journal_port": ("--journal-port", str(Settings.journal_port), "The port for that; 0 picks a free one."),
    "pull_lag_s": (
        "",
        str(Settings.pull_lag_s),
        "The steward writes the event `journal.lagging` when a node's journal was not here for this many seconds.",
    ),
    "pull_lag_mib": ("", str(Settings.pull_lag_mib), "The same, for this many MiB that are not here yet."),
    "pull_mib_s": ("", str(Settings.pull_mib_s), "How many MiB a second the steward pulls from one node at most."),
    "node": ("", "the machine's name", "This machine's name in journal paths: letters, digits, hyphens."),
    "max_body_mib": (
        "",
        str(Settings.max_body_mib),
        "How many MiB the body of a request to decide may have, at most 31. Beyond 1 MiB a request must say its "
        "length, and a worker holds four such bodies at once: with 31 that is about 0.7 GiB of memory for each worker.",
    ),
    "queue_delay_ms": (
        "",
        str(Settings.queue_delay_ms),
        "How many ms a worker's processor may work on what came at once before it turns further requests away with 503 "
        "`overloaded`; 0 for any time. See [overload](../how-to/operate-the-gateway.md#it-is-asked-for-too-much).",
    ),
    "tls_cert": (
        "",
        "none: plain HTTP",
        "A PEM file with the certificate (and its chain) of gateway and console. A changed file is taken up within a "
        "second, for new connections. See [access](../how-to/access.md#tls).",
    ),
    "tls_key": ("", "none", "The PEM file of its key, without a password."),
    "tls_client_ca": (
        "",
        "none",
        "A PEM file with the authority of client certificates: then the gateway lets nobody else in. An API key is "
        "needed all the same. The console does not ask for one.",
    ),
    "trusted_proxies": (
        "",
        "none",
        "Networks with commas, such as `10.0.0.0/8,2001:db8::/32`: a request whose connection comes from one of them "
        "comes from whom its `X-Forwarded-For` names last outside of them. Without it the header counts for nothing.",
    ),
    "idempotency_hours": (
        "",
        str(Settings.idempotency_hours),
        "How long this node keeps an answer for its [idempotency key](../explanation/idempotency.md).",
    ),
    "idempotency_mib": (
        "",
        str(Settings.idempotency_mib),
        "How many MiB of such answers this node keeps at most; beyond it requests with a key are told to come back.",
    ),
    "otlp_endpoint": (
        "",
        "none",
        "Where gateways send OpenTelemetry traces, over HTTP: the traces address of a collector, such as "
        "`http://127.0.0.1:4318/v1/traces`. Needs `pip install 'pilotage[otel]'`; costs nothing while it is not set.",
    ),
    "keyring_command": (
        "",
        "none",
        "A command that prints the keyring's JSON, or the 32-byte secret that opens the file `keyring.json`: for a "
        "KMS. It is run without a shell, for at most 30 s; its output is never logged. See [keys](../how-to/keys.md).",
    ),
    "witnesses": (
        "",
        "none",
        "A file of witnesses that listen, `URL VERIFIER-KEY` a line: the steward brings each of them every checkpoint "
        "and keeps the cosignature. See [run a witness](../how-to/run-a-witness.md).",
    ),
}

OTHERS = """## Other environment variables

### `PILOTAGE_TOKEN`
The personal token (`pt_...`) of whoever runs a command. It is read, never stored.

### `PILOTAGE_KEYRING`
A keyring's JSON text, used in place of the file `keyring.json` in the home and of `PILOTAGE_KEYRING_COMMAND`.
"""


def commands_page() -> str:
    """The page of all commands, from click."""
    context = click.Context(root, info_name="pilotage")
    parts = [NOTE, COMMANDS_HEAD]
    for name in COMMANDS:
        command = root.get_command(context, name)
        if command is not None:
            parts.extend(_command(command, f"pilotage {name}", 2))
    return "\n".join(parts)


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{path}`\n\n{_one_line(command.help)}\n"
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _command(sub, f"{path} {name}", level + 1)
        return
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    usage = " ".join([path, "[OPTIONS]", *(each.make_metavar(click.Context(command)) for each in arguments)])
    yield f"    {usage}\n"
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        yield "| option | meaning |\n| --- | --- |\n" + "".join(map(_option, options))


def _option(option: click.Option) -> str:
    name = ", ".join(option.opts)
    kind = "" if option.is_flag else f" {_kind(option)}"
    notes = ["required"] if option.required else []
    if option.show_default and option.default is not None:
        notes.append(f"default {option.default}")
    text = _one_line(option.help) + (f" ({', '.join(notes)})" if notes else "")
    return f"| `{name}{kind}` | {text.strip().replace('|', chr(92) + '|')} |\n"


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "/".join(str(each) for each in option.type.choices)
    return option.type.name.upper().replace(" RANGE", "")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def settings_page() -> str:
    """The page of all settings, from the declaration of `Settings`."""
    parts = [NOTE, SETTINGS_HEAD]
    for field in fields(Settings):
        option, default, meaning = MEANINGS[field.name]
        parts.append(f"## `{field.name}`\n{meaning}\n")
        where = f"`PILOTAGE_{field.name.upper()}`"
        parts.append(f"- set by: {f'`{option}`, ' if option else ''}{where}\n- default: {default}\n")
    return "\n".join(parts) + "\n" + OTHERS


PAGES = {"commands.md": commands_page, "settings.md": settings_page}


def main() -> int:
    """Write the pages; with `--check` change nothing, name those that are stale and end with 1."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale) or 'none'}\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    os.environ.pop("PILOTAGE_HOME", None)
    sys.exit(main())
