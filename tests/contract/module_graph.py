"""Who imports whom, read from the source of the tree without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module. `deferred` ones are in a function, and happen when it is called."""

    target: str
    deferred: bool


class ModuleGraph:
    """The modules below `packages` and what each of them imports. Imports for type checkers alone do not count."""

    def __init__(self, root: Path, packages: Iterable[str]) -> None:
        self.files = dict(_modules(root, packages))
        self.imports: Mapping[str, frozenset[Import]] = {
            name: frozenset(self._read(name, path)) for name, path in self.files.items()
        }

    def within(self, package: str) -> list[str]:
        """The modules of `package`, itself included."""
        return sorted(name for name in self.files if inside(name, package))

    def reach(self, starts: Iterable[str], *, deferred: bool = True) -> frozenset[str]:
        """Everything that `starts` import, directly or not, foreign modules included and themselves too.

        Without `deferred` ones: what is imported by importing `starts`.
        """
        reached: set[str] = set()
        waiting = list(starts)
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            # Importing a.b.c runs a and a.b before.
            waiting += [parent for parent in _parents(name) if parent in self.files]
            waiting += [one.target for one in self.imports.get(name, ()) if deferred or not one.deferred]
        return frozenset(reached)

    def _read(self, name: str, path: Path) -> Iterator[Import]:
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node, deferred in _statements(ast.parse(path.read_text(encoding="utf-8")), deferred=False):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, deferred) for alias in node.names)
                continue
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield Import(module, deferred)
            for alias in node.names:
                # `from package import name` imports a module if there is one of that name.
                if f"{module}.{alias.name}" in self.files:
                    yield Import(f"{module}.{alias.name}", deferred)


def inside(name: str, package: str) -> bool:
    """Whether module `name` is `package` or lies below it."""
    return name == package or name.startswith(f"{package}.")


def _modules(root: Path, packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _statements(tree: ast.AST, *, deferred: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(tree, ast.Import | ast.ImportFrom):
        yield tree, deferred
        return
    children = list(ast.iter_child_nodes(tree))
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        children = list(tree.orelse)
    deferred = deferred or isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in children:
        yield from _statements(child, deferred=deferred)
