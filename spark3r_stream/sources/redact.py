"""Credentials never reach a log, a message, a recording or an error: every name and text goes through here.

Cameras spell secrets in more ways than anyone can list (`pwd`, `psk`, `jwt`, `loginpas`, SRT's `streamid`, whole paths
such as `/user=admin_password=x_channel=1`). So it is the other way round: what is known to be harmless is kept, and
every other value is hidden.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "***"
# The first form is a password with an unescaped / ? or #, which is wrong but must not be printed either. It also hides
# the host of a URL with a port and a later @: what comes after "name:" may be a password of digits.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^\s/?#:@]*:[^\s]*|[^\s/?#]*)@")
_URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]*", re.IGNORECASE)
# Names whose values say what a stream is, not who may see it; of synthetic sources, cameras' URLs, SRT, UDP and RTSP.
_HARMLESS = frozenset(
    re.findall(
        r"\w+",
        """
    seed frames kind size fov fps augment live pause width height w h resolution res framerate rate bitrate quality
    compression profile channel channels ch chn stream substream subtype streamtype type track format fmt codec
    videocodec audio video camera cam camid index input source port mode latency rcvlatency peerlatency transport
    proto protocol unicast multicast pkt_size payload_size buffer_size fifo_size overrun_nonfatal reuse ttl timeout
    connect_timeout listen_timeout rw_timeout localaddr localport start end starttime endtime speed scale rotate
    mirror date pbkeylen maxbw inputbw oheadbw mss tlpktdrop transtype linger
    """,
    )
)
_MIN_FOUND_ANYWHERE = 4  # characters
_HARMLESS_VALUE = re.compile(r"[\w.:x+-]{0,32}")


def redact_uri(uri: str) -> str:
    """`uri` (or any text holding URIs) with user:password@ and every value that is not known to be harmless replaced
    by ***."""
    without_userinfo = _USERINFO.sub(lambda m: f"{m['scheme']}{_HIDDEN}@", uri)
    return _URL.sub(lambda m: _without_values(m[0]), without_userinfo)


def secrets_of(uri: str) -> tuple[str, ...]:
    """The literal secrets in `uri`, raw and percent-decoded, longest first: what must not appear in any other text."""
    found: set[str] = set()
    for match in _USERINFO.finditer(uri):
        userinfo = match["userinfo"]
        found.update((userinfo, userinfo.partition(":")[2]))
    for url in _URL.finditer(_USERINFO.sub(lambda m: f"{m['scheme']}{_HIDDEN}@", uri)):
        found.update(value for _, value, is_harmless in _parts(url[0]) if not is_harmless)
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((s for s in found if s and s != _HIDDEN), key=len, reverse=True))


def redact_text(text: str, uri: str) -> str:
    """`text` (an error of a library, say) without the credentials of `uri`, whichever way they are spelled there."""
    cleaned = redact_uri(text.replace(uri, redact_uri(uri)))
    for secret in secrets_of(uri):
        if len(secret) >= _MIN_FOUND_ANYWHERE:
            cleaned = cleaned.replace(secret, _HIDDEN)
        else:  # a "1" that is a secret must not make "10 s" unreadable
            cleaned = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, cleaned)
    return cleaned


def _without_values(url: str) -> str:
    return "".join(lead + (value if is_harmless or not value else _HIDDEN) for lead, value, is_harmless in _parts(url))


def _parts(url: str) -> list[tuple[str, str, bool]]:
    """The URL in pieces (lead, value, whether the value is harmless); joined they are the URL again.

    Behind ? or # a value ends at & or ; only, since a passphrase may hold anything else, and a word without a name is a
    value, too. In a path only what has a name is: cameras join such pairs there by _ & or a comma.
    """
    path, mark, query = re.match(r"([^?#]*)([?#]?)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = []
    for piece in re.split(r"([/&;,]|_(?=[A-Za-z]+=))", path):
        key, equals, value = piece.partition("=")
        parts.append((key + equals, value, not equals or _is_harmless(key, value)))
    if mark:
        parts.append((mark, "", True))
    for piece in re.split(r"([&;])", query):
        key, equals, value = piece.partition("=")
        if equals:
            parts.append((key + equals, value, _is_harmless(key, value)))
        else:
            parts.append(("", piece, piece in "&;" or piece.lower() in _HARMLESS))
    return parts


def _is_harmless(key: str, value: str) -> bool:
    return unquote(key).lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(unquote(value)) is not None
