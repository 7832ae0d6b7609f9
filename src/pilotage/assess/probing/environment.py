"""The environment that the probes run in: the pilot's own packages, resolved to its date, or this installation's.

The installer runs in a box with a network, is given names and versions only, and takes wheels only: nothing of a
package runs before it lies in a box without network. What was installed is kept, and shared by every pilot that asks
for the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pilotage import __file__ as _package
from pilotage.assess.folder import Folder
from pilotage.assess.probing.declared import Declared, declared, pickle_facts
from pilotage.assess.reading import shown
from pilotage.assess.signals.history import last_change
from pilotage.kernel.clock import rfc3339
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import BoxResult, Limits

__all__ = ["Environment", "environment_for", "ours"]

_PROBES_NEED = ("numpy", "pandas", "scikit-learn", "joblib", "msgspec>=0.18")
_FRAMEWORKS = {"fastapi": "uvicorn", "starlette": "uvicorn", "flask": ""}
_OF_A_MODEL = {
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "joblib": "joblib",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "imblearn": "imbalanced-learn",
    "category_encoders": "category-encoders",
}
_PASSED_ON = (
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_KEPT = 8
_WAIT_S = 20


@dataclass(frozen=True, kw_only=True)
class Environment:
    """`python` runs the probes; `readable` and `env` are what its box must be given.

    `own` is true for the pilot's own packages. `said` tells in a sentence what it is; `why` says why there is no own
    one. `differs` names what is installed here in another version than the pilot asks for or was made with.
    `stamp` is the digest of the exact versions.
    """

    python: str = sys.executable
    readable: list[Path] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    own: bool = False
    said: str = "this installation's own environment"
    why: str = ""
    differs: list[str] = field(default_factory=list)
    packages: int = 0
    stamp: str = ""

    @property
    def module(self) -> list[str]:
        """The command before a module's name."""
        return [self.python, "-P", "-s", "-B", "-m"]


def ours(folder: Folder) -> Environment:
    """This installation's own environment, with what differs from what the pilot asks for."""
    return _ours(folder, declared(folder), "")


def environment_for(
    folder: Folder, *, install: bool, seconds: float = 240.0, tell: Callable[[str], None] = lambda _what: None
) -> Environment:
    """The pilot's own environment where it can be had, else this installation's with what differs. Never raises.

    Without `install` nothing is fetched: an environment that was made before is still used.
    """
    asked = declared(folder)
    if not asked.packages:
        why = "it names no packages" if not asked.left_out else f"none can be had by name: {asked.left_out[0]}"
        return _ours(folder, asked, why)
    date = last_change(folder)
    if not date and not _missing(asked) and not _differs(folder, asked):
        return Environment(said="this installation's own environment, which meets all that the pilot asks for")
    wanted = _wanted(asked)
    place = _place(wanted, date)
    if not (place / "ready").is_file():
        if not install:
            return _ours(folder, asked, "installing was turned off")
        try:
            _make(place, wanted, date, seconds, tell)
        except _CannotInstallError as error:
            return _ours(folder, asked, str(error))
    os.utime(place / "ready")
    return _made(place, asked, date)


class _CannotInstallError(Exception):
    pass


def _made(place: Path, asked: Declared, date: int) -> Environment:
    lock = (place / "lock.txt").read_text()
    count = sum("==" in line for line in lock.splitlines())
    day = f", as of {rfc3339(date * 1_000_000)[:10]}" if date and not (place / "undated").exists() else ""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = f"; it states Python {asked.python}, this is {running}" if asked.python not in ("", running) else ""
    left = f"; left out: {', '.join(asked.left_out[:3])}" if asked.left_out else ""
    return Environment(
        python=str(place / "venv" / "bin" / "python"),
        readable=[place],
        env={"PYTHONPATH": str(place / "probe"), "PATH": f"{place / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin"},
        own=True,
        said=f"the pilot's own packages ({count} wheels{day}{other}{left})",
        packages=count,
        stamp=hashlib.sha256(lock.encode()).hexdigest(),
    )


# ---- this installation's own, where versions agree


def _ours(folder: Folder, asked: Declared, why: str) -> Environment:
    return Environment(why=why, differs=_differs(folder, asked))


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _missing(asked: Declared) -> list[str]:
    wanted = [each for each in asked.packages if each.marker is None or each.marker.evaluate()]
    return [each.name for each in wanted if not _installed(each.name)]


def _differs(folder: Folder, asked: Declared) -> list[str]:
    """Libraries that the model is made of, here in another minor version than asked for or than it was made with."""
    facts = pickle_facts(folder)
    roots = {module.split(".")[0] for module, _ in facts.names}
    relevant = {package for root, package in _OF_A_MODEL.items() if root in roots or not roots}
    found = []
    for each in asked.packages:
        name, here = canonicalize_name(each.name), _installed(each.name)
        if name in relevant and here and not _agrees(each, here):
            found.append(f"{name} {here} is installed here, the pilot asks for {each.specifier}")
    made_with = facts.versions.get("_sklearn_version", "")
    here = _installed("scikit-learn")
    if made_with and here and _minor(made_with) != _minor(here) and not any("scikit-learn" in each for each in found):
        found.append(f"scikit-learn {here} is installed here, the artefact was made with {made_with}")
    return found


def _agrees(asked: Requirement, here: str) -> bool:
    exact = [each.version for each in asked.specifier if each.operator in ("==", "===")]
    if any("*" not in version and _minor(version) == _minor(here) for version in exact):
        return True
    return asked.specifier.contains(here, prereleases=True)


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


# ---- making one


def _wanted(asked: Declared) -> list[str]:
    """What is installed: the pilot's packages, those of its tests, and what the probes themselves need."""
    own = [*asked.packages, *asked.for_tests]
    named = {canonicalize_name(each.name) for each in own}
    needs = [each for each in _PROBES_NEED if canonicalize_name(Requirement(each).name) not in named]
    needs += [server for framework, server in _FRAMEWORKS.items() if framework in named and server]
    return sorted({str(each) for each in own} | set(needs) | {"pytest"})


def _place(wanted: Sequence[str], date: int) -> Path:
    made_of = [*wanted, str(date // 86_400), sys.version, sys.base_prefix, _package]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:24]
    return _home() / key


def _home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pilotage" / "environments"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One maker at a time; a second waits and finds it made."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(place: Path, wanted: Sequence[str], date: int, seconds: float, tell: Callable[[str], None]) -> None:
    until = time.monotonic() + seconds
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise _CannotInstallError("uv is not installed; pip install 'pilotage[probes]'")
    with _alone(_home() / "lock"):
        if (place / "ready").is_file():
            return
        _forget(_home())
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            _install(Path(uv), place, wanted, date, until, tell)
        except _CannotInstallError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        (place / "ready").touch()


def _install(
    uv: Path, place: Path, wanted: Sequence[str], date: int, until: float, tell: Callable[[str], None]
) -> None:
    (place / "wanted.txt").write_text("".join(f"{line}\n" for line in wanted))
    lock, venv = place / "lock.txt", place / "venv"
    resolve = ["pip", "compile", str(place / "wanted.txt"), "-o", str(lock), "--no-header", "--no-annotate"]
    resolve += ["--only-binary", ":all:", "--python", sys.executable, "--no-emit-index-url", "--no-emit-find-links"]
    moment = rfc3339(date * 1_000_000)
    # What the probe itself brings need not be of the pilot's date.
    dated = ["--exclude-newer", moment, "--exclude-newer-package", "msgspec=2100-01-01T00:00:00Z"] if date else []
    tell("finding the versions of its packages")
    done = _uv(uv, [*resolve, *dated], until)
    if not done.ok and date and b"upload" in done.stderr:  # an index that does not say when a file came
        (place / "undated").touch()
        done = _uv(uv, resolve, until)
    if not done.ok:
        raise _CannotInstallError(f"its packages cannot be resolved: {_last(done)}")
    tell("installing its packages")
    fetch = ["pip", "install", "--python", str(venv / "bin" / "python"), "--no-deps", "--only-binary", ":all:"]
    for command in (["venv", "--python", sys.executable, str(venv)], [*fetch, "-r", str(lock)]):
        done = _uv(uv, command, until)
        if not done.ok:
            raise _CannotInstallError(f"its packages cannot be installed: {_last(done)}")
    tell("compiling its packages")
    _compile(place, venv, until)
    probe = place / "probe"
    probe.mkdir()
    (probe / "pilotage").symlink_to(Path(_package).resolve().parent)


def _compile(place: Path, venv: Path, until: float) -> None:
    """Compile what was installed, once for all probes. Nothing of it runs: `-S` leaves its start-up files out."""
    command = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "2", "-x", "/tests?/", str(venv / "lib")]
    limits = Limits(cpu_s=300, wall_s=max(1.0, min(30.0, until - time.monotonic())), file_mb=64)
    run_boxed(command, work=place, limits=limits)


def _uv(uv: Path, words: Sequence[str], until: float) -> BoxResult:
    """Run the installer in a box that has a network and can write nothing but the kept environments."""
    home = _home()
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    fixed = {"UV_CACHE_DIR": str(home / "uv"), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    fixed |= {"UV_HTTP_TIMEOUT": str(_WAIT_S), "UV_HTTP_RETRIES": "1", "XDG_CONFIG_HOME": str(_config())}
    shown_to_it = [uv, uv.resolve(), _config() / "uv"]
    shown_to_it += [Path(passed[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if passed.get(name)]
    return run_boxed(
        [str(uv), *words],
        work=home,
        readable=[path for path in shown_to_it if path.exists()],
        limits=Limits(
            cpu_s=600, wall_s=max(1.0, until - time.monotonic()), memory_mb=4096, file_mb=4096, files=1024, output_mb=4
        ),
        network=True,
        env=fixed | passed,
    )


def _config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _last(done: BoxResult) -> str:
    """The installer's reason in one line: the first that names it, without colours."""
    if done.killed_reason == "wall":
        return "it took too long"
    lines = [line.strip(" ×╰─▶│├") for line in done.stderr.decode(errors="replace").splitlines()]
    told = [line for line in lines if line and not line.lower().startswith(("hint", "using", "warning", "resolved"))]
    told = [line for line in told if "No solution found" not in line] or [f"status {done.returncode}"]
    return shown(" ".join(told))[:300]


def _forget(home: Path) -> None:
    """Remove all but the environments used last."""
    kept = [path for path in home.iterdir() if (path / "ready").is_file()]
    kept.sort(key=lambda path: (path / "ready").stat().st_mtime, reverse=True)
    for path in kept[_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
