"""The .proto files, the generated code and the tables beside them say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from spark3r_stream.proto import recording_pb2, wire_pb2
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.messages import CapturedClock, LengthUnit, SessionState, TrackingState

REPOSITORY = Path(__file__).resolve().parents[3]
PROTO_ROOT = REPOSITORY / "spark3r_stream" / "proto"


def test_generated_code_matches_the_proto_files(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is a development dependency")
    output = tmp_path / "descriptors.bin"
    sources = sorted(str(path.relative_to(PROTO_ROOT)) for path in PROTO_ROOT.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO_ROOT}"]
    subprocess.run([*command, f"--descriptor_set_out={output}", *sources], check=True, cwd=tmp_path)
    compiled = {file.name: file for file in FileDescriptorSet.FromString(output.read_bytes()).file}
    assert set(compiled) == {"spark3r/v1/wire.proto", "spark3r/v1/recording.proto"}
    for module in (wire_pb2, recording_pb2):
        committed = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(committed)
        fresh = compiled[module.DESCRIPTOR.name]
        for message in [*fresh.message_type, *committed.message_type]:
            for field in message.field:
                field.ClearField("json_name")  # newer compilers fill it in, older ones leave it out
        assert committed == fresh, "run `python tools/generate_proto.py` and commit what it writes"


def test_generated_code_loads_under_the_oldest_supported_protobuf() -> None:
    """A newer compiler writes code that refuses older runtimes; pyproject says protobuf >= 5.29.6."""
    for path in PROTO_ROOT.rglob("*_pb2.py"):
        made_for = re.search(r"Protobuf Python Version: (\d+)\.(\d+)\.(\d+)", path.read_text())
        assert made_for is not None
        assert tuple(map(int, made_for.groups())) <= (5, 29, 6), "generate with tools/generate_proto.py"


@pytest.mark.parametrize(
    ("kind", "proto", "prefix"),
    [
        (TrackingState, wire_pb2.TrackingState, "TRACKING_STATE"),
        (SessionState, wire_pb2.SessionState, "SESSION_STATE"),
        (LengthUnit, wire_pb2.LengthUnit, "LENGTH_UNIT"),
        (CapturedClock, wire_pb2.CapturedClock, "CAPTURED_CLOCK"),
    ],
)
def test_enums_agree(kind: type, proto: object, prefix: str) -> None:
    expected = {f"{prefix}_UNSPECIFIED": 0} | {f"{prefix}_{member.name}": member.value for member in kind}
    assert dict(proto.items()) == expected  # type: ignore[attr-defined]


def test_the_page_names_every_topic_and_limit() -> None:
    page = (REPOSITORY / "docs" / "wire.md").read_text()
    for topic, limit in wire.MAX_PAYLOAD_BYTES.items():
        size = f"{limit // wire.MIB} MiB" if limit >= wire.MIB else f"{limit // wire.KIB} KiB"
        assert re.search(rf"`{re.escape(topic)}`.*\b{size}", page), f"docs/wire.md: {topic} with its limit {size}"


def test_subscriber_side_imports_no_torch() -> None:
    """Nor a video decoder: a robot's process needs neither to listen, record or replay."""
    modules = (
        "wire.messages wire.envelope wire.encode wire.decode pubsub.publisher pubsub.subscriber recording.writer "
        "recording.reader recording.replay recording.records"
    )
    code = "import sys\n" + "".join(f"import spark3r_stream.{name}\n" for name in modules.split())
    code += "print([m for m in ('torch', 'av', 'cv2', 'scipy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
