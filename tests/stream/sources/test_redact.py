"""No password, stream key or token is shown, and what is none stays readable."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spark3r_stream.errors import SourceError
from spark3r_stream.sources import SourceOptions, open_source, redact
from spark3r_stream.sources.redact import redact_text, redact_uri
from tests.helpers import FakeClock


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


def test_a_short_secret_does_not_spoil_the_text():
    assert redact_text("pin 1 is wrong, again in 10 s", "http://h/x?pin=1") == "pin *** is wrong, again in 10 s"


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12), SECRETS)
def test_no_value_of_an_unknown_name_survives(name, secret):
    assume(name.lower() not in redact._HARMLESS and not any(c in secret for c in "&;"))
    for uri in (f"http://cam.local/x?{name}={secret}", f"http://cam.local/x?width=3&{name}={secret}&height=4"):
        assert secret not in redact_uri(uri) or secret in uri.replace(secret, "", 1)
        assert redact_uri(redact_uri(uri)) == redact_uri(uri)
