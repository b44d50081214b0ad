"""Weights from a hub: real HTTP servers stand in for the hub and for the storage that it redirects to."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spark3r_core.errors import CheckpointError, DownloadError
from spark3r_core.models import hub
from spark3r_core.models.digest import record_path, write_record
from spark3r_core.models.hub import download
from spark3r_core.models.registry import MODELS, load_model
from tests.helpers import spark3r

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "c0ffee" * 6 + "cafe"
BLOCK = 4096
BODY = bytes(range(256)) * 256  # 16 blocks
SHA256 = hashlib.sha256(BODY).hexdigest()
FAULTS = {"gated": (403, "GatedRepo"), "no repository": (404, "RepoNotFound"), "no file": (404, "EntryNotFound")}


class Storage(BaseHTTPRequestHandler):
    """Serves BODY; the server's `cut` ends the first answer early, and whoever comes again is told to go away."""

    server: Any

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Range"], self.headers["Authorization"]))
        if self.server.cut is not None and len(self.server.seen) > 1:
            self.send_error(503)
            return
        first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(BODY) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        time.sleep(self.server.pause_s)
        self.wfile.write(BODY[first : self.server.cut])

    def log_message(self, *args: object) -> None:
        pass


class Hub(BaseHTTPRequestHandler):
    """Knows every file by its sha256 and size, and sends readers on to the storage."""

    server: Any

    def do_HEAD(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers["Authorization"]))
        if self.server.fault:
            status, code = FAULTS[self.server.fault]
            self.send_response(status)
            self.send_header("X-Error-Code", code)
        else:
            self.send_response(302)
            self.send_header("Location", self.server.storage_url)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{self.server.announced_sha256}"')
            self.send_header("X-Linked-Size", str(len(BODY)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: object) -> None:
        pass


class Servers:
    """A hub and a storage on ports of their own, with what they were asked."""

    def __init__(self) -> None:
        self.storage: Any = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
        self.storage.seen, self.storage.cut, self.storage.pause_s = [], None, 0.0
        self.hub: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        self.hub.seen, self.hub.fault, self.hub.announced_sha256 = [], None, SHA256
        self.hub.storage_url = f"http://localhost:{self.storage.server_port}/blob"
        for server in (self.hub, self.storage):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.hub.server_port}"

    def close(self) -> None:
        for server in (self.hub, self.storage):
            server.shutdown()
            server.server_close()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    running = Servers()
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SPARK3R_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", BLOCK)  # what a break may cost
    yield running
    running.close()


def quiet(line: str) -> None:
    pass


def test_a_download_shows_the_licence_first_and_records_what_came(servers: Servers, tmp_path: Path) -> None:
    lines: list[tuple[str, int]] = []
    path = download("da3-small", report=lambda line: lines.append((line, len(servers.hub.seen))))
    assert path == tmp_path / "da3-small" / "model.safetensors"
    assert path.read_bytes() == BODY
    assert record_path(path).read_text() == f"{SHA256}  model.safetensors\n"
    assert "depth-anything/DA3-SMALL, licence Apache-2.0: commercial use is allowed" in lines[0][0]
    assert lines[0][1] == 0  # requests by then
    file = "/depth-anything/DA3-SMALL/resolve/{}/model.safetensors"
    bearer = "Bearer hf_secret"
    assert servers.hub.seen == [("HEAD", file.format("main"), bearer), ("GET", file.format(COMMIT), bearer)]
    assert servers.storage.seen == [(None, None)]  # the token is the hub's, not its storage's
    assert not list(path.parent.glob("*.part"))

    servers.hub.seen.clear()
    assert download("da3-small", report=quiet) == path
    assert servers.hub.seen == []


def test_noncommercial_weights_need_consent(servers: Servers) -> None:
    with pytest.raises(DownloadError, match=r"non-commercial use \(CC BY-NC 4\.0\).*yyfz233/Pi3.*--accept-licence"):
        download("pi3", report=quiet)
    assert servers.hub.seen == []
    assert download("pi3", accept_licence=True, report=quiet).read_bytes() == BODY
    assert {name for name, spec in MODELS.items() if not spec.is_noncommercial} == {"bundled", "da3-small", "da3-base"}


def test_an_interrupted_download_goes_on_where_it_stopped(servers: Servers, tmp_path: Path) -> None:
    servers.storage.cut = 7 * BLOCK
    with pytest.raises(DownloadError, match="what has arrived is kept"):
        download("da3-small", report=quiet)
    folder = tmp_path / "da3-small"
    (part,) = folder.glob("*.part")
    assert part.read_bytes() == BODY[: 7 * BLOCK]
    assert not (folder / "model.safetensors").exists()
    servers.storage.cut = None
    servers.storage.seen.clear()
    assert download("da3-small", report=quiet).read_bytes() == BODY
    assert servers.storage.seen == [(f"bytes={7 * BLOCK}-", None)]


def test_bytes_that_are_not_the_announced_ones_are_not_kept(servers: Servers, tmp_path: Path) -> None:
    servers.hub.announced_sha256 = "0" * 64
    with pytest.raises(DownloadError, match=f"sha256 {SHA256}, expected {'0' * 64}"):
        download("da3-small", report=quiet)
    assert [path.name for path in (tmp_path / "da3-small").iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gated", r"facebook/VGGT-1B is gated: accept its terms.*HF_TOKEN"),
        ("no repository", "facebook/VGGT-1B is not there or needs a login"),
        ("no file", r"holds no model\.safetensors"),
    ],
)
def test_refusals_say_what_to_do(servers: Servers, fault: str, message: str) -> None:
    servers.hub.fault = fault
    with pytest.raises(DownloadError, match=message):
        download("vggt-1b", accept_licence=True, report=quiet)


def test_no_network_offline_mode_and_no_library(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
            download("da3-small", report=quiet)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub.utils", None)
        with pytest.raises(DownloadError, match=r"spark3r-stream\[hub\]"):
            download("da3-small", report=quiet)
    with pytest.raises(DownloadError, match="come with this package"):
        download("bundled", report=quiet)
    with pytest.raises(CheckpointError, match="there are bundled, da3-small"):
        download("da4", report=quiet)
    assert servers.hub.seen == []
    servers.close()
    with pytest.raises(DownloadError, match="check the network and repeat"):
        download("da3-small", report=quiet)


def test_a_file_someone_put_there_is_recorded_when_right_and_never_replaced(servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "da3-small" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="left alone"):
        download("da3-small", report=quiet)
    assert path.read_bytes() == b"mine"
    path.write_bytes(BODY)
    assert download("da3-small", report=quiet) == path
    assert SHA256 in record_path(path).read_text()
    assert servers.storage.seen == []


def test_loading_never_calls_the_hub_and_checks_the_record(servers: Servers, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="spark3r models get da3-small"):
        load_model("da3-small")
    path = download("da3-small", report=quiet)
    servers.hub.seen.clear()
    path.write_bytes(BODY[:-1])  # cut short on disk
    cut = hashlib.sha256(BODY[:-1]).hexdigest()
    with pytest.raises(CheckpointError, match=f"sha256 {cut}, but model.safetensors.sha256 recorded {SHA256}"):
        load_model("da3-small")
    write_record(path, "not a digest")
    with pytest.raises(CheckpointError, match="holds no sha256"):
        load_model("da3-small")
    assert servers.hub.seen == []


def test_the_command_says_licence_and_size_and_goes_on_after_a_break(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    servers.storage.cut = 5 * BLOCK
    assert spark3r(monkeypatch, "models", "get", "da3-small") == 1
    said = capfd.readouterr().err
    assert "da3-small: weights of https://huggingface.co/depth-anything/DA3-SMALL, licence Apache-2.0" in said
    assert "fetching model.safetensors, 0 MB\n" in said
    assert "what has arrived is kept" in said
    servers.storage.cut, servers.storage.seen[:] = None, []
    servers.storage.pause_s = 0.2
    monkeypatch.setattr(hub, "PROGRESS_EVERY_S", 0.01)
    assert spark3r(monkeypatch, "models", "get", "da3-small") == 0
    assert servers.storage.seen[0][0] == f"bytes={5 * BLOCK}-"
    assert (tmp_path / "da3-small" / "model.safetensors").read_bytes() == BODY
    assert re.search(r"^0 MB of 0, \d+%$", capfd.readouterr().err, re.MULTILINE)
