"""Addresses: in use, open to others, malformed, with nobody behind them."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import pytest

from spark3r_stream.errors import PublishError, WireError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from tests.helpers_wire import SESSION
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_an_endpoint_in_use_is_one_clear_error(scheme: str, tmp_path: Path) -> None:
    endpoint = ANY_PORT if scheme == "tcp" else f"ipc://{tmp_path}/s"
    with Publisher(endpoint, SESSION) as first:
        with pytest.raises(PublishError, match="in use by another program"):
            Publisher(first.endpoint, uuid.uuid4())
        with Subscriber(first.endpoint) as subscriber:
            assert subscriber.wait_connected(WAIT_S), "the first one must not suffer"
    with Publisher(first.endpoint, SESSION):
        pass  # free again, a left-over socket file included


@pytest.mark.parametrize("endpoint", ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://192.168.1.4:5555", "tcp://eth0:5555"])
def test_an_address_others_can_reach_needs_permission(endpoint: str) -> None:
    with pytest.raises(PublishError, match="--insecure"):
        Publisher(endpoint, SESSION)


def test_permission_opens_it() -> None:
    with (
        Publisher("tcp://0.0.0.0:*", SESSION, insecure=True) as publisher,
        Subscriber(publisher.endpoint.replace("0.0.0.0", "127.0.0.1")) as subscriber,
    ):
        assert subscriber.wait_connected(WAIT_S)


PORTS = ("", ":x", ":70000", ":0")


@pytest.mark.parametrize(
    "endpoint", ["", "5555", "tcp://", "http://a:1", *(f"tcp://127.0.0.1{port}" for port in PORTS)]
)
def test_a_malformed_endpoint_is_one_clear_error(endpoint: str) -> None:
    with pytest.raises(PublishError, match="cannot publish on"):
        Publisher(endpoint, SESSION)


def test_localhost_and_ipv6_are_loopback() -> None:
    hosts = ["localhost"]
    if socket.has_ipv6:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
            hosts.append("[::1]")
        except OSError:
            pass  # a kernel without IPv6
    for host in hosts:
        with Publisher(f"tcp://{host}:*", SESSION) as publisher, Subscriber(publisher.endpoint) as subscriber:
            assert subscriber.wait_connected(WAIT_S)


def test_a_wrong_subscription_is_one_clear_error() -> None:
    with pytest.raises(WireError, match="unknown topic '/frames/'"):
        Subscriber("tcp://127.0.0.1:1", ["/frames/"])
    with pytest.raises(WireError, match="cannot subscribe to 'nonsense'"):
        Subscriber("nonsense")


def test_without_a_publisher_nothing_hangs() -> None:
    with Subscriber("tcp://127.0.0.1:1", timeout_s=0.01) as subscriber:
        assert not subscriber.wait_connected(0.05)
        assert list(subscriber) == []
        assert subscriber.latest(timeout_s=0.01) is None
        assert subscriber.age_s is None
