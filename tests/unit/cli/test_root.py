"""The root command: help, wrong calls, errors with their mend, and what starting costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pilotage.cli.main import COMMANDS, root
from tests.unit.cli.conftest import Call


def test_help_lists_every_command_with_its_line(call: Call) -> None:
    code, out, err = call("--help", home=None)
    assert (code, err) == (0, "")
    for name, (_, text) in COMMANDS.items():
        assert any(line.split()[:1] == [name] and text[:30] in line for line in out.splitlines()), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_list_is_there_and_explains_itself(call: Call, name: str) -> None:
    code, out, _ = call(name, "--help", home=None)
    assert code == 0
    assert out.startswith("Usage: pilotage")
    command = getattr(importlib.import_module(f"pilotage.cli.{COMMANDS[name][0]}"), name.replace("-", "_"))
    assert command.help, "a command says what it does"


def options(command: click.Command, path: str) -> list[str]:
    """The options without a help text, of a command and all below it."""
    if isinstance(command, click.Group) and command is not root:
        return [each for name, sub in command.commands.items() for each in options(sub, f"{path} {name}")]
    obvious = {"--system", "--stage", "--release", "--until", "--score-min", "--score-max"}
    return [
        f"{path} {each.opts[0]}"
        for each in command.params
        if isinstance(each, click.Option) and not each.help and each.opts[0] not in obvious
    ]


def test_options_say_what_they_do() -> None:
    context = click.Context(root)
    commands = {name: root.get_command(context, name) for name in COMMANDS}
    assert [each for name, command in commands.items() if command for each in options(command, name)] == []


@pytest.mark.parametrize(
    "words",
    [
        ("nosuch",),
        ("gate", "nosuch"),
        ("gate", "check"),
        ("gate", "check", "--to", "nowhere"),
        ("decisions", "list", "--limit", "0"),
        ("decisions", "show"),
        ("assess", "no-such-folder"),
        ("--nosuch", "up"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_how_to_get_help(call: Call, words: tuple[str, ...]) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert "--help" in err


def test_an_error_prints_its_code_got_expected_and_mend_on_standard_error(call: Call) -> None:
    code, out, err = call(
        "monitor", "status", "--system", "example", "--release", "example@1", "--since", "lately", role="admin"
    )
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error [invalid_input] not a time",
        "  got: lately",
        "  expected: ISO 8601, such as 2026-03-01T10:00Z",
        "  mend: write it so",
    ]


def test_without_an_installation_the_mend_is_to_make_one(call: Call, tmp_path: Path) -> None:
    code, out, err = call("decisions", "list", home=tmp_path / "nothing", role="admin")
    assert (code, out) == (1, "")
    assert "[not_found] there is no installation in" in err
    assert "pilotage up" in err
    assert not (tmp_path / "nothing").exists(), "looking makes nothing"


def test_without_a_token_the_mend_says_who_issues_one(call: Call) -> None:
    code, _, err = call("decisions", "list")
    assert code == 1
    assert "[unauthenticated]" in err
    assert "PILOTAGE_TOKEN" in err
    assert "pilotage people add" in err


@pytest.mark.parametrize("token", ["pt_0000000000000000_" + "A" * 43, "nonsense", "pt_", "pk_1_2"])
def test_an_unknown_token_is_nobody(call: Call, token: str) -> None:
    code, out, err = call("decisions", "list", token=token)
    assert (code, out) == (1, "")
    assert "[unauthenticated]" in err
    assert token not in err, "a token is never printed"


def test_the_wrong_role_hears_which_roles_may(call: Call) -> None:
    code, _, err = call("audit", "verify", role="operator")
    assert code == 1
    assert "[forbidden]" in err
    assert "auditor" in err


def test_help_imports_neither_numbers_nor_a_web_server() -> None:
    """What keeps `pilotage --help` quick: it imports click and its own list, nothing heavy."""
    probe = (
        "import sys; from pilotage.cli.main import main; sys.argv = ['pilotage', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'sqlalchemy', 'duckdb', 'cryptography', 'uvicorn', 'alembic', 'rich', 'sklearn'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_ctrl_c_ends_with_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise click.Abort

    monkeypatch.setattr(root, "invoke", interrupted)
    code, _, err = call("ledger", "stats")
    assert (code, err.strip()) == (130, "stopped")


def test_it_runs_as_a_module_and_says_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pilotage", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("pilotage, version ")
