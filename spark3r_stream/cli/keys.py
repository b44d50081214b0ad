"""`spark3r keys`: make and show the keys of this machine (docs/security.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from spark3r_core.user_paths import config_dir, expand_home, former_config_dir
from spark3r_stream.config import ConfigError
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import (
    ALLOWED_FILE,
    PUBLIC_FILE,
    SECRET_FILE,
    ClientSecurity,
    ServerSecurity,
    create_keys,
)


def keys_command(action: Literal["new", "show"], given: Path | None) -> int:
    """The public key goes to stdout, alone, so that it can be piped into another machine's list; the rest to stderr."""
    folder = given or config_dir()
    if folder is None:
        raise ConfigError("this user has no home folder, where keys would be; give one with --dir")
    directory = folder / "keys" if given is None else expand_home(folder)
    former = former_config_dir()
    if given is None and former is not None and not directory.exists() and (former / "keys").is_dir():
        directory = former / "keys"  # made by an earlier version
    if action == "new":
        print(create_keys(directory).public.decode())
        print(f"made {directory / SECRET_FILE} (keep it) and {directory / PUBLIC_FILE} (pass it on)", file=sys.stderr)
        return 0
    security = ServerSecurity.from_directory(directory)
    print(security.keys.public.decode())
    allowed = security.allowed()
    print(f"{directory / ALLOWED_FILE}: {len(allowed)} clients", file=sys.stderr)
    for key, name in allowed.items():
        print(f"  {key.decode()} {cleaned(name)}", file=sys.stderr)
    return 0


def client_security(keys: Path | None, server_key: str | None) -> ClientSecurity | None:
    """What `--keys` and `--server-key` of a subscriber's command say."""
    if keys is None:
        if server_key is not None:
            raise ConfigError(
                "--server-key needs this client's own keys too; make some with `spark3r keys new`, give --keys"
            )
        return None
    return ClientSecurity.from_directory(keys, server_key)
