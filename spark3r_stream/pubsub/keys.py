"""CURVE keys as files: who this side is, which clients a publisher admits, which publisher a client trusts.

    DIR/secret.key        this side's secret key, for its owner's eyes only (mode 0600)
    DIR/public.key        what to give to the other side
    DIR/allowed_clients   on the publisher's side: the public keys it admits, one a line, a name after it if you like

Who can write to the folder or to the list admits whom they like: neither may be writable by other users.
Keys are Z85 text of 40 characters (ZeroMQ RFC 32). `#` is one of its characters: a comment is `#` and a space.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from spark3r_stream.errors import KeyFileError

SECRET_FILE = "secret.key"
PUBLIC_FILE = "public.key"
ALLOWED_FILE = "allowed_clients"
KEY_CHARACTERS = 40
_ALLOWED_HEADER = "# Public keys of clients that may connect, one a line; a name may follow. Read at each connection.\n"


@dataclass(frozen=True)
class KeyPair:
    """Both keys of one side, Z85. The secret never shows in a repr."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class ServerSecurity:
    """A publisher's side: its keys, and the file of clients it admits (those with its own keys are always admitted)."""

    keys: KeyPair
    allowed_path: Path

    @staticmethod
    def from_directory(directory: Path) -> ServerSecurity:
        """Raises KeyFileError for missing or exposed keys, and for a list of clients that cannot be read or that others
        can write."""
        security = ServerSecurity(load_keys(directory), directory / ALLOWED_FILE)
        security.allowed()
        return security

    def allowed(self) -> dict[bytes, str]:
        """Name by public key, as the file says now. Raises KeyFileError for a line that is neither key nor comment."""
        found = {}
        _refuse_writable_by_others(self.allowed_path)
        for number, line in enumerate(_read(self.allowed_path).splitlines(), 1):
            key, name = (*line.split(maxsplit=1), "", "")[:2]
            if key not in ("", "#"):
                found[parse_key(key, f"{self.allowed_path} line {number}")] = name.strip()
        return found

    def admits(self, public: bytes) -> bool:
        """Whether a client with this key may connect. The file is read each time, so that it can change meanwhile."""
        if public == self.keys.public:
            return True
        try:
            _refuse_writable_by_others(self.allowed_path)
            lines = _read(self.allowed_path).splitlines()
        except KeyFileError:
            return False
        return any(line.split(maxsplit=1)[:1] == [public.decode()] for line in lines)

    def protect(self, sock: zmq.Socket[bytes]) -> None:
        """Make a socket of this side, before it is bound, refuse whoever `admits` refuses (handshake.zap_answer)."""
        sock.setsockopt(zmq.CURVE_SERVER, 1)
        sock.setsockopt(zmq.CURVE_SECRETKEY, self.keys.secret)
        sock.setsockopt(zmq.ZAP_DOMAIN, b"spark3r")


@dataclass(frozen=True)
class ClientSecurity:
    """A subscriber's side: its keys, and the public key of the only publisher it talks to."""

    keys: KeyPair
    server_key: bytes

    @staticmethod
    def from_directory(directory: Path, server_key: str | None = None) -> ClientSecurity:
        """server_key: the key or a file that holds it; None: the one in `directory` (on the publisher's machine).

        Raises KeyFileError for missing or exposed keys.
        """
        keys = load_keys(directory)
        return ClientSecurity(keys, keys.public if server_key is None else key_or_file(server_key))

    def protect(self, sock: zmq.Socket[bytes]) -> None:
        """Make a socket, before it connects, talk to the owner of `server_key` only, encrypted."""
        sock.setsockopt(zmq.CURVE_SERVERKEY, self.server_key)
        sock.setsockopt(zmq.CURVE_PUBLICKEY, self.keys.public)
        sock.setsockopt(zmq.CURVE_SECRETKEY, self.keys.secret)


def create_keys(directory: Path) -> KeyPair:
    """Make a pair and write its files, the list of clients included. Never replaces a key: raises KeyFileError then."""
    if not zmq.has("curve"):
        raise KeyFileError("this build of ZeroMQ has no CURVE; install pyzmq from PyPI")
    public, secret = zmq.curve_keypair()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_writable_by_others(directory)
        _write_new(directory / SECRET_FILE, secret + b"\n", 0o600)
        with contextlib.suppress(FileNotFoundError):  # the public key of a secret that is gone
            (directory / PUBLIC_FILE).unlink()
        _write_new(directory / PUBLIC_FILE, public + b"\n", 0o644)
        if not (directory / ALLOWED_FILE).exists():
            _write_new(directory / ALLOWED_FILE, _ALLOWED_HEADER.encode(), 0o644)
    except FileExistsError:
        raise KeyFileError(
            f"{directory / SECRET_FILE} exists and is not replaced; remove it or give another --dir"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot write keys to {directory}: {error.strerror}") from None
    return KeyPair(public, secret)


def load_keys(directory: Path) -> KeyPair:
    """The pair of a directory. Raises KeyFileError if there is none, or if others can read the secret."""
    path = directory / SECRET_FILE
    _refuse_writable_by_others(directory)
    secret = parse_key(_read(path).strip(), str(path))
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by other users; chmod 600 it, or make new keys if they have read it")
    return KeyPair(zmq.curve_public(secret), secret)


def key_or_file(text: str) -> bytes:
    """A public key given as itself or as the file that holds it. Raises KeyFileError for anything else."""
    is_file = False
    with contextlib.suppress(OSError, ValueError):  # a name too long for a file
        is_file = Path(text).is_file()
    return parse_key(_read(Path(text)).strip(), text) if is_file else parse_key(text, "the server key")


def parse_key(text: str, where: str) -> bytes:
    """Raises KeyFileError, with `where` in its message and never the text (it may be a secret), unless a Z85 key."""
    try:
        if len(text) == KEY_CHARACTERS and len(z85.decode(text.encode("ascii"))) == 32:
            return text.encode("ascii")
    except Exception:  # whatever pyzmq raises for a wrong character
        pass
    raise KeyFileError(f"{where} is neither a key of {KEY_CHARACTERS} characters (Z85) nor a file that holds one")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise KeyFileError(f"cannot read {path}: {reason}; `spark3r keys new` makes keys") from None


def _refuse_writable_by_others(path: Path) -> None:
    """Raises KeyFileError if anybody but this user (and root) could change the file or folder. Missing ones pass: what
    reads them says so."""
    try:
        found = path.stat()
    except OSError:
        return
    if os.name != "posix":
        return
    if found.st_mode & 0o022:
        raise KeyFileError(f"{path} can be written by other users, who could admit anybody; chmod go-w it")
    if os.getuid() not in (0, found.st_uid) and found.st_uid != 0:
        raise KeyFileError(f"{path} belongs to another user, who could admit anybody; use one of yours")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
