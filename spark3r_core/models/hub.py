"""Weights from the Hugging Face hub, on explicit request only: nothing else in this package calls the network.

The hub's client library answers where the file is, who may have it and what its sha256 is. The bytes go to a `.part`
file of our own, because the client discards what an interrupted download had fetched and weights are gigabytes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from spark3r_core.errors import CheckpointError, DownloadError
from spark3r_core.models.digest import file_sha256, record_path, verify_record, write_record
from spark3r_core.models.registry import ModelSpec, find_weights, model_spec, weights_dir

PROGRESS_EVERY_S = 5.0
HUB = "https://huggingface.co"
Report = Callable[[str], None]


class _Remote(NamedTuple):
    """The file on the hub: its address at one commit, its size in bytes, its etag (the sha256 of large files)."""

    url: str
    size: int | None
    etag: str

    @property
    def sha256(self) -> str | None:
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None


def licence_notice(spec: ModelSpec) -> str:
    """One line: whose weights these are, under which licence, and what that means for the user."""
    terms = "commercial use is not allowed" if spec.is_noncommercial else "commercial use is allowed"
    return f"{spec.name}: weights of {HUB}/{spec.hub_id}, licence {spec.weights_licence}: {terms}"


def download(name: str, accept_licence: bool = False, report: Report = print) -> Path:
    """Fetch a model's released weights to where `load_model` looks for them.

    A file that is there already and fits its recorded sha256 costs no call. A download that was interrupted goes on
    where it stopped. HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are respected. On a terminal the hub's progress bar is on
    stderr; elsewhere `report` is told every five seconds how far it is, from a thread.

    Args:
        name: one of `MODELS`.
        accept_licence: must be True for weights that may not be used commercially.
        report: is given a line before anything is fetched (the licence) and as stages begin.

    Returns:
        The weights file; its sha256 is in `<file>.sha256` and is checked whenever the file is loaded.

    Raises:
        DownloadError: licence not accepted, offline, no network, gated or missing repository, disk full, or bytes that
            are not those the hub announced.
        CheckpointError: unknown name, or a file is there that is not the one that was downloaded.
    """
    spec = model_spec(name)
    if spec.hub_id is None:
        raise DownloadError(f"the weights of {name} come with this package; there is nothing to download")
    report(licence_notice(spec))
    if spec.is_noncommercial and not accept_licence:
        raise DownloadError(
            f"the weights of {name} are for non-commercial use ({spec.weights_licence}); read the licence at"
            f" {HUB}/{spec.hub_id} and repeat with --accept-licence"
        )
    path = find_weights(name) or weights_dir() / name / spec.file_name
    if path.is_file() and verify_record(path) is not None:
        report(f"{path} is there already and its sha256 is as recorded")
        return path
    with _explained(spec):
        remote = _locate(spec)
    if path.is_file():
        return _adopted(path, remote)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _fetch(spec, remote, path, report)
    report("checking sha256")
    found = file_sha256(part)
    if found != (remote.sha256 or found):
        part.unlink()
        raise DownloadError(f"{spec.file_name} arrived with sha256 {found}, expected {remote.sha256}; repeat")
    write_record(path, found)
    part.replace(path)
    report(f"{path} (sha256 {found} in {record_path(path).name})")
    return path


def _locate(spec: ModelSpec) -> _Remote:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:  # before any call: older clients look at it only when their session begins
        raise OfflineModeIsEnabled
    endpoint = os.environ.get("HF_ENDPOINT") or None
    newest = get_hf_file_metadata(hf_hub_url(str(spec.hub_id), spec.file_name, endpoint=endpoint))
    # The commit is part of the address, so that every further try continues the same file.
    url = hf_hub_url(str(spec.hub_id), spec.file_name, revision=newest.commit_hash, endpoint=endpoint)
    return _Remote(url, newest.size, newest.etag or "")


def _adopted(path: Path, remote: _Remote) -> Path:
    """A file that someone put there: recorded when its bytes are the hub's, never replaced when not."""
    found = file_sha256(path)
    if remote.sha256 != found:
        raise CheckpointError(
            f"{path} has sha256 {found}, the hub's file {remote.sha256 or 'an unknown one'}; it was not put there by a"
            " download, so it is left alone: move it away to download, or name it with --weights"
        )
    write_record(path, found)
    return path


def _fetch(spec: ModelSpec, remote: _Remote, path: Path, report: Report) -> Path:
    """All bytes of the remote file in a `.part` file beside `path`, continuing one that is there."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = path.with_name(f"{path.name}.{remote.etag[:12] or 'unknown'}.part")
    for stale in set(path.parent.glob(f"{path.name}.*.part")) - {part}:
        stale.unlink()  # the hub has another file by now
    with _exclusive(path.with_name(".lock")), part.open("ab") as file:
        done = file.tell()
        missing, free = (remote.size or 0) - done, shutil.disk_usage(path.parent).free
        if missing > free:
            raise DownloadError(
                f"{path.parent} has {free / 1e9:.1f} GB free, {spec.file_name} takes {missing / 1e9:.1f} GB more; make"
                " room, or point SPARK3R_WEIGHTS at another disk"
            )
        size = f", {remote.size / 1e6:,.0f} MB" if remote.size else ""
        report(f"fetching {spec.file_name}{size}" + (f", continuing after {done / 1e6:,.0f} MB" if done else ""))
        with _explained(spec), _reported(part, remote.size, report):
            http_get(remote.url, file, resume_size=done, headers=build_hf_headers(), expected_size=remote.size)
    return part


@contextmanager
def _reported(part: Path, size: int | None, report: Report) -> Iterator[None]:
    """How far it is, now and then, where there is no terminal for the bar of the hub's client."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(PROGRESS_EVERY_S):
            done = part.stat().st_size
            report(f"{done / 1e6:,.0f} MB" + (f" of {size / 1e6:,.0f}, {done / size:.0%}" if size else ""))

    thread = threading.Thread(target=tell, name="spark3r-download", daemon=True)
    if not sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """Two processes appending to one file would mix their bytes."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise DownloadError(f"another process is downloading into {lock.parent}; wait for it") from error


@contextmanager
def _explained(spec: ModelSpec) -> Iterator[None]:
    """What goes wrong while talking to the hub, as a DownloadError that says what to do."""
    try:
        from huggingface_hub.utils import (
            EntryNotFoundError,
            GatedRepoError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise DownloadError(
            "downloading weights needs huggingface_hub: pip install 'spark3r-stream[hub]', or fetch"
            f" {spec.file_name} of {HUB}/{spec.hub_id} yourself"
        ) from error
    page = f"{HUB}/{spec.hub_id}"
    try:
        yield
    except DownloadError:
        raise
    except OfflineModeIsEnabled as error:
        raise DownloadError("HF_HUB_OFFLINE is set, so nothing is downloaded; unset it to download") from error
    except GatedRepoError as error:
        raise DownloadError(
            f"{page} is gated: accept its terms there while logged in, then give your token with `hf auth login` or"
            " HF_TOKEN and repeat"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(f"{page} is not there or needs a login (`hf auth login` or HF_TOKEN)") from error
    except EntryNotFoundError as error:
        raise DownloadError(f"{page} holds no {spec.file_name} any more; name a file with --weights") from error
    except Exception as error:  # the client lets its transport's errors through, and the transport changes by version
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DownloadError(
            f"cannot fetch {spec.file_name} of {page}: {reason}; check the network and repeat, what has arrived is kept"
        ) from error
