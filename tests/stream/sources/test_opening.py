"""What opening a source asks of FFmpeg and the driver, and the one line that says why it failed."""

from __future__ import annotations

import socket

import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources import CameraOptions, ReconnectOptions, RtspTransport, SourceOptions, network, open_source
from spark3r_stream.sources.camera import device_target, list_cameras
from spark3r_stream.sources.network import ffmpeg_options
from tests.helpers import FakeClock


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
