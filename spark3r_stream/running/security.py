"""Keys of a publisher, from its settings."""

from __future__ import annotations

import logging
from pathlib import Path

from spark3r_stream.pubsub.keys import ServerSecurity

log = logging.getLogger(__name__)


def server_security(keys: Path | None) -> ServerSecurity | None:
    """What `--keys` of a publisher's command says; nobody on the list yet is worth a word."""
    if keys is None:
        return None
    security = ServerSecurity.from_directory(keys)
    if not security.allowed():
        log.info("no client is allowed yet: add public keys to %s", security.allowed_path)
    return security
