"""Credentials never reach a log, a message, a recording or an error: every name and text goes through here.

Cameras spell secrets in more ways than anyone can list (`pwd`, `psk`, `jwt`, `loginpas`, SRT's `streamid`, whole paths
such as `/user=admin_password=x_channel=1`). So it is the other way round: what is known to be harmless is kept, and
every other value is hidden.

A path may be the secret, too: who knows an RTMP stream key can send in its owner's name, and some cameras name a stream
by a token that nobody can guess. Of an RTMP path only well-known words stay (`/live/***`). Elsewhere a path names
folders and files, and what reads like names stays: words, and numbers of four digits.
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
# What comes before the key of an RTMP stream.
_RTMP_WORDS = frozenset(
    re.findall(r"\w+", "app hls in ingest live live2 origin play publish rtmp stream streams test video vod")
)
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_PIECES = re.compile(r"[^\W_]+")
_RUNS = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")  # of h264Preview: h 264 Preview
_MIN_FOUND_ANYWHERE = 4  # characters
_SHORT_PIECE, _DIGITS, _RUNS_OF_A_NAME, _LONGEST_WORD = 4, 4, 4, 16
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
    value, too. In a path cameras join pairs of name and value by _ & or a comma.
    """
    authority = _AUTHORITY.match(url)[0]  # type: ignore[index]
    path, mark, query = re.match(r"([^?#]*)([?#]?)(.*)", url[len(authority) :], re.DOTALL).groups()  # type: ignore[union-attr]
    is_rtmp = authority[:4].lower() == "rtmp"
    parts = [(authority, "", True)]
    for piece in re.split(r"([/&;,]|_(?=[A-Za-z]+=))", path):
        key, equals, value = piece.partition("=")
        if equals and not (is_rtmp and not _is_harmless(key, value)):
            parts.append((key + equals, value, _is_harmless(key, value)))
        elif is_rtmp:
            parts.append(("", piece, piece in "/&;,_" or piece.lower() in _RTMP_WORDS))
        else:
            parts.append(("", piece, _reads_like_a_name(piece)))
    if mark:
        parts.append((mark, "", True))
    for piece in re.split(r"([&;])", query):
        key, equals, value = piece.partition("=")
        if equals:
            parts.append((key + equals, value, _is_harmless(key, value)))
        else:
            parts.append(("", piece, piece in "&;" or piece.lower() in _HARMLESS))
    return parts


def _reads_like_a_name(segment: str) -> bool:
    """Whether all its pieces are words (`videoMain`, `h264`, `kitchen-tour`) and short numbers, as no token is."""
    for piece in _PIECES.findall(unquote(segment)):
        runs = _RUNS.findall(piece)
        letters = [run for run in runs if not run[0].isdigit()]
        digits = sum(len(run) for run in runs if run[0].isdigit())
        if len(piece) <= _SHORT_PIECE and digits <= _DIGITS:
            continue  # mp4, m3u8, 2x
        if digits > _DIGITS or len(runs) > _RUNS_OF_A_NAME or max(map(len, letters)) > _LONGEST_WORD:
            return False
        if len(letters) > 1 and sum(map(len, letters)) < 3 * len(letters):
            return False
    return True


def _is_harmless(key: str, value: str) -> bool:
    return unquote(key).lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(unquote(value)) is not None
