"""Licences and advisories of a release's packages: found where they are, and never clean where nothing is known.

The two advisories are real ones, cut to what decides: GHSA-h75v-3vvj-5mfj and GHSA-jw8x-6495-233v of the GitHub
Advisory Database (CC BY 4.0).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pilotage.errors import InputError, NotFound
from pilotage.evidence.model import state
from pilotage.gates.policy import rule_for
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.scan.advisories import Advisories, read_advisories
from pilotage.releases.scan.licences import Licence, licence_of, rule_on, spdx
from pilotage.releases.scan.packages import Distribution, Package, installed, locked_packages
from pilotage.releases.scan.scanning import CHECK, keep_scan, scan_release
from pilotage.storage.home import Home
from pilotage.systems.papers import PackageRules
from pilotage.testing.governance import GovernedHome
from pilotage.testing.releases import make_release
from pilotage.wiring.installation import open_installation
from pilotage.wiring.settings import Settings

DAY = 86_400_000_000
JUNE = 1_718_700_000_000_000
"""A moment in June 2024, the day after the newer of the two."""

MIT = Distribution(expression="MIT")
REAL: list[dict[str, Any]] = [
    {
        "id": "GHSA-h75v-3vvj-5mfj",
        "modified": "2024-05-06T14:20:59Z",
        "aliases": ["CVE-2024-34064"],
        "summary": "Jinja vulnerable to HTML attribute injection when passing user input as keys to xmlattr filter",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Jinja2"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.4"}]}],
            }
        ],
        "database_specific": {"severity": "MODERATE"},
    },
    {
        "id": "GHSA-jw8x-6495-233v",
        "modified": "2024-06-17T22:31:08Z",
        "aliases": ["CVE-2024-5206"],
        "summary": "scikit-learn sensitive data leakage vulnerability",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "scikit-learn"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5.0"}]}],
            }
        ],
        "database_specific": {"severity": "MODERATE"},
    },
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedRelease:
    return make_release(Home(root=tmp_path_factory.mktemp("scan")).create())


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Advisories]:
    def read(*records: dict[str, Any]) -> Advisories:
        path = tmp_path / "osv.json"
        path.write_text(json.dumps(list(records)))
        return read_advisories(path)

    return read


def versions(found: Advisories, name: str, *texts: str) -> list[bool]:
    return [bool(found.judge(Package(name=name, version=text))[1]) for text in texts]


def test_real_advisories_hit_the_versions_that_they_name(written: Callable[..., Advisories]) -> None:
    found = written(*REAL)
    assert versions(found, "jinja2", "2.0", "3.1.3", "3.1.4rc1", "3.1.4", "3.10.0") == [True, True, True, False, False]
    assert versions(found, "scikit-learn", "1.4.1.post1", "1.5.0", "1.9.1") == [True, False, False]
    (finding,) = found.judge(Package(name="jinja2", version="3.1.3"))[1]
    assert (finding.severity, finding.fixed_in, finding.aliases) == ("medium", ("3.1.4",), ("CVE-2024-34064",))
    assert found.database.as_of == 1_718_663_468_000_000 and not found.database.whole


def ranged(*events: dict[str, str], name: str = "lib", **more: Any) -> dict[str, Any]:
    span = {"type": "ECOSYSTEM", "events": list(events)}
    return {
        "id": "X-1",
        "modified": "2024-06-17T00:00:00Z",
        "affected": [{"package": {"ecosystem": "PyPI", "name": name}, "ranges": [span], **more}],
    }


def test_ranges_end_where_they_end(written: Callable[..., Advisories]) -> None:
    last = written(ranged({"introduced": "1.0"}, {"last_affected": "1.2"}))
    assert versions(last, "lib", "0.9", "1.0", "1.2", "1.2.post1", "1.3") == [False, True, True, False, False]
    twice = written(ranged({"introduced": "2.0"}, {"fixed": "2.1"}, {"introduced": "1.0"}, {"fixed": "1.1"}))
    assert versions(twice, "lib", "1.0", "1.1", "1.9", "2.0", "2.1") == [True, False, False, True, False]
    listed = written(ranged(versions=["4.0", "4.1.0"]))
    assert versions(listed, "lib", "4.0.0", "4.1", "4.2") == [True, True, False]
    assert versions(written(ranged({"introduced": "0"}, name="Some_Lib")), "some-lib", "1.dev0") == [True]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=2, unique=True))
def test_a_range_holds_what_lies_between_its_ends(ends: list[tuple[int, int]]) -> None:
    low, high = (".".join(map(str, each)) for each in sorted(ends))
    osv = {"lib": [ranged({"introduced": low}, {"fixed": high})]}
    found = Advisories(osv=osv, database=msgspec.structs.replace(Advisories().database, form="osv"))
    for major in range(6):
        for minor in range(6):
            text = f"{major}.{minor}"
            assert versions(found, "lib", text) == [Version(low) <= Version(text) < Version(high)]


def test_withdrawn_advisories_and_other_ecosystems_are_no_findings(written: Callable[..., Advisories]) -> None:
    other = ranged({"introduced": "0"}, name="lib")
    other["affected"][0]["package"]["ecosystem"] = "npm"
    found = written(REAL[0], {**REAL[1], "withdrawn": "2024-07-01T00:00:00Z"}, {**other, "id": "X-2"})
    assert found.database.packages == 1 and found.database.records == 2


def test_folder_zip_and_answer_of_osv_say_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "osv"
    folder.mkdir()
    for each in REAL:
        (folder / f"{each['id']}.json").write_text(json.dumps(each))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    (tmp_path / "answer.json").write_text(json.dumps({"vulns": REAL}))
    found = [read_advisories(each) for each in (folder, tmp_path / "all.zip", tmp_path / "answer.json")]
    assert found[0].osv == found[1].osv == found[2].osv
    assert found[0].database.digest == found[1].database.digest


def test_what_pip_audit_wrote_covers_the_versions_that_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    one = {"id": "PYSEC-1", "fix_versions": ["3.1.4"], "aliases": ["CVE-1"], "description": "what\nelse"}
    seen = [
        {"name": "Jinja2", "version": "3.1.3", "vulns": [one]},
        {"name": "numpy", "version": "2.0", "vulns": []},
        {"name": "private", "skip_reason": "not on the index"},
    ]
    path.write_text(json.dumps({"dependencies": seen, "fixes": []}))
    found = read_advisories(path)
    assert found.judge(Package(name="numpy", version="2.0")) == ("", [])
    assert found.judge(Package(name="jinja2", version="3.1.3"))[1][0].severity == "unknown"
    for name, version in (("numpy", "2.1"), ("private", "1"), ("scipy", "1")):
        why, hits = found.judge(Package(name=name, version=version))
        assert why and not hits


@pytest.mark.parametrize("content", ["{", "[]", "[1]", '{"id": 3}', '{"dependencies": [1]}', '"text"', "{}"])
def test_what_is_no_database_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        read_advisories(path)
    assert raised.value.mend
    with pytest.raises(NotFound):
        read_advisories(tmp_path / "none")


def whole(found: Advisories, as_of: int = JUNE) -> Advisories:
    return Advisories(osv=found.osv, database=msgspec.structs.replace(found.database, whole=True, as_of=as_of))


def test_clean_is_said_only_where_something_is_known(loaded: LoadedRelease, written: Callable[..., Advisories]) -> None:
    packages = locked_packages(loaded.file("environment.lock"))
    known = dict.fromkeys(packages, MIT)
    rules, few = PackageRules(), written(*REAL)

    def states(advisories: Advisories, at: int = JUNE) -> set[str]:
        return {each.state for each in scan_release(loaded, rules, advisories, at=at, known=known).packages}

    assert states(Advisories()) == {"unknown"}
    assert states(whole(few)) == {"clean"}
    assert states(whole(few), at=JUNE + 8 * DAY) == {"unknown"}
    partly = scan_release(loaded, rules, few, at=JUNE, known=known)
    assert {each.name: each.state for each in partly.packages}["jinja2"] == "clean"
    assert {each.name: each.state for each in partly.packages}["numpy"] == "unknown"
    assert not partly.passed and any("does not cover" in why for why in partly.missing)
    assert scan_release(loaded, rules, whole(few), at=JUNE, known=known).passed


def test_a_vulnerable_package_fails_from_the_declared_severity_on(
    loaded: LoadedRelease, written: Callable[..., Advisories]
) -> None:
    known = dict.fromkeys(locked_packages(loaded.file("environment.lock")), MIT)
    bad = ranged({"introduced": "0"}, name="numpy")
    serious = {**bad, "database_specific": {"severity": "HIGH"}}
    mild = {**bad, "database_specific": {"severity": "LOW"}}

    def passed(record: dict[str, Any], rules: PackageRules) -> bool:
        return scan_release(loaded, rules, whole(written(record)), at=JUNE, known=known).passed

    assert not passed(serious, PackageRules()) and passed(serious, PackageRules(fail_from="critical"))
    assert passed(mild, PackageRules()) and not passed(mild, PackageRules(fail_from="low"))
    assert not passed(bad, PackageRules(fail_from="critical")), "no known severity is as bad as can be"
    assert passed(bad, PackageRules(accepted={"X-1": "not reachable, by the security team"}))
    old = whole(written(serious), as_of=JUNE - 30 * DAY)
    found = scan_release(loaded, PackageRules(), old, at=JUNE, known=known)
    assert {each.name: each.state for each in found.packages}["numpy"] == "vulnerable", "an old finding is one too"


def test_licences_are_read_from_what_is_installed() -> None:
    found = {package.name: licence_of(each) for package, each in installed().items()}
    assert found["numpy"].expression.startswith("BSD-3-Clause") and found["msgspec"].expression == "BSD-3-Clause"
    assert found["duckdb"] == Licence(expression="MIT", source="classifier", said="MIT License")
    assert found["jinja2"].source == "file" and found["jinja2"].expression == "BSD-3-Clause"
    assert found["certifi"].expression == "MPL-2.0"


def test_what_says_nothing_clear_is_unknown() -> None:
    assert licence_of(None).expression == "" and rule_on("") == "unknown"
    assert licence_of(Distribution(classifiers=("BSD License",))).expression == ""
    assert licence_of(Distribution(classifiers=("MIT License", "Apache Software License"))).expression == ""
    assert licence_of(Distribution(licence="see the file", files=("Our own terms.",))).expression == ""
    assert spdx("Apache 2.0") == spdx("apache-2.0") == "Apache-2.0" and spdx("mine") == ""


def test_a_policy_chooses_the_better_of_or_and_the_worse_of_and() -> None:
    assert rule_on("MIT") == "allowed" and rule_on("LGPL-3.0-only") == "review"
    assert rule_on("GPL-3.0-only OR MIT") == "allowed" and rule_on("GPL-3.0-only AND MIT") == "review"
    assert rule_on("MIT AND (GPL-3.0-only OR Apache-2.0)") == "allowed"
    assert rule_on("GPL-2.0-only WITH Classpath-exception-2.0 AND MIT") == "review"
    assert rule_on("MPL-2.0", allowed=["MPL-2.0"]) == "allowed" and rule_on("MIT", allowed=["Apache-2.0"]) == "denied"
    assert rule_on("MIT OR GPL-3.0-only", denied=["GPL-3.0-only"]) == "allowed"
    assert rule_on("MIT AND GPL-3.0-only", denied=["GPL-3.0-only"]) == "denied"


def test_a_scan_is_evidence_that_grows_old_and_the_gate_asks_for_it(
    tmp_path: Path, written: Callable[..., Advisories]
) -> None:
    installation = open_installation(Settings(home=Home(root=tmp_path / "home")), create=True)
    governed = GovernedHome(tmp_path / "home", installation.control)
    release = governed.release()
    loaded = open_release(installation.releases, release.digest)
    known = dict.fromkeys(locked_packages(loaded.file("environment.lock")), MIT)
    rules = PackageRules()
    made = scan_release(loaded, rules, whole(written(*REAL)), at=JUNE, known=known)
    evidence = keep_scan(installation.control, installation.objects, made, rules)
    assert (state(evidence, JUNE), state(evidence, JUNE + 8 * DAY)) == ("fresh", "stale")
    assert evidence.figures["packages_clean"] == len(known)
    assert msgspec.json.decode(installation.objects.get(evidence.artefact), type=type(made)) == made
    installation.close()
    for stage in ("limited", "general"):
        for tier in ("medium", "high"):
            assert CHECK in {each.name for each in rule_for(stage, tier).checks}
    assert CHECK not in {each.name for each in rule_for("internal", "high").checks}
