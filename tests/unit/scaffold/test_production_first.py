"""A new system from an empty folder: every file of it is real, and none is written over what somebody wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pilotage.assess.service import assess
from pilotage.cli.init import init
from pilotage.cli.main import root
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.table import check_table
from pilotage.errors import Conflict, InputError
from pilotage.releases.data import read_rows
from pilotage.runtimes.rules import read_rules
from pilotage.scaffold.model import Files
from pilotage.scaffold.placing import MANIFEST, place
from pilotage.scaffold.starting import drafted, id_of, new_system, production_first
from pilotage.systems.parse import load_system, parse_system
from pilotage.systems.placeholders import UNNAMED, is_placeholder

OWNERS = {role: f"{role}@example.org" for role in ("business", "model", "operations", "risk")}
NAMED = [f"--owner={role}={who}" for role, who in OWNERS.items()]


def call(*words: object) -> Result:
    return CliRunner().invoke(init, [str(word) for word in words])


@pytest.fixture
def files() -> Files:
    system = new_system("Loan default", purpose="Says who is likely to default", owners=OWNERS)
    return production_first(system, ci="github", example=True)


def test_what_is_made_is_read_by_what_will_use_it(files: Files, tmp_path: Path) -> None:
    system = parse_system(files["pilotage.yaml"])
    contract = from_odcs(files["contract.odcs.yaml"].decode())
    assert system.id == "loan-default" and contract.subject == system.pilot.subject == "customer_id"
    assert [step.name for step in system.pipeline.steps] == ["ingest", "validate", "train", "evaluate", "build"]
    assert {path for step in system.pipeline.steps for path in step.inputs} <= {
        *files,
        "data/clean.csv",
        "model.joblib",
    }
    read_rules(files["rules.yaml"], contract, (system.answer.adverse, system.answer.favourable))
    rows = tmp_path / "rows.csv"
    rows.write_bytes(files["data/raw.csv"])
    assert check_table(rows, contract).holds and check_table(rows, contract).rows == 2_000
    yaml.safe_load(files[".github/workflows/pilotage.yml"])
    for path, content in files.items():
        assert max(map(len, content.decode().splitlines())) <= 160 or path.endswith((".yml", ".md")), path
        if path.endswith(".py"):
            compile(content, path, "exec")


def commands(text: str) -> list[list[str]]:
    """Every call of pilotage in fenced blocks, inline code and workflow lines, as words."""
    found = re.findall(r"pilotage (?=[a-z])[^`\n|)&>;]*", re.sub(r"```sh\n", "```\n", text))
    return [each.split() for each in found]


def test_every_command_in_every_page_exists_with_its_options(files: Files) -> None:
    checked = 0
    pages = [path for path in files if path.startswith(("runbooks/", "README", "governance/", ".github/"))]
    for path in pages:
        code = re.findall(r"```sh\n.*?```|`pilotage [^`\n]+`|^ +.*pilotage .*$", files[path].decode(), re.S | re.M)
        for words in (each for part in code for each in commands(part)):
            context = click.Context(root, info_name="pilotage")
            command: click.Command | None = root
            rest = words[1:]
            while isinstance(command, click.Group):
                command, context = command.get_command(context, rest[0]), click.Context(command, parent=context)
                assert command is not None, (path, words)
                rest = rest[1:]
            options = {name for each in (command.params if command else []) for name in each.opts}
            assert {each for each in rest if each.startswith("--")} <= options, (path, words)
            checked += 1
    assert checked > 40


def test_the_rows_that_training_leaves_out_are_those_that_a_release_is_judged_on(files: Files, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_bytes(files["data/raw.csv"])
    pilot, contract = parse_system(files["pilotage.yaml"]).pilot, from_odcs(files["contract.odcs.yaml"].decode())
    told = {"target": pilot.target, "positive": pilot.positive, "subject": pilot.subject}
    made: dict[str, Any] = {}
    exec(compile(files["steps/declared.py"], "declared.py", "exec"), made)
    for seed in (pilot.seed, 7):
        read = read_rows(
            rows, contract, target=pilot.target, positive=pilot.positive, slices=[], share=pilot.holdout, seed=seed
        )
        drawn = made["held_out"](pd.read_csv(rows), told | {"holdout": pilot.holdout, "seed": seed})
        assert drawn.tolist() == read.held_out.tolist()


@pytest.mark.parametrize("open_", [UNNAMED, "TODO", "tbd", "?", "nobody", "Change-me", "-"])
def test_nobody_is_no_owner(files: Files, open_: str) -> None:
    content = files["pilotage.yaml"].replace(b"risk@example.org", open_.encode())
    with pytest.raises(InputError) as refused:
        parse_system(content)
    assert [fault["path"] for fault in refused.value.faults] == ["owners.risk"]
    assert parse_system(content, draft=True).owners.risk == open_


@given(st.emails())
def test_an_address_is_somebody(address: str) -> None:
    assert not is_placeholder(address)


def test_a_fresh_system_scores_what_is_there_and_leaves_open_what_nobody_said(tmp_path: Path) -> None:
    done = call(tmp_path / "new-system", "--production-first", "--json")
    told = json.loads(done.stdout)
    assert told["open"] == ["purpose", *(f"owners.{role}" for role in OWNERS)]
    with pytest.raises(InputError, match="5 faults"):
        load_system(tmp_path / "new-system" / "pilotage.yaml")
    found = assess(tmp_path / "new-system", probes=False)
    states = {rating.criterion.id: rating.state for each in found.dimensions for rating in each.ratings}
    good = ["tests", "ci", "pins", "python", "paths", "container", "unsafe_calls", "complete"]
    assert {states[f"infrastructure.{name}"] for name in good} == {"holds"}
    assert {states[name] for name in ("data.schema", "model.held_out", "governance.secrets")} == {"holds"}
    nobody_said = ("team.owners", "governance.purpose", "data.rights", "data.lineage", "model.loads", "team.sponsor")
    assert {states[name] for name in nobody_said} == {"unknown"}
    assert not [each for each in found.skipped if "pilotage.yaml" in each]


def test_with_rows_the_contract_is_drawn_up_from_them(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"{at},{'f' if at % 2 else 'm'},{at * 7 % 50},{'yes' if at % 3 else 'no'}" for at in range(60)]
    rows.write_text("customer,gender,amount,left\n" + "\n".join(lines) + "\n")
    done = call(tmp_path / "churn", "--production-first", "--data", rows, "--target", "left", "--positive", "yes",
                "--subject", "customer", "--purpose", "Says who may leave", *NAMED)  # fmt: skip
    assert done.exit_code == 0, done.output
    made = parse_system((tmp_path / "churn/pilotage.yaml").read_bytes())
    contract = from_odcs((tmp_path / "churn/contract.odcs.yaml").read_text())
    assert made.pilot.ignore == made.pilot.protected == ["gender"] and made.serving.rules == ""
    assert [column.name for column in contract.features] == ["amount"]
    assert (tmp_path / "churn/data/raw.csv").read_bytes() == rows.read_bytes()
    assert "data/raw.csv" in (tmp_path / "churn/.gitignore").read_text().splitlines()
    assert "CONFIRM protected and left out" in drafted(rows, "churn", "left", "customer").notes["gender"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [("a;b\n1;2\n", "header"), ("x,x\n1,2\n", "header"), ("", "header"), ("a,b\n1,2\n", "target|column")],
)
def test_rows_that_cannot_be_used_are_refused_before_anything_is_written(
    tmp_path: Path, content: str, said: str
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(content)
    done = call(tmp_path / "new", "--production-first", "--data", rows, "--target", "y")
    assert isinstance(done.exception, InputError) and re.search(said, str(done.exception))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--production-first", "--target", "y"], "name the file as well"),
        (["--production-first", "--out", "x"], "--out"),
        (["."], "--production-first"),
    ],
)
def test_a_wrong_call_is_told(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(init, [str(tmp_path / "new"), *words] if words[0] != "." else [str(tmp_path)])
    assert done.exit_code == 2 and said in done.output


def test_an_owner_is_a_role_and_somebody(tmp_path: Path) -> None:
    done = call(tmp_path / "new", "--production-first", "--owner", "boss=x@example.org")
    assert isinstance(done.exception, InputError) and "boss" in str(done.exception)


def test_nothing_that_somebody_wrote_is_written_over(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert place(folder, files).written == [*files]
    again = place(folder, files)
    assert again.same == [*files] and not again.written and not again.replaced
    (folder / "README.md").write_text("mine")
    (folder / "Dockerfile").unlink()
    for force in (False, True):
        with pytest.raises(Conflict, match=r"README\.md") as refused:
            place(folder, files, force=force)
        assert refused.value.code == "scaffold_there" and not (folder / "Dockerfile").exists()
    (folder / "README.md").unlink()
    assert place(folder, files).written == ["Dockerfile", "README.md"]
    other = files | {"README.md": b"another text of ours"}
    with pytest.raises(Conflict):
        place(folder, other)
    assert place(folder, other, force=True).replaced == ["README.md"]
    assert (folder / "README.md").read_bytes() == b"another text of ours"


@pytest.mark.parametrize("link", ["steps", "README.md", MANIFEST])
def test_no_link_is_written_through(files: Files, tmp_path: Path, link: str) -> None:
    folder, outside = tmp_path / "new", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / link).symlink_to(outside if link == "steps" else outside / "stolen")
    with pytest.raises(InputError, match="link"):
        place(folder, files)
    assert [*outside.iterdir()] == []
    assert [each.name for each in folder.iterdir()] == [link]


def test_the_same_is_made_each_time() -> None:
    one, other = (production_first(new_system("x"), ci="gitlab", example=True) for _ in range(2))
    assert one == other and ".gitlab-ci.yml" in one


@given(st.text(max_size=100))
def test_an_id_is_usable_or_refused(name: str) -> None:
    try:
        made = id_of(name)
    except InputError:
        assert not re.search("[a-z0-9]", name.lower())
    else:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", made)


def test_the_tree_says_what_stands_where(tmp_path: Path) -> None:
    done = call(tmp_path / "new", "--production-first", "--example", *NAMED)
    assert "contract.odcs.yaml  what each input may look like" in done.stdout
    assert "1. fill in pilotage.yaml: purpose" in done.stdout
    assert (tmp_path / "new/roadmap.json").exists()
    assert "README.md  (as it was)" in call(tmp_path / "new", "--production-first", "--example", *NAMED).stdout
