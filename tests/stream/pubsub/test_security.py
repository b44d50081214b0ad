"""Keys: who has the right one receives on both sockets, everyone else receives nothing and is told why at once."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from spark3r_stream.cli.keys import keys_command
from spark3r_stream.errors import AuthError, KeyFileError, PublishError
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import peer_mechanism, zap_answer
from spark3r_stream.pubsub.keys import ClientSecurity, ServerSecurity, create_keys, key_or_file, load_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from tests.helpers_wire import SESSION, every_kind, frames, make_sealer
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S

ROOT = Path(__file__).parents[3]
SOON_S = 0.3  # silence that long after everyone else has the message is taken for refusal


class Keys:
    """Directories of keys of a publisher, of a client it admits, and of a stranger."""

    def __init__(self, root: Path) -> None:
        self.server, self.friend, self.stranger = (root / name for name in ("server", "friend", "stranger"))
        for directory in (self.server, self.friend, self.stranger):
            create_keys(directory)
        self.admit(self.friend)

    def admit(self, client: Path) -> None:
        with (self.server / "allowed_clients").open("a") as file:
            file.write(f"{load_keys(client).public.decode()} {client.name}\n")

    def client(self, directory: Path, server_key: str | None = None) -> ClientSecurity:
        return ClientSecurity.from_directory(directory, server_key or str(self.server / "public.key"))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@contextlib.contextmanager
def secured(keys: Keys, endpoint: str = ANY_PORT) -> Iterator[Publisher]:
    security = ServerSecurity.from_directory(keys.server)
    with Publisher(endpoint, SESSION, security=security, snapshot=SnapshotKeeper()) as publisher:
        yield publisher


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_the_right_key_works_on_both_sockets(keys: Keys, scheme: str, tmp_path: Path) -> None:
    endpoint = ANY_PORT if scheme == "tcp" else f"ipc://{tmp_path}/s"
    with secured(keys, endpoint) as publisher:
        sealer = make_sealer()
        before, after = frames(sealer, range(2))
        publisher.send(before)
        with Subscriber(publisher.endpoint, security=keys.client(keys.friend)) as friend:
            assert [pose.frame_id for pose in friend.join(WAIT_S).trajectory] == [0]
            publisher.send(after)
            assert [friend.poll(WAIT_S) for _ in after] == after


def test_who_runs_on_the_publishers_machine_uses_the_publishers_keys(keys: Keys) -> None:
    with (
        secured(keys) as publisher,
        Subscriber(publisher.endpoint, security=ClientSecurity.from_directory(keys.server)) as own,
    ):
        assert own.join(WAIT_S).session_id == SESSION


@pytest.mark.parametrize("case", ["unknown client", "wrong server key", "no key"])
def test_who_has_no_right_key_receives_nothing_and_is_told(keys: Keys, case: str) -> None:
    security = {
        "unknown client": keys.client(keys.stranger),
        "wrong server key": keys.client(keys.friend, str(keys.stranger / "public.key")),
        "no key": None,
    }[case]
    told = {
        "unknown client": f"refused this key: {load_keys(keys.stranger).public.decode()}",
        "wrong server key": "does not have the secret of the server key",
        "no key": "--keys and --server-key",
    }[case]
    with secured(keys) as publisher:
        publisher.send(make_sealer().seal(every_kind()))
        with Subscriber(publisher.endpoint, security=security) as refused:
            with pytest.raises(AuthError) as error:
                refused.join(WAIT_S)
            assert told in str(error.value)
            with pytest.raises(AuthError):  # and stays told
                refused.wait_connected(WAIT_S)
            assert refused.session_id is None
            assert sum(refused.received.values()) == refused.connections == 0
        assert publisher.subscribers == 0


def test_a_client_that_encrypts_does_not_talk_to_a_publisher_that_does_not(keys: Keys) -> None:
    with (
        Publisher(ANY_PORT, SESSION) as publisher,
        Subscriber(publisher.endpoint, security=keys.client(keys.friend)) as subscriber,
    ):
        with pytest.raises(AuthError):
            subscriber.poll(WAIT_S)
        assert subscriber.session_id is None


def test_raw_sockets_without_a_key_get_nothing_on_either_port(keys: Keys) -> None:
    with secured(keys) as publisher:
        context = zmq.Context()
        try:
            stream, asking = context.socket(zmq.SUB), context.socket(zmq.DEALER)
            stream.subscribe(b"")
            stream.connect(publisher.endpoint)
            asking.connect(endpoints.snapshot_address(publisher.endpoint))
            asking.send(b"")
            with Subscriber(publisher.endpoint, security=keys.client(keys.friend)) as friend:
                friend.join(WAIT_S)
                publisher.send(make_sealer().seal(every_kind()))
                assert friend.poll(WAIT_S) is not None
            assert not stream.poll(1000 * SOON_S)
            assert not asking.poll(1000 * SOON_S)
        finally:
            context.destroy(linger=0)


def test_a_client_added_later_is_admitted_and_one_removed_is_not(keys: Keys) -> None:
    with secured(keys) as publisher:
        keys.admit(keys.stranger)
        with Subscriber(publisher.endpoint, security=keys.client(keys.stranger)) as newcomer:
            assert newcomer.wait_connected(WAIT_S)
        (keys.server / "allowed_clients").unlink()
        with (
            Subscriber(publisher.endpoint, security=keys.client(keys.friend)) as removed,
            pytest.raises(AuthError, match="refused this key"),
        ):
            removed.wait_connected(WAIT_S)


def test_a_forwarded_port_with_nobody_behind_it_yet_is_waited_for() -> None:
    """What Docker and ssh do before the publisher listens: accept, then hang up. That is no refusal."""
    with socket.create_server(("127.0.0.1", 0)) as forwarding:
        forwarding.settimeout(WAIT_S)
        endpoint = f"tcp://127.0.0.1:{forwarding.getsockname()[1]}"
        hung_up = []

        def hang_up() -> None:
            for _ in range(5):  # three failures, and two looks at who is there
                connection, _ = forwarding.accept()
                connection.close()
                hung_up.append(connection)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with Subscriber(endpoint) as subscriber:
            while thread.is_alive():
                assert subscriber.poll(0.1) is None
        thread.join()
    assert len(hung_up) == 5


def test_a_peer_says_which_mechanism_it_wants(keys: Keys, tmp_path: Path) -> None:
    with secured(keys) as publisher, Publisher(f"ipc://{tmp_path}/plain", SESSION) as plain:
        assert peer_mechanism(publisher.endpoint) == "CURVE"
        assert peer_mechanism(plain.endpoint) == "NULL"
    assert peer_mechanism(f"ipc://{tmp_path}/nobody") is None
    assert peer_mechanism("tcp://127.0.0.1:1") is None


def test_only_keys_open_other_addresses(keys: Keys) -> None:
    with pytest.raises(PublishError, match="--keys"):
        Publisher("tcp://0.0.0.0:*", SESSION)
    with (
        secured(keys, "tcp://0.0.0.0:*") as publisher,
        Subscriber(publisher.endpoint) as nobody,
        pytest.raises(AuthError),
    ):
        nobody.wait_connected(WAIT_S)


def test_the_gate_admits_nothing_but_curve_keys_on_the_list() -> None:
    key = bytes(32)

    def status(*request: bytes) -> bytes:
        return zap_answer(request, lambda _: True)[2]

    assert status(b"1.0", b"7", b"spark3r", b"10.0.0.9", b"", b"CURVE", key) == b"200"
    assert zap_answer([b"1.0", b"7", b"spark3r", b"", b"", b"CURVE", key], lambda _: False)[1:3] == [b"7", b"400"]
    assert status(b"1.0", b"7", b"spark3r", b"", b"", b"NULL") == b"400"
    assert status(b"1.0", b"7", b"spark3r", b"", b"", b"PLAIN", b"user", b"password") == b"400"
    assert status(b"2.0", b"7", b"spark3r", b"", b"", b"CURVE", key) == b"400"
    assert status(b"1.0", b"7", b"spark3r", b"", b"", b"CURVE", key[1:]) == b"400"
    assert status() == b"400"


def test_key_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "new" / "keys"
    assert keys_command("new", directory) == 0
    public = capsys.readouterr().out.strip()
    pair = load_keys(directory)
    secret = directory / "secret.key"
    assert public == pair.public.decode()
    assert pair.secret.decode() not in repr(pair) + repr(ServerSecurity.from_directory(directory))
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert key_or_file(str(directory / "public.key")) == key_or_file(public) == pair.public
    with pytest.raises(KeyFileError, match="not replaced"):
        keys_command("new", directory)
    assert load_keys(directory) == pair
    (directory / "allowed_clients").write_text(f"# mine\n\n{public}\trobot 7\n")
    assert ServerSecurity.from_directory(directory).allowed() == {pair.public: "robot 7"}
    assert keys_command("show", directory) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == public
    assert "robot 7" in shown.err
    assert pair.secret.decode() not in shown.out + shown.err


def test_bad_key_files_are_one_clear_error(keys: Keys) -> None:
    with pytest.raises(KeyFileError, match="keys new"):
        load_keys(keys.server / "nowhere")
    with pytest.raises(KeyFileError, match="server key is neither"):
        keys.client(keys.friend, "not a key")
    with pytest.raises(KeyFileError, match="server key is neither"):
        keys.client(keys.friend, "~" * 40)
    (keys.server / "allowed_clients").write_text("# fine\nsomebody\n")
    with pytest.raises(KeyFileError, match="allowed_clients line 2"):
        ServerSecurity.from_directory(keys.server)
    secret = keys.friend / "secret.key"
    secret.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_keys(keys.friend)
    secret.write_text(load_keys(keys.stranger).secret.decode()[:-1])
    with pytest.raises(KeyFileError) as error:
        load_keys(keys.friend)
    assert secret.read_text() not in str(error.value)


CLIENT = """
import sys
from pathlib import Path
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
endpoint, server_key, keys = sys.argv[1:]
security = ClientSecurity.from_directory(Path(keys), server_key) if keys else None
with Subscriber(endpoint, ["/frame/"], security=security) as subscriber:
    try:
        print("received", len(subscriber.join(20).trajectory))
    except Exception as error:
        print(type(error).__name__, sum(subscriber.received.values()), subscriber.connections)
"""
# Asks the snapshot port directly, as one would who skips the stream's.
RAW = """
import sys, zmq
stream, port = sys.argv[1:3]
context = zmq.Context()
sub, dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
sub.subscribe(b"")
sub.connect(stream)
dealer.connect(port)
dealer.send(b"")
wait_ms = int(sys.argv[3])
print("stream", sub.poll(wait_ms), "snapshot", dealer.poll(wait_ms))
context.destroy(linger=0)
"""


@pytest.fixture
def other_machine() -> Iterator[tuple[str, list[str]]]:
    """A network namespace with an address of its own: (address it reaches us at, command prefix to run there)."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a network namespace")
    name = f"s3r{os.getpid()}"
    net = f"10.{os.getpid() // 250 % 250}.{os.getpid() % 250}"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        try:
            ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no virtual network devices here: {error.stderr.strip()}")
        ip("addr", "add", f"{net}.1/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", f"{net}.2/30", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        yield f"{net}.1", ["ip", "netns", "exec", name]
    finally:
        ip("netns", "del", name)  # its end of the pair goes, and with it ours


@pytest.mark.namespaces
def test_another_machine_needs_a_key(keys: Keys, other_machine: tuple[str, list[str]]) -> None:
    address, there = other_machine
    server_key = str(keys.server / "public.key")

    def run_there(code: str, *arguments: str) -> str:
        command = [*there, sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    with secured(keys, f"tcp://{address}:*") as publisher:
        publisher.send(frames(make_sealer(), [0])[0])
        assert run_there(CLIENT, publisher.endpoint, server_key, str(keys.friend)) == "received 1"
        assert run_there(CLIENT, publisher.endpoint, server_key, str(keys.stranger)) == "AuthError 0 0"
        assert run_there(CLIENT, publisher.endpoint, server_key, "") == "AuthError 0 0"
        port = endpoints.snapshot_address(publisher.endpoint)
        assert run_there(RAW, publisher.endpoint, port, "600") == "stream 0 snapshot 0"
    with Publisher(f"tcp://{address}:*", SESSION, insecure=True, snapshot=SnapshotKeeper()) as publisher:
        # the same stranger, the same cable: without keys everything is open, so what held above were the keys
        port = endpoints.snapshot_address(publisher.endpoint)
        assert run_there(RAW, publisher.endpoint, port, "10000") == "stream 1 snapshot 1"
    with Publisher(ANY_PORT, SESSION) as local:
        port = local.endpoint.rpartition(":")[2]
        assert run_there(RAW, f"tcp://{address}:{port}", f"tcp://{address}:{port}", "300") == "stream 0 snapshot 0"
