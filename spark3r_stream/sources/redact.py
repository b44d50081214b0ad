"""Credentials never reach a log, a message, a recording or an error: every name and text goes through here."""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "***"
# The first form is a password with an unescaped / ? or #, which is wrong but must not be printed either. It also hides
# the host of a URL with a port and a later @: what comes after "name:" may be a password of digits.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^\s/?#:@]*:[^\s]*|[^\s/?#]*)@")
_SECRET_KEY = (
    r"[\w.-]*(?:passw(?:or)?d|passwd|pwd|pass|token|secret|api[_-]?key|apikey|access[_-]?key|auth|authorization"
    r"|signature|sig|credential|credentials|session|sessionid|key)"
)
_QUERY = re.compile(rf"(?P<lead>[?&;])(?P<key>{_SECRET_KEY})=(?P<value>[^&;#\s'\"]*)", re.IGNORECASE)


def redact_uri(uri: str) -> str:
    """`uri` (or any text holding URIs) with user:password@ and secret-looking query values replaced by ***."""
    without_userinfo = _USERINFO.sub(lambda m: f"{m['scheme']}{_HIDDEN}@", uri)
    return _QUERY.sub(lambda m: f"{m['lead']}{m['key']}={_HIDDEN}", without_userinfo)


def secrets_of(uri: str) -> tuple[str, ...]:
    """The literal secrets in `uri`, raw and percent-decoded, longest first: what must not appear in any other text."""
    found: set[str] = set()
    for match in _USERINFO.finditer(uri):
        userinfo = match["userinfo"]
        found.update((userinfo, userinfo.partition(":")[2]))
    for match in _QUERY.finditer(uri):
        found.add(match["value"])
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((s for s in found if s), key=len, reverse=True))


def redact_text(text: str, uri: str) -> str:
    """`text` (an error of a library, say) without the credentials of `uri`, whichever way they are spelled there."""
    cleaned = redact_uri(text.replace(uri, redact_uri(uri)))
    for secret in secrets_of(uri):
        cleaned = cleaned.replace(secret, _HIDDEN)
    return cleaned
