"""Commands on a real installation: one JSON value with --json, plain tables when piped, exit codes that scripts use."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pilotage.cli.gate import NO_GO
from tests.issuer_twin import AUDIENCE, SigningKey, issuer_twin
from tests.unit.cli.conftest import Call, Installed


def value(out: str) -> Any:
    """The one JSON value on standard output; fails when anything else is there."""
    return json.loads(out)


READ = [
    ("people", "list"),
    ("key", "list"),
    ("system", "list"),
    ("system", "show", "example"),
    ("release", "list"),
    ("release", "show", "example@1"),
    ("decisions", "list"),
    ("ledger", "stats"),
    ("audit", "vkey"),
    ("retention", "show"),
    ("retention", "floors"),
    ("hold", "list"),
    ("audit", "verify"),
]


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_json_prints_one_value_and_nothing_else(call: Call, words: tuple[str, ...]) -> None:
    code, out, _ = call(*words, "--json", role="auditor")
    assert code == 0
    assert value(out) not in (None, "")


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_plain_text_when_piped_has_no_colours_and_no_lines_drawn(call: Call, words: tuple[str, ...]) -> None:
    code, out, _ = call(*words, role="auditor")
    assert code == 0
    assert "\x1b" not in out
    assert not set("─│┃━") & set(out)


def test_a_piped_table_is_tab_separated_under_its_header(call: Call) -> None:
    _, out, _ = call("decisions", "list", role="auditor")
    header, *rows = [line.split("\t") for line in out.splitlines()]
    assert header[:2] == ["received", "id"]
    assert len(rows) == 7
    assert {len(row) for row in rows} == {len(header)}


def test_filters_and_limits_of_decisions(call: Call) -> None:
    def listed(*words: str) -> list[dict[str, Any]]:
        code, out, err = call("decisions", "list", "--json", *words, role="auditor")
        assert code == 0, err
        found: list[dict[str, Any]] = value(out)
        return found

    assert len(listed("--all")) == 7
    assert len(listed("--limit", "2")) == 2
    assert {row["outcome"] for row in listed("--outcome", "rejected")} == {"rejected"}
    assert {row["score"] for row in listed("--score-min", "0.35")} == {0.4, 0.5}
    assert [row["score"] for row in listed("--subject", "customer-3")] == [0.3]
    assert listed("--subject", "nobody") == []
    assert listed("--until", "2001-01-01") == []
    assert listed("--release", "example@1") == [], "these decisions are of another release"
    code, _, err = call("decisions", "list", "--release", "nosuch", role="auditor")
    assert code == 1
    assert "example@1" in err, "known releases are named"


def test_every_filter_is_an_option_and_chooses(call: Call) -> None:
    def count(*words: str) -> int:
        code, out, err = call("decisions", "list", "--json", *words, role="auditor")
        assert code == 0, err
        return len(value(out))

    request = value(call("decisions", "list", "--json", "--limit", "1", role="auditor")[1])[0]["request_id"]
    assert count("--request-id", request) == 1
    assert count("--label", "favourable") == 6 and count("--label", "adverse") == 0
    assert count("--arm", "champion") == 7 and count("--arm", "challenger") == 0
    assert count("--mode", "live", "--kind", "model") == 7 and count("--mode", "drill") == 0
    assert count("--kind", "tool") == count("--trace", "none") == count("--stage", "limited") == 0
    assert call("decisions", "list", "--kind", "nobody", role="auditor")[0] == 2


def test_an_export_goes_to_a_file_or_a_pipe_and_on_record(call: Call, tmp_path: Path) -> None:
    code, out, err = call("decisions", "export", "-o", "out.csv", "--outcome", "answered", role="operator")
    assert (code, out) == (0, "6 decisions in out.csv\n"), err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 7
    code, out, _ = call("decisions", "export", "--subject", "customer-3", role="operator")
    assert code == 0 and json.loads(out)["score"] == 0.3
    code, out, _ = call("decisions", "export", "-o", "out.parquet", "--json", role="auditor")
    assert value(out) == {"rows": 7, "format": "parquet", "payload": False, "output": "out.parquet"}
    assert (tmp_path / "out.parquet").read_bytes()[:4] == b"PAR1"


def test_an_export_with_payloads_is_for_those_who_may_read_them(call: Call, tmp_path: Path) -> None:
    words = ("decisions", "export", "--payload", "-o", "out.jsonl")
    code, _, err = call(*words, role="operator")
    assert code == 1 and "decision.read_payload" in err and not (tmp_path / "out.jsonl").exists()
    assert call(*words, role="auditor")[0] == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert {json.loads(line)["person"] for line in lines} >= {"customer-1", "customer-9"}


def test_an_export_that_cannot_be_written_says_so_at_once(call: Call) -> None:
    for words in (("-o", "no/such/folder.csv"), ("--json",)):
        code, _, err = call("decisions", "export", *words, role="auditor")
        assert (code == 1 and "-o" in err) or "folder that exists" in err


def decision_id(call: Call, *words: str) -> str:
    _, out, _ = call("decisions", "list", "--json", *words, role="auditor")
    return str(value(out)[0]["id"])


def test_the_ledger_is_exported_to_a_folder_that_grows(call: Call, tmp_path: Path) -> None:
    code, out, err = call("ledger", "export", "--to", "out", "--json", role="operator")
    assert code == 0 and value(out)["decisions"] == 7, err
    assert list(tmp_path.glob("out/decisions/system=credit/day=*/*.parquet"))
    assert value(call("ledger", "export", "--to", "out", "--json", role="operator")[1])["decisions"] == 0
    assert call("ledger", "export", "--to", "more", "--payload", role="operator")[0] == 1


def test_the_index_is_rebuilt_by_those_who_may(call: Call) -> None:
    before = value(call("decisions", "list", "--json", "--all", role="auditor")[1])
    assert call("ledger", "rebuild-index", role="auditor")[0] == 1
    code, out, err = call("ledger", "rebuild-index", "--json", role="operator")
    assert code == 0, err
    assert value(out)["decisions"] == len(before) and value(out)["uncounted"] == []
    assert value(call("decisions", "list", "--json", "--all", role="auditor")[1]) == before
    assert call("audit", "verify", role="auditor")[0] == 0


def test_a_request_is_shown_as_a_tree(call: Call) -> None:
    (row,) = value(call("decisions", "list", "--json", "--limit", "1", role="auditor")[1])
    code, out, _ = call("decisions", "show", "--trace", row["request_id"], role="operator")
    assert code == 0 and out.splitlines()[1].split("\t")[0] == row["id"]
    found = value(call("decisions", "show", "--json", "--trace", row["id"], role="operator")[1])
    assert [node["row"]["id"] for node in found["nodes"]] == [row["id"]] and found["whole"] is True
    assert call("decisions", "show", "--trace", "nosuch", role="operator")[0] == 1
    assert call("decisions", "show", role="operator")[0] == 2


def test_a_payload_is_shown_only_to_roles_that_may_read_it(call: Call) -> None:
    id_ = decision_id(call, "--subject", "customer-2")
    readable = value(call("decisions", "show", id_, "--json", role="auditor")[1])
    assert readable["payload"]["subject"] == "customer-2"
    hidden = call("decisions", "show", id_, "--json", role="operator")[1]
    assert value(hidden)["payload"] is None
    assert "customer-2" not in hidden
    assert "your roles may not read it" in call("decisions", "show", id_, role="operator")[1]


def test_a_proof_verifies_with_three_files_and_fails_for_another_record(call: Call, tmp_path: Path) -> None:
    one, other = decision_id(call, "--subject", "customer-1"), decision_id(call, "--subject", "customer-4")
    proof, record, wrong = tmp_path / "proof", tmp_path / "record", tmp_path / "wrong"
    proof.write_text(call("decisions", "prove", one, role="auditor")[1])
    vkey = call("audit", "vkey")[1].strip()
    for id_, path in ((one, record), (other, wrong)):
        path.write_text(call("decisions", "prove", id_, "--record", role="auditor")[1])
    code, out, _ = call("audit", "verify-proof", str(proof), str(record), "--vkey", vkey, "--json", home=tmp_path / "x")
    assert code == 0
    assert value(out)["verified"] is True
    code, _, err = call("audit", "verify-proof", str(proof), str(wrong), "--vkey", vkey, home=tmp_path / "x")
    assert code == 1
    assert "[integrity]" in err
    proof.write_bytes(b"\xff\xfe")
    code, _, err = call("audit", "verify-proof", str(proof), str(record), "--vkey", vkey, home=tmp_path / "x")
    assert code == 1
    assert "is no proof" in err


def test_a_closed_gate_ends_with_3_and_names_the_next_command(call: Call, installed: Installed) -> None:
    code, out, _ = call("gate", "check", "--system", "example", "--to", "internal", "--json")
    assert code == NO_GO == 3
    found = value(out)
    assert found["go"] is False
    assert all("pilotage approve" in line for line in found["missing"])
    code, out, _ = call("gate", "check", "--release", installed.release.digest[7:19], "--to", "internal")
    assert code == 3
    assert out.startswith("NO-GO  example ")


def test_the_author_may_not_approve_and_a_closed_gate_refuses_promotion(call: Call) -> None:
    code, _, err = call("approve", "--system", "example", "--to", "internal", role="ml_engineer")
    assert code == 1
    assert "[four_eyes]" in err
    code, _, err = call("promote", "--system", "example", "--to", "internal", role="operator")
    assert code == 1
    assert "[gate_closed]" in err
    assert "pilotage gate check" in err


def test_a_gate_needs_a_release_to_check(call: Call) -> None:
    code, _, err = call("gate", "check", "--to", "internal")
    assert code == 1
    assert "--release" in err and "--system" in err
    code, _, err = call("gate", "check", "--system", "nosuch", "--to", "internal")
    assert code == 1
    assert "[not_found]" in err
    assert "example" in err, "known systems are named"


def test_a_key_is_printed_alone_once_and_revoked_by_id(call: Call) -> None:
    code, out, err = call("key", "issue", "shop", "--scope", "decide:example", role="operator")
    assert (code, out.strip().count("\n")) == (0, 0)
    assert out.startswith("pk_")
    assert "once" in err
    listed = value(call("key", "list", "--json")[1])
    (mine,) = [each for each in listed if each["name"] == "shop"]
    assert out.strip() not in json.dumps(listed)
    code, out, _ = call("key", "revoke", mine["id"], role="operator")
    assert code == 0
    assert [each["revoked"] for each in value(call("key", "list", "--json")[1]) if each["id"] == mine["id"]] == [True]


def test_a_key_is_rotated_and_shown(call: Call) -> None:
    issue = ("key", "issue", "till", "--scope", "decide:example", "--from", "10.0.0.0/8", "--json")
    old = value(call(*issue, role="operator")[1])
    code, out, err = call("key", "rotate", old["id"], "--overlap", "2h", role="operator")
    assert (code, out.startswith("pk_"), "once" in err) == (0, True, True)
    shown = value(call("key", "show", old["id"], "--json")[1])
    assert (shown["state"], shown["networks"], out.split("_")[1]) == ("good", ["10.0.0.0/8"], shown["successor"])
    assert value(call("key", "show", shown["successor"], "--json")[1])["replaces"] == old["id"]
    assert "10.0.0.0/8" in call("key", "show", old["id"])[1]
    assert "stands for" in call("key", "name", shown["successor"], "DNS:till.example", role="operator")[1]
    assert "DNS:till.example" in call("key", "show", shown["successor"])[1]
    assert "no key" in call("key", "unname", "DNS:till.example", role="operator")[1]


def test_limits_are_set_listed_and_removed(call: Call) -> None:
    words = ("limit", "set", "5000", "--system", "example", "--per", "day")
    assert value(call(*words, "--json", role="operator")[1])["id"] == "system:example/rows/day"
    assert (
        "7 requests a second, 20 at once"
        in call(
            "limit",
            "set",
            "7",
            "--installation",
            "--unit",
            "requests",
            "--per",
            "second",
            "--burst",
            "20",
            role="operator",
        )[1]
    )
    listed = {each["id"]: each["given_out"] for each in value(call("limit", "list", "--json", role="auditor")[1])}
    assert listed == {"installation/requests/second": None, "system:example/rows/day": 0}
    assert "5,000 rows a day" in call("limit", "list", role="auditor")[1]
    for id_ in listed:
        assert call("limit", "remove", id_, role="operator")[0] == 0
    assert value(call("limit", "list", "--json", role="auditor")[1]) == []


def test_an_issuer_is_trusted_checked_step_by_step_revoked_and_removed(call: Call, tmp_path: Path) -> None:
    with issuer_twin() as twin:
        grants = ("--grant", "groups=desk", "decide:example", "--grant", "groups=audit", "role:auditor")
        words = ("oidc", "add", "corp", "--issuer", twin.url, "--audience", AUDIENCE, *grants)
        assert call(*words, role="operator")[0] == 1, "only an admin trusts an issuer"
        assert call(*words, role="admin")[0] == 0
        assert "add --replace" in call(*words, role="admin")[2]
        assert call(*words, "--replace", role="admin")[0] == 0
        assert "groups=desk: decide:example" in call("oidc", "list")[1]
        code, out, _ = call("oidc", "check", "corp")
        assert (code, "k1 (RSA)" in out) == (0, True)
        file, good = tmp_path / "token", twin.token()
        for token, passed, said in (
            (good, 9, "it gives decide:example"),
            (twin.token(aud="mail"), 6, "audience"),
            (twin.token(SigningKey("k9")), 3, "no such key"),
            (twin.token(groups=["other"], secret="v-1"), 9, "claims: aud, exp, groups"),
            ("pk_1", 1, "three parts"),
        ):
            file.write_text(token + "\n")
            code, out, err = call("oidc", "check", "corp", "--token", str(file))
            assert out.count("fine: ") == passed, out
            assert said in out + err
            assert code == (0 if token == good else 1)
            assert token not in out + err
            assert "v-1" not in out + err
        twin.away = True
        assert "cannot be reached" in call("oidc", "check", "corp")[2]
        twin.away = False
        keys = tmp_path / "keys.json"
        keys.write_text('{"keys": [{"kty": "oct", "k": "AAAA"}]}')
        assert "JWK set" in call(*words, "--replace", "--keys", str(keys), role="admin")[2]
        keys.write_text(json.dumps({"keys": [twin.keys[0].jwk()]}))
        assert call(*words, "--replace", "--keys", str(keys), role="admin")[0] == 0
        assert "were" not in call("oidc", "check", "corp")[1]
        assert call("oidc", "link", "nosuch", "--issuer", "corp", "--subject", "x", role="admin")[0] == 1
        assert "refused" in call("oidc", "revoke", "corp", role="admin")[1]
        assert call("oidc", "remove", "corp", role="admin")[0] == 0
        assert "pilotage oidc list" in call("oidc", "remove", "corp", role="admin")[2]
        wrong = ("oidc", "add", "Corp", "--issuer", "http://x.example", "--audience", "", "--grant", "a=b", "role:king")
        err = call(*wrong, role="admin")[2]
        assert all(f"- {path}: " in err for path in ("name", "issuer", "audience", "grant"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limit", "set", "5", "--per", "day"), "--installation"),
        (("limit", "set", "5", "--per", "day", "--system", "nosuch"), "nosuch"),
        (("limit", "remove", "nosuch"), "pilotage limit list"),
        (("key", "issue", "x", "--scope", "everything"), "decide:"),
        (("key", "issue", "x", "--scope", "decide:example", "--from", "home"), "10.0.0.0/8"),
        (("key", "rotate", "nosuch", "--overlap", "a day"), "24h"),
        (("key", "show", "nosuch"), "pilotage key list"),
        (("key", "issue", "x", "--scope", "decide:example", "--expires", "soon"), "not a time"),
        (("key", "revoke", "nosuch"), "pilotage key list"),
        (("rollback", "--system", "example"), "example"),
        (("decisions", "show", "nosuch"), "check the id"),
        (("decisions", "list", "--since", "today"), "2026-03-01T10:00Z"),
        (("release", "build", "."), "pilotage.yaml"),
        (("release", "show", "nosuch"), "nosuch"),
        (("people", "add", "x", "--role", "wizard"), "ml_engineer"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_errors_say_what_to_do(call: Call, words: tuple[str, ...], said: str) -> None:
    role = {"release": "ml_engineer", "people": "admin"}.get(words[0], "operator")
    code, out, err = call(*words, role=role)
    assert (code, out) == (1, "")
    assert err.startswith("error [")
    assert said in err
    assert "mend: " in err
    assert "Traceback" not in err


def test_the_first_admin_needs_no_token_and_the_second_person_does(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    code, out, _ = call("people", "add", "admin", "--role", "admin", "--token", home=home)
    assert code == 0
    assert out.startswith("pt_") and out.count("\n") == 1
    code, _, err = call("people", "add", "second", "--role", "admin", home=home)
    assert code == 1
    assert "[unauthenticated]" in err
    code, made, _ = call("people", "add", "second", "--role", "auditor", "--json", home=home, token=out.strip())
    assert code == 0
    assert value(made)["roles"] == ["auditor"]


def test_a_first_person_who_is_no_admin_is_not_let_in(call: Call, tmp_path: Path) -> None:
    code, _, err = call("people", "add", "x", "--role", "operator", home=tmp_path / "fresh")
    assert code == 1
    assert "[unauthenticated]" in err


def test_a_declaration_lists_every_fault_at_once(call: Call, tmp_path: Path) -> None:
    (tmp_path / "pilotage.yaml").write_text("id: BAD ID\nname: x\nrisk_tier: extreme\nnosuch: 1\n")
    code, _, err = call("system", "declare", str(tmp_path), role="ml_engineer")
    assert code == 1
    for path in ("purpose", "owners", "pilot", "risk_tier", "nosuch"):
        assert f"- {path}: " in err


def test_one_edited_row_makes_verify_end_with_1_and_name_it(call: Call, installed: Installed, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(installed.root, copy)
    with sqlite3.connect(copy / "ledger.db") as database:
        database.execute("UPDATE decisions SET score = 0.9 WHERE score > 0.45 AND score < 0.55")
    code, out, _ = call("audit", "verify", home=copy, role="auditor")
    assert code == 1
    assert "CHANGED" in out
    assert "score" in out
    assert call("audit", "verify", role="auditor")[0] == 0


def test_rows_of_releases_built_before_are_encrypted_by_command(call: Call, installed: Installed) -> None:
    folder = installed.root / "releases" / installed.release.folder
    assert (folder / "background.json").is_file()
    code, _, err = call("release", "seal", role="auditor")
    assert code == 1 and "keyring.rotate" in err
    code, out, err = call("release", "seal", "--json", role="admin")
    assert code == 0 and installed.release.name in json.loads(out)["sealed"], err
    assert not (folder / "background.json").exists()
    assert call("release", "show", installed.release.digest, "--card", role="auditor")[0] == 0
    code, out, _ = call("release", "seal", role="admin")
    assert code == 0 and "none, all were" in out


def test_a_stop_on_this_node_needs_no_token_and_no_database(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "node"
    code, out, _ = call("stop", "--here", "--system", "example", "--reason", "smoke", "--json", home=home)
    assert (code, value(out)) == (0, {"system": "example", "stopped": True, "workers": 0, "followed": 0})
    assert [each.name for each in home.iterdir() if each.suffix == ".db"] == []
    assert call("stop", "--here", "--all", "--reason", "fire", home=home)[0] == 0
    assert "already" in call("stop", "--here", "--all", "--reason", "fire", home=home)[2]
    assert "everything is started here" in call("start", "--here", "--all", home=home)[1]
    for words in (("--here",), ("--all",), ("--here", "--all", "--system", "example"), ()):
        assert call("stop", *words, "--reason", "x", home=home)[0] == 1


def test_the_gateway_check_ends_with_one_when_something_is_wrong(call: Call) -> None:
    code, out, _ = call("gateway", "check", "nosuch", "--json")
    found = {each["name"]: each for each in value(out)["findings"]}
    assert (code, value(out)["fine"]) == (1, False)
    assert found["processes"]["next"] == "pilotage up"
    assert "nothing is running" in call("gateway", "restart")[2]
