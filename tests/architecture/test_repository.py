"""What is committed: no package index anywhere, locks pinned by hash, and a wheel that holds its data files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def committed() -> list[Path]:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    found = []
    for path in paths:
        content = path.read_bytes()
        if b"\0" in content[:8_000] or content[:2] == b"\x1f\x8b":
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def test_no_file_names_a_package_index() -> None:
    # In pieces, so that this file does not name one either.
    hosts = ("py" + "pi.org", "python" + "hosted", "registry.np" + "mjs", " --index" + "-url", " --find" + "-links")
    tools = ("arti" + "factory", "nexus" + "/repository", "dev" + "pi", "proxy." + "golang")
    pattern = re.compile("|".join(map(re.escape, hosts + tools)), flags=re.IGNORECASE)
    assert lines_with(pattern, committed()) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    folders = re.compile("(?<![\\w.~/])/(?:" + "|".join(["ho" + "me/[a-z]", "ro" + "ot/", "Us" + "ers/[A-Za-z]"]) + ")")
    allowed = ("examples/", "tests/", "src/pilotage/assess/")  # the example's flaws, and the signals that find them
    paths = [path for path in committed() if not str(path.relative_to(ROOT)).startswith(allowed)]
    assert lines_with(folders, paths) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_are_pinned_by_hash_and_hold_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    packages = re.split(r"\n(?=[A-Za-z0-9])", "\n" + re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE))
    pinned = [each for each in packages if re.match(r"\n?[A-Za-z0-9]", each)]
    assert pinned, "there is something in the lock"
    for each in pinned:
        assert re.match(r"\n?[\w.\-]+(\[[\w,\-]+\])?==\S+", each), each[:80]
        assert "--hash=sha256:" in each, each[:80]


def test_the_locks_cover_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = set(re.findall(r"^([\w.\-]+)", (ROOT / "requirements" / "dev.txt").read_text(), flags=re.MULTILINE))
    locked = {name.lower().replace("_", "-") for name in locked}
    declared = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.match(r"[\w.\-]+", each)[0].lower().replace("_", "-") for each in declared}  # type: ignore[index]
    assert names - locked - {"pilotage"} == set()


DATA = (
    "py.typed",
    "assess/criteria.yaml",
    "gates/policy.yaml",
    "storage/migrations/versions/m0001_first.py",
    "web/console/static/console.css",
    "web/console/static/vendor/MANIFEST.json",
    "web/console/templates/sign_in.html",
)


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert [name for name in DATA if f"pilotage/{name}" not in names] == []
    source = {
        str(path.relative_to(ROOT / "src")) for path in committed() if path.is_relative_to(ROOT / "src" / "pilotage")
    }
    assert sorted(source - names) == [], "every committed file of the package is in the wheel"
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_every_extra_that_is_told_to_install_is_declared_and_every_extra_is_told() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    pattern = re.compile(r'pilotage\[([a-z,]+)\]|MissingExtra\("[\w-]+", "(\w+)"\)')
    texts = [path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")]
    told = {name for text in texts for found in pattern.findall(text) for name in ",".join(found).split(",") if name}
    assert told == extras - {"dev"}
