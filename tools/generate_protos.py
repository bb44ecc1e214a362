"""Generate the Python code of the contracts. This is the only way generated code is made.

    python tools/generate_protos.py            write sluice/v1 and sluice/open_inference
    python tools/generate_protos.py --check    exit 1 and name the files that differ, write nothing

The path of a proto file is the path of its Python module, so the compiler's imports are right as
they come and nothing is edited afterwards.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGES = {"sluice/v1": "protos/sluice/v1", "sluice/open_inference": "protos/open_inference"}


def compile_protos(destination: Path) -> None:
    """Write messages, type stubs and service stubs of every contract below `destination`."""
    import grpc_tools
    from grpc_tools import protoc

    # OIP fixes its package name, so the file lives beside ours and is mapped to its Python path here.
    include = [
        f"-Isluice/open_inference={PROTOS / 'open_inference'}",
        f"-I{PROTOS}",
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
    ]
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    sources = [f"sluice/v1/{path.name}" for path in sorted((PROTOS / "sluice/v1").glob("*.proto"))]
    sources += [f"sluice/open_inference/{path.name}" for path in sorted((PROTOS / "open_inference").glob("*.proto"))]
    if protoc.main(["protoc", *include, *outputs, *sources]) != 0:
        raise SystemExit("protoc failed; its messages are above")
    for package, folder in PACKAGES.items():
        (destination / package / "__init__.py").write_text(f'"""Generated from {folder}; do not edit."""\n')


def differing(generated: Path) -> list[str]:
    """Names of generated files that are missing, changed or left over in the checkout."""
    names: set[str] = set()
    for package in PACKAGES:
        fresh = {path.name for path in (generated / package).iterdir() if path.is_file()}
        present = {path.name for path in (ROOT / package).iterdir() if path.is_file()}
        changed = {
            name
            for name in fresh & present
            if not filecmp.cmp(generated / package / name, ROOT / package / name, shallow=False)
        }
        names |= {f"{package}/{name}" for name in (fresh ^ present) | changed}
    return sorted(names)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare, for tests and CI")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        generated = Path(scratch)
        for package in PACKAGES:
            (generated / package).mkdir(parents=True)
        compile_protos(generated)
        stale = differing(generated)
        if options.check:
            for name in stale:
                print(f"{name} differs from its proto: run python tools/generate_protos.py", file=sys.stderr)
            return 1 if stale else 0
        for name in stale:
            source, target = generated / name, ROOT / name
            if source.exists():
                target.write_bytes(source.read_bytes())
            else:
                target.unlink()
        print(f"{len(stale)} files written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
