"""The page for Prometheus: read over HTTP while a run goes on, parsed by Prometheus' own parser."""

import logging
import re
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import StreamError
from spark3r_stream.metrics.families import Measured, families
from spark3r_stream.metrics.server import MOST_CLIENTS, MetricsServer, metrics_address
from spark3r_stream.running.run import opened_run
from spark3r_stream.stats import LatencyHistogram
from spark3r_stream.wire.messages import SessionState, Status, TrackingState
from tests.helpers_media import moving_images, write_video

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_run_is_seen_while_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(6, 128, 96))
    config = RunConfig(str(video), weights="random", size=96, metrics="0")
    with caplog.at_level(logging.INFO, "spark3r_stream"), opened_run(config, threading.Event()) as run:
        url = next(
            m[1] for m in (re.search(r"metrics on (http://127.0.0.1:\d+/metrics)", t) for t in caplog.messages) if m
        )
        camera = str(video)
        before = scraped(url)
        assert value(before, "spark3r_frames_total", camera=camera, outcome="valid") == 0
        seen = sum(len(step.frames) for step in run.steps())
        after = scraped(url)
    assert seen == 6
    assert sum(value(after, "spark3r_frames_total", camera=camera, outcome=o) for o in ("valid", "failed")) == 6
    assert value(after, "spark3r_latency_seconds_count", camera=camera) == 6
    assert value(after, "spark3r_latency_seconds_bucket", camera=camera, le="+Inf") == 6
    assert value(after, "spark3r_keyframes_total", camera=camera) >= 1
    assert value(after, "spark3r_run_info", camera=camera, source=camera, model="bundled") == 1
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        scraped(url)


def test_what_is_counted_is_what_is_shown() -> None:
    latency = LatencyHistogram()
    for ms in (1, 8, 40, 40, 99_000):
        latency.add_ns(ms * 1_000_000)
    status = Status(
        SessionState.STALLED, "rtsp://gate", frames_processed=40, frames_failed=2, drops={"superseded": 3},
        tracking=TrackingState.LOST, epoch=2, map_bytes=5000, uptime_ns=2_500_000_000,
    )  # fmt: skip
    server = MetricsServer(("127.0.0.1", 0))
    measured = [Measured("gate", status, 7, latency), Measured('a"b\\', Status(SessionState.OPENING), 0, latency)]
    server.serve(lambda: families(measured))
    try:
        samples = scraped(server.url)
    finally:
        server.close()
        server.close()
    assert value(samples, "spark3r_frames_total", camera="gate", outcome="failed") == 2
    assert value(samples, "spark3r_frames_lost_total", camera="gate", cause="superseded") == 3
    assert value(samples, "spark3r_keyframes_total", camera="gate") == 7
    assert value(samples, "spark3r_reconnects_total", camera="gate") == 2
    assert value(samples, "spark3r_map_bytes", camera="gate") == 5000
    assert value(samples, "spark3r_uptime_seconds", camera="gate") == 2.5
    assert value(samples, "spark3r_state", camera="gate", state="stalled") == 1
    assert value(samples, "spark3r_state", camera="gate", state="running") == 0
    assert value(samples, "spark3r_tracking", camera="gate", state="lost") == 1
    assert value(samples, "spark3r_state", camera='a"b\\', state="opening") == 1
    buckets = [
        value(samples, "spark3r_latency_seconds_bucket", camera="gate", le=le)
        for le in ("0.005", "0.01", "0.05", "+Inf")
    ]
    assert buckets == [1, 2, 4, 5]
    assert value(samples, "spark3r_latency_seconds_sum", camera="gate") == pytest.approx(99.089)
    assert value(samples, "process_resident_memory_bytes") > 0


def test_clients_that_say_nothing_do_not_keep_others_out_for_ever() -> None:
    server = MetricsServer(("127.0.0.1", 0))
    server.serve(list)
    port = int(re.search(r":(\d+)/", server.url)[1])  # type: ignore[index]
    try:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_CLIENTS)]
        with socket.create_connection(("127.0.0.1", port)) as one_too_many:
            one_too_many.settimeout(10)
            assert one_too_many.recv(1) == b""
        for one in silent:
            one.close()
        for _ in range(200):
            try:
                assert scraped(server.url)
                break
            except (urllib.error.URLError, ConnectionError):
                continue
        else:
            pytest.fail("nobody is let in any more")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", ("127.0.0.1", 9100)),
        (":0", ("127.0.0.1", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:5", ("::1", 5)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert metrics_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "a:b", "0.0.0.0:9100", "example.org:80"]
)
def test_wrong_addresses_and_those_that_others_reach_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics"):
        metrics_address(text)


def test_others_may_be_let_in_and_a_port_in_use_is_named() -> None:
    assert metrics_address("0.0.0.0:9100", insecure=True) == ("0.0.0.0", 9100)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(StreamError, match=r"--metrics 127.0.0.1:\d+ cannot"),
    ):
        MetricsServer(("127.0.0.1", taken.getsockname()[1]))
