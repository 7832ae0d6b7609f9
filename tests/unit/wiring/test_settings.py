"""Settings: an option wins over the environment, which wins over the default; what is unusable is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.errors import InputError
from pilotage.wiring.settings import Settings


def test_an_option_wins_over_the_environment_over_the_default(tmp_path: Path) -> None:
    environ = {"PILOTAGE_HOME": str(tmp_path / "env"), "PILOTAGE_GATEWAY_PORT": "1234", "PILOTAGE_WORKERS": "3"}
    found = Settings.read(environ, home=tmp_path / "option", workers=None)
    assert (found.home.root, found.gateway_port, found.workers) == (tmp_path / "option", 1234, 3)
    assert found.console_port == Settings.console_port == 8701
    assert found.database_url is None


def test_zero_is_a_value_and_not_left_out() -> None:
    assert Settings.read({"PILOTAGE_CONSOLE_PORT": "99"}, console_port=0).console_port == 0


def test_the_default_home_is_beside_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.read({}).home.root == tmp_path / ".pilotage"


@pytest.mark.parametrize("name", ["gateway_port", "console_port", "workers"])
@pytest.mark.parametrize("value", ["", "many", "-1", "70000", "1.5"])
def test_what_is_no_usable_number_is_refused_with_the_place_to_mend(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"setting {name}") as caught:
        Settings.read({f"PILOTAGE_{name.upper()}": value})
    assert f"PILOTAGE_{name.upper()}" in caught.value.mend
    assert f"--{name.replace('_', '-')}" in caught.value.mend
    assert "a whole number from" in str(caught.value.expected)


def test_no_worker_is_too_few() -> None:
    with pytest.raises(InputError, match="from 1 to 256"):
        Settings.read({}, workers=0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Node-7", "node-7"),
        ("a b/c", "a-b-c"),
        ("../../etc", "etc"),
        ("ä_1", "ä-1"),
        ("-", "node"),
        ("x" * 100, "x" * 63),
    ],
)
def test_a_node_name_is_safe_in_a_path(given: str, kept: str) -> None:
    found = Settings.read({}, node=given).node
    assert found == kept
    assert "/" not in found and "." not in found


def test_a_database_url_with_its_password_is_not_shown() -> None:
    assert "secret" not in repr(Settings.read({}, database_url="postgresql://u:secret@h/d"))


def test_tls_needs_a_certificate_and_its_key() -> None:
    whole = {"PILOTAGE_TLS_CERT": "/x/crt", "PILOTAGE_TLS_KEY": "/x/key"}
    assert Settings.read({}).tls is None and Settings.read({}).scheme == "http"
    assert Settings.read(whole).scheme == "https"
    for part in ({"PILOTAGE_TLS_CERT": "/x"}, {"PILOTAGE_TLS_KEY": "/x"}, {"PILOTAGE_TLS_CLIENT_CA": "/x"}):
        with pytest.raises(InputError):
            _ = Settings.read(part).tls
