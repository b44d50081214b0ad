"""The small parts of sources: redaction, times, states, restart arithmetic, shared slots, pipe messages, devices."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources import (
    CameraOptions,
    ReconnectOptions,
    RtspTransport,
    SourceOptions,
    SourceState,
    network,
    open_source,
    pipe,
    redact,
)
from spark3r_stream.sources.base import LEGAL_TRANSITIONS, SourceStateBox
from spark3r_stream.sources.camera import device_target, list_cameras
from spark3r_stream.sources.decoder_child import SLOTS, SlotBook
from spark3r_stream.sources.network import ffmpeg_options
from spark3r_stream.sources.redact import redact_text, redact_uri
from spark3r_stream.sources.restart import RestartBudget
from spark3r_stream.sources.ring import FrameRing, remove_rings_of
from tests.helpers import FakeClock

# redaction


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("rtsp://cam.local:554/stream", "rtsp://cam.local:554/stream"),
        ("rtsp://eve:secret@cam.local/stream", "rtsp://***@cam.local/stream"),
        ("rtsp://eve@cam.local/stream", "rtsp://***@cam.local/stream"),
        ("rtsp://eve:p@ss@cam.local/stream", "rtsp://***@cam.local/stream"),
        ("rtsp://eve:p/s?s#@cam.local/stream", "rtsp://***@cam.local/stream"),
        ("http://cam.local:8080/x?width=3&token=abc&fps=5", "http://cam.local:8080/x?width=3&token=***&fps=5"),
        ("http://h/x?Password=abc&user=eve&sig=1#top", "http://h/x?Password=***&user=***&sig=***"),
        ("srt://h:9000?passphrase=ab/c#d?e&latency=200", "srt://h:9000?passphrase=***&latency=200"),
        ("srt://h?mode=caller&streamid=#!::r=a,u=eve,s=x", "srt://h?mode=caller&streamid=***"),
        (
            "rtsp://h/user=eve_password=x_y_channel=1_stream=0.sdp",
            "rtsp://h/user=***_password=***_channel=1_stream=0.sdp",
        ),
        ("rtsp://h/user=eve&password=x&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        (
            "http://h/x?psk=1&jwt=a.b&pin=22&code=7&loginpas=q",
            "http://h/x?psk=***&jwt=***&pin=***&code=***&loginpas=***",
        ),
        ("http://h/x?c3VwZXI", "http://h/x?***"),
        ("http://h/x#c3VwZXI", "http://h/x#***"),
        ("http://h/x?w%69dth=3&wi%64th=%00", "http://h/x?w%69dth=3&wi%64th=***"),
        ("rtsp://h/cam/realmonitor?channel=1&subtype=0", "rtsp://h/cam/realmonitor?channel=1&subtype=0"),
        ("synthetic:room?seed=3&frames=30", "synthetic:room?seed=3&frames=30"),
        ("/data/key=a/clip?b=c.mp4", "/data/key=a/clip?b=c.mp4"),
        ("http://h/a@2x.mp4", "http://h/a@2x.mp4"),
        ("http://eve:80/7@h/x", "http://***@h/x"),
        ("clip.mp4", "clip.mp4"),
        # stream keys and tokens in a path
        ("rtmp://a.rtmp.youtube.com/live2/abcd-efgh-ijkl-mnop", "rtmp://a.rtmp.youtube.com/live2/***"),
        ("rtmp://live.twitch.tv/app/live_123456_AbCdEf", "rtmp://live.twitch.tv/app/***"),
        ("rtmps://h:443/rtmp/FB-1-2-Abc?s_bl=1&a=Abx", "rtmps://h:443/rtmp/***?s_bl=***&a=***"),
        ("RTMP://h/key", "RTMP://h/***"),
        ("rtmp://h/live/key=a", "rtmp://h/live/***"),
        ("rtmp://eve:secret@h/live/stream/key", "rtmp://***@h/live/stream/***"),
        ("rtsps://10.0.0.1:7441/Yq3KzXw9LmTb7Hd2?enableSrtp", "rtsps://10.0.0.1:7441/***?***"),
        ("https://h/hls/0f8fad5b-d9cb-469f-a165-70867728950e/index.m3u8", "https://h/hls/***/index.m3u8"),
        ("https://h/4a7f0cb1abcd/AbCdEfGhIj/x.mp4", "https://h/***/***/x.mp4"),
        # names in a path
        ("rtsp://h/h264Preview_01_main", "rtsp://h/h264Preview_01_main"),
        ("rtsp://h:554/Streaming/Channels/101", "rtsp://h:554/Streaming/Channels/101"),
        ("rtsp://h/axis-media/media.amp?camera=1", "rtsp://h/axis-media/media.amp?camera=1"),
        ("http://h/axis-cgi/mjpg/video.cgi", "http://h/axis-cgi/mjpg/video.cgi"),
        ("http://h/nphMotionJpeg", "http://h/nphMotionJpeg"),
        ("https://h/videos/kitchen%20tour-2024_v2.mp4", "https://h/videos/kitchen%20tour-2024_v2.mp4"),
        ("rtsp://h/ch0_0.h264", "rtsp://h/ch0_0.h264"),
        ("rtsp://h/videoMain", "rtsp://h/videoMain"),
        ("http://h/küche/東京.mp4", "http://h/küche/東京.mp4"),
    ],
)
def test_redacted_uris(uri, expected):
    assert redact_uri(uri) == expected
    assert redact_uri(expected) == expected


SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=6, max_size=20).filter(
    lambda s: "*" not in s and not any(c in s for c in "'\" \\")
)


@given(SECRETS)
def test_no_password_survives(secret):
    uri = f"rtsp://eve:{secret}@cam.local/s"
    assert secret not in redact_uri(uri)
    assert secret not in redact_text(f"could not open {uri}: 401 for 'eve:{secret}'; tried {secret}", uri)


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=30))
def test_no_stream_key_survives(key):
    assume(key.lower() not in redact._RTMP_WORDS and key not in "rtmp://live.example/live/")
    uri = f"rtmp://live.example/live/{key}"
    assert redact_uri(uri) == "rtmp://live.example/live/***"
    assert key not in redact_text(f"could not open {uri}: stream {key} is taken", uri)


@given(st.uuids(), st.binary(min_size=12, max_size=24))
def test_no_token_in_a_path_survives(identity, token):
    for text in (str(identity), token.hex(), identity.hex):
        assert redact_uri(f"rtsp://cam.local/{text}/x") == "rtsp://cam.local/***/x"


def test_percent_encoded_secrets_are_hidden_in_both_spellings():
    uri = "http://eve:p%40ss%21@h/x?api_key=k%2Fey99"
    text = redact_text(f"{uri} p@ss! p%40ss%21 k/ey99 k%2Fey99", uri)
    assert text == "http://***@h/x?api_key=*** *** *** *** ***"


@pytest.mark.parametrize("password", ["pa#ss", "pa/ss", "pa?ss", "pa:s/s"])
def test_a_password_that_is_not_encoded_is_one_clear_error(password):
    uri = f"rtsp://eve:{password}@cam.local/s"
    with pytest.raises(SourceError, match="percent-encoded") as told:
        open_source(uri, SourceOptions(), FakeClock())
    assert password not in str(told.value)
    assert "eve" not in str(told.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://nobody.invalid/clip.mp4", "unknown host nobody.invalid"),
        ("http://eve:12#34@127.0.0.1/clip.mp4", "percent-encoded"),
    ],
)
def test_an_unknown_host_is_said_to_be_one(uri, words, monkeypatch):
    def lookup(host, *_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def fail(*_, **__):
        raise SourceError("Input/output error")

    monkeypatch.setattr(network.socket, "getaddrinfo", lookup)
    monkeypatch.setattr(network, "SupervisedSource", fail)
    with pytest.raises(SourceError, match=words) as told:
        open_source(uri, SourceOptions(), FakeClock())
    assert "12#34" not in str(told.value)


def test_another_failure_stays_as_it_is(monkeypatch):
    def fail(*_, **__):
        raise SourceError("401 Unauthorized")

    monkeypatch.setattr(network, "SupervisedSource", fail)
    with pytest.raises(SourceError, match="401"):
        open_source("http://127.0.0.1/clip.mp4", SourceOptions(), FakeClock())


def test_a_short_secret_does_not_spoil_the_text():
    assert redact_text("pin 1 is wrong, again in 10 s", "http://h/x?pin=1") == "pin *** is wrong, again in 10 s"


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12), SECRETS)
def test_no_value_of_an_unknown_name_survives(name, secret):
    assume(name.lower() not in redact._HARMLESS and not any(c in secret for c in "&;"))
    for uri in (f"http://cam.local/x?{name}={secret}", f"http://cam.local/x?width=3&{name}={secret}&height=4"):
        assert secret not in redact_uri(uri) or secret in uri.replace(secret, "", 1)
        assert redact_uri(redact_uri(uri)) == redact_uri(uri)


# states and restarts


def test_every_transition_is_legal_or_refused():
    paths = {SourceState.OPENING: []}
    while len(paths) < len(SourceState):
        for state, path in list(paths.items()):
            for following in LEGAL_TRANSITIONS[state]:
                paths.setdefault(following, [*path, following])
    for state, path in paths.items():
        for target in SourceState:
            box = SourceStateBox()
            for step in path:
                box.to(step)
            if target is state or target in LEGAL_TRANSITIONS[state]:
                box.to(target)
                assert box.state is target
            else:
                with pytest.raises(RuntimeError, match=f"from {state.value} to {target.value}"):
                    box.to(target)


def test_finishing_happens_once():
    box = SourceStateBox()
    box.to(SourceState.STREAMING)
    box.finish(SourceState.FAILED)
    box.finish(SourceState.ENDED)
    assert box.state is SourceState.FAILED


def test_restarts_back_off_and_run_out():
    budget = RestartBudget(ReconnectOptions(0.5, 3.0, max_restarts=5, window_s=100.0))
    assert [budget.next_delay_s(0) for _ in range(6)] == [0.5, 1.0, 2.0, 3.0, 3.0, None]
    after_window_ns = round(101e9)
    budget.succeeded()
    assert budget.next_delay_s(after_window_ns) == 0.5


def test_success_resets_the_delay_but_not_the_count():
    budget = RestartBudget(ReconnectOptions(0.5, 3.0, max_restarts=3, window_s=100.0))
    delays = []
    for second in range(4):
        delays.append(budget.next_delay_s(second * 10**9))
        budget.succeeded()
    assert delays == [0.5, 0.5, 0.5, None]


# shared slots and messages


def test_a_ring_carries_images_between_two_maps_and_leaves_no_file():
    writer = FrameRing.create(2, 4 * 5 * 3)
    reader = FrameRing.attach(writer.path, 2, 60)
    reader.unlink()
    assert not writer.path.exists()
    images = [np.random.default_rng(i).integers(0, 255, (4, 5, 3), dtype=np.uint8) for i in range(2)]
    for slot, image in enumerate(images):
        writer.write(slot, image)
    for slot, image in enumerate(images):
        np.testing.assert_array_equal(reader.read(slot, 4, 5), image)
    for slot, height, width in ((2, 4, 5), (-1, 4, 5), (0, 5, 5), (0, 0, 5), (0, -4, -5)):
        with pytest.raises(ValueError, match="cannot hold"):
            reader.read(slot, height, width)
    reader.close()
    writer.close()


def test_a_ring_smaller_than_announced_is_refused():
    ring = FrameRing.create(1, 100)
    with pytest.raises(OSError, match="smaller than 2 slots"):
        FrameRing.attach(ring.path, 2, 100)
    remove_rings_of(os.getpid())
    assert not ring.path.exists()
    ring.close()


def test_a_full_shared_memory_is_left_for_the_temporary_folder(monkeypatch, tmp_path):
    shared, spare = tmp_path / "shm", tmp_path / "tmp"
    shared.mkdir()
    spare.mkdir()
    monkeypatch.setattr("spark3r_stream.sources.ring._folders", lambda: [str(shared), str(spare)])
    reserve = os.posix_fallocate

    def full_at_first(descriptor: int, offset: int, size: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent == shared:
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", full_at_first)
    ring = FrameRing.create(2, 100)
    assert ring.path.parent == spare
    assert list(shared.iterdir()) == []
    ring.close()


def test_slots_of_an_old_ring_mean_nothing():
    book = SlotBook()
    first = book.new_ring()
    taken = [book.take(wait=False) for _ in range(SLOTS)]
    assert taken == list(range(SLOTS))
    assert book.take(wait=False) is None
    book.give_back(first, 2)
    book.give_back(first, 2)
    book.give_back(first, SLOTS)
    assert [book.take(wait=False), book.take(wait=False)] == [2, None]
    second = book.new_ring()
    assert [book.take(wait=False) for _ in range(SLOTS)] == list(range(SLOTS))
    book.give_back(first, 1)
    assert book.take(wait=False) is None
    book.give_back(second, 1)
    assert book.take(wait=False) == 1


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.none() | st.text(max_size=5)), st.binary(max_size=200))
def test_pipe_messages_round_trip_and_end_at_any_cut(header, payload):
    stream = io.BytesIO()
    pipe.send(stream, header, payload)
    whole = stream.getvalue()
    assert pipe.receive(io.BytesIO(whole)) == (header, payload)
    for cut in range(0, len(whole), 7):
        assert pipe.receive(io.BytesIO(whole[:cut])) is None


def test_absurd_lengths_are_not_allocated():
    assert pipe.receive(io.BytesIO(b"\xff" * 64)) is None


def test_an_orphaned_child_ends():
    child = subprocess.Popen(
        [sys.executable, "-m", "spark3r_stream.sources.decoder_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdin is not None
    assert child.stdout is not None
    config = {"target": "udp://127.0.0.1:9", "format": None, "options": {}, "single_thread": False}
    config |= {"open_timeout_s": 3600.0, "read_timeout_s": 3600.0, "lossless": False, "packets": False}
    pipe.send(child.stdin, config)
    assert pipe.receive(child.stdout) == ({"type": "ready"}, b"")  # now it waits for a stream that never comes
    child.stdin.close()
    assert child.wait(20) == 0
    child.stdout.close()


# options and devices


def test_ffmpeg_options_by_scheme():
    options = SourceOptions(rtsp_transport=RtspTransport.UDP, read_timeout_s=1.5)
    rtsp = ffmpeg_options("rtsp", True, options)
    assert (rtsp["rtsp_transport"], rtsp["timeout"]) == ("udp", "1500000")
    assert ffmpeg_options("http", False, options) == {"rw_timeout": "1500000"}


def test_cameras_are_listed_from_sysfs(tmp_path):
    for node, name, index in (("video10", "Top", "0"), ("video2", "Front", "0"), ("video3", "Front meta", "1")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "name").write_text(name + "\n")
        (tmp_path / node / "index").write_text(index + "\n")
    (tmp_path / "v4l-subdev0").mkdir()
    found = list_cameras(tmp_path)
    assert [(c.uri, c.path, c.name) for c in found] == [
        ("webcam:2", "/dev/video2", "Front"),
        ("webcam:10", "/dev/video10", "Top"),
    ]
    assert list_cameras(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("uri", "platform", "expected_url", "expected_format", "pixel_format_key"),
    [
        ("webcam:1", "linux", "/dev/video1", "v4l2", "input_format"),
        ("/dev/video7", "linux", "/dev/video7", "v4l2", "input_format"),
        (
            "/dev/v4l/by-id/usb-Cam_01-video-index0",
            "linux",
            "/dev/v4l/by-id/usb-Cam_01-video-index0",
            "v4l2",
            "input_format",
        ),
        ("webcam:/dev/v4l/by-path/pci-1", "linux", "/dev/v4l/by-path/pci-1", "v4l2", "input_format"),
        ("webcam:0", "darwin", "0:none", "avfoundation", "pixel_format"),
        ("webcam:HD Cam", "win32", "video=HD Cam", "dshow", "vcodec"),
    ],
)
def test_device_targets(uri, platform, expected_url, expected_format, pixel_format_key):
    url, format, options = device_target(uri, CameraOptions((640, 480), 15.0, "mjpeg"), platform)
    assert (url, format) == (expected_url, expected_format)
    assert options == {"video_size": "640x480", "framerate": "15", pixel_format_key: "mjpeg"}


def test_defaults_leave_the_choice_to_the_driver():
    assert device_target("webcam:0", CameraOptions(), "linux") == ("/dev/video0", "v4l2", {})
    assert device_target("webcam:0", CameraOptions(), "darwin")[2] == {"framerate": "30"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("webcam:99", "there is no /dev/video99; cameras found: "),
        ("/dev/v4l/by-id/none", "there is no /dev/v4l/by-id/none; cameras found: "),
        ("webcam:front", "expected webcam:N or /dev/videoN"),
        ("gopher://h/x", "unknown scheme 'gopher'"),
        ("gopher://eve:pa55@h/x", "gopher://***@h/x"),
        ("", "no source given"),
    ],
)
def test_what_is_no_source_is_one_line(uri, expected):
    with pytest.raises(SourceError) as caught:
        open_source(uri, SourceOptions(), SystemClock())
    assert expected in str(caught.value)


def test_a_device_that_is_no_camera_is_one_line(tmp_path):
    from spark3r_stream.sources.base import SourceKind
    from spark3r_stream.sources.decoder_process import DecodeTarget
    from spark3r_stream.sources.supervised import SupervisedSource

    target = DecodeTarget("/dev/null", False, 5.0, 5.0, format="v4l2")
    with pytest.raises(SourceError, match="webcam:0 cannot be opened: ") as caught:
        SupervisedSource(
            "webcam:0",
            SourceKind.CAMERA,
            target,
            SystemClock(),
            is_live=True,
            reconnect=ReconnectOptions(),
            on_packet=None,
        )
    assert "\n" not in str(caught.value)
