"""Generate spark3r_stream/proto/**/*_pb2.py and .pyi from the .proto files beside them.

The compiler is pinned, not taken from the environment: generated code refuses to load under a protobuf runtime older
than its compiler, so the oldest compiler that serves all supported runtimes is the right one. grpcio-tools 1.71.2
carries protoc 29.0 and makes code for protobuf >= 5.29.0, which loads under 5.29, 6 and 7. (The floor of the package
is 5.29.6, because that is what foxglove-schemas-protobuf was generated for.)

Usage: python tools/generate_proto.py        (needs the network once, to fetch the compiler into build/)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMPILER = "grpcio-tools==1.71.2"
REPOSITORY = Path(__file__).resolve().parent.parent
PROTO_ROOT = REPOSITORY / "spark3r_stream" / "proto"
COMPILER_DIR = REPOSITORY / "build" / COMPILER.replace("==", "-")


def fetch_compiler() -> None:
    """Install the pinned compiler, without its dependencies, where no other program sees it."""
    if not (COMPILER_DIR / "grpc_tools").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(COMPILER_DIR), COMPILER], check=True)


def generate(output: Path) -> list[Path]:
    """Compile every .proto file into `output`; returns the files that were compiled, relative to the root."""
    sources = sorted(path.relative_to(PROTO_ROOT) for path in PROTO_ROOT.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO_ROOT}"]
    command += [f"--python_out={output}", f"--pyi_out={output}", *map(str, sources)]
    environment = {**os.environ, "PYTHONPATH": str(COMPILER_DIR)}
    subprocess.run(command, check=True, env=environment, cwd=COMPILER_DIR)
    return sources


def main() -> None:
    fetch_compiler()
    for source in generate(PROTO_ROOT):
        print(f"generated {PROTO_ROOT.relative_to(REPOSITORY) / source.with_suffix('')}_pb2.py")


if __name__ == "__main__":
    main()
