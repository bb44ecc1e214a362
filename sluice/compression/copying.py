"""The files around a model's weights that have to come along where the model goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from sluice.engine.checkpoint.sentence_transformers import MODULES, PROMPTS, SETTINGS, list_modules
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.checkpoint.weights import WEIGHTS


def copy_files(origin: Path, destination: Path, names: Sequence[str]) -> None:
    """Copy those of the files `names` that `origin` has."""
    for name in names:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, destination / name)


def copy_modules(origin: Path, destination: Path) -> None:
    """Copy what modules.json of `origin` puts behind the transformer, which is to lie in `destination` itself.

    Nothing is copied where there is no modules.json. Raises InvalidRequest, field `checkpoint`, when it is none.
    """
    if not (origin / MODULES).is_file():
        return
    modules = list_modules(origin)
    copy_files(origin, destination, (MODULES, PROMPTS))
    for kind, directory in modules:
        if kind == "Transformer":
            copy_files(directory, destination, (SETTINGS,))
        elif directory.is_dir():
            place = destination / directory.relative_to(origin)
            place.mkdir(parents=True, exist_ok=True)
            copy_files(directory, place, (CONFIG, WEIGHTS))
    if ("Transformer", origin) not in modules:
        _move_transformer(destination / MODULES)


def _move_transformer(file: Path) -> None:
    entries = json.loads(file.read_text(encoding="utf-8"))
    for entry in entries:
        if entry["type"].endswith(".Transformer"):
            entry["path"] = ""
    file.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
