"""Which packages an adopted pilot needs, in which versions: its own pins, its own environment, then what is here."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.signals.artefacts import made_with
from pilotage.assess.signals.packaging import requirements
from pilotage.assess.source import Module

__all__ = ["Pins", "pins_of"]

_EXACT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*={2,3}\s*([\w.!+-]+)(?![\w.*!+-])")
_BY_IMPORT = {
    "sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml", "bs4": "beautifulsoup4",
    "dotenv": "python-dotenv", "dateutil": "python-dateutil", "jwt": "pyjwt", "imblearn": "imbalanced-learn",
    "skimage": "scikit-image", "psycopg2": "psycopg2-binary",
}  # fmt: skip
_ALWAYS = ("joblib", "numpy", "pandas", "pyyaml", "scikit-learn")
_SERVERS = {"flask", "fastapi", "uvicorn", "gunicorn", "starlette", "streamlit", "gradio", "flask-cors", "waitress"}
_MOST = 2_000


class Pins:
    """`names` of the packages; `versions` of those that the pilot itself says, in whatever way."""

    def __init__(self, names: list[str], versions: dict[str, str]) -> None:
        self.names, self.versions = names, versions


def pins_of(folder: Folder, kept: Iterable[Module]) -> Pins:
    """The packages that the kept code imports or the pilot asks for; a server's own are left with the server."""
    asked = {_normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for _, _, line in requirements(folder)} - {""}
    local = {Path(path).stem for path in folder.files if path.endswith(".py")}
    local |= {part for path in folder.files for part in Path(path).parts[:-1]}
    imported = {
        _normal(_BY_IMPORT.get(name, name))
        for module in kept
        for name in _roots(module)
        if name not in local and name not in sys.stdlib_module_names and name != "pilotage"
    }
    names = {*_ALWAYS, *imported, *(asked - _SERVERS)} - {"sklearn", "pytest"}
    versions = _in_its_environment(folder.root)
    versions |= made_with(folder)
    versions |= {_normal(found[1]): found[2] for _, _, line in requirements(folder) if (found := _EXACT.match(line))}
    return Pins(sorted(names), {name: version for name, version in versions.items() if name in names})


def _in_its_environment(root: Path) -> dict[str, str]:
    """Versions by the folder names of a virtual environment in the pilot's folder; nothing in them is read."""
    found: dict[str, str] = {}
    try:
        tops = sorted(entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return {}
    for top in tops:
        if not Path(top, "pyvenv.cfg").is_file():
            continue
        for packages in sorted(Path(top).glob("lib/python3*/site-packages"))[:1]:
            if packages.resolve().is_relative_to(root):
                for name in sorted(each.name for each in packages.iterdir())[:_MOST]:
                    if told := re.fullmatch(r"([A-Za-z0-9._]+)-([A-Za-z0-9.!+]+)\.dist-info", name):
                        found[_normal(told[1])] = told[2]
    return found


def _roots(module: Module) -> set[str]:
    found: set[str] = set()
    for node in module.nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return {name for name in found if re.fullmatch(r"[A-Za-z_]\w{0,60}", name)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
