"""URLs: live streams (rtsp, rtmp, udp, srt, …, and http on request) and finite files over http(s)."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from spark3r_stream.clock import Clock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources.base import SourceKind
from spark3r_stream.sources.decoder_process import DecodeTarget
from spark3r_stream.sources.options import SourceOptions
from spark3r_stream.sources.redact import redact_uri
from spark3r_stream.sources.supervised import SupervisedSource

_ENCODE = "if its password has a / ? # @ or :, write it percent-encoded (%2F %3F %23 %40 %3A)"
FINITE_SCHEMES = ("http", "https")


def open_network(uri: str, options: SourceOptions, clock: Clock) -> SupervisedSource:
    """Open a URL in a child process. http(s) is a finite file unless options.live; everything else is live unless
    options.live is False. Raises SourceError when no frame comes in time."""
    _refuse_raw_password(uri)
    scheme = urlsplit(uri).scheme.lower()
    is_live = scheme not in FINITE_SCHEMES if options.live is None else options.live
    target = DecodeTarget(
        url=uri,
        lossless=not is_live,
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
        options=ffmpeg_options(scheme, is_live, options),
        single_thread=options.single_thread_decode,
    )
    try:
        return SupervisedSource(
            uri,
            SourceKind.NETWORK if is_live else SourceKind.VIDEO,
            target,
            clock,
            is_live=is_live,
            reconnect=options.reconnect,
            on_packet=options.on_packet,
        )
    except SourceError:
        _refuse_unknown_host(uri)  # FFmpeg calls it an input/output error
        raise


def _refuse_raw_password(uri: str) -> None:
    """Raises SourceError where what should be a port is none: a password that holds a / ? or # as it is."""
    try:
        _ = urlsplit(uri).port
    except ValueError:
        raise SourceError(
            f"{redact_uri(uri)} is not a URL: {_ENCODE if '@' in uri else 'its port is no number'}"
        ) from None


def _refuse_unknown_host(uri: str) -> None:
    host = urlsplit(uri).hostname
    try:
        if host:
            socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        if "@" in uri.partition(urlsplit(uri).netloc)[2]:  # then the host may be a part of the password
            raise SourceError(f"{redact_uri(uri)} cannot be opened: unknown host; {_ENCODE}") from None
        raise SourceError(f"{redact_uri(uri)} cannot be opened: unknown host {host}; check the name") from None


def ffmpeg_options(scheme: str, is_live: bool, options: SourceOptions) -> dict[str, str]:
    """FFmpeg's demuxer options for a URL scheme: transport, timeouts, and low delay for live streams."""
    result: dict[str, str] = {}
    read_timeout_us = str(round(options.read_timeout_s * 1e6))
    if scheme in ("rtsp", "rtsps"):
        result["rtsp_transport"] = options.rtsp_transport.value
        result["timeout"] = read_timeout_us
    elif scheme in ("http", "https", "tcp"):
        result["rw_timeout"] = read_timeout_us
    if is_live:
        # Look at half a second of the stream at most before the first packet. Not "nobuffer": it throws away what was
        # looked at, so that the first picture would have to wait for the next key frame.
        result["analyzeduration"] = "500000"
        result["max_delay"] = "300000"
    return result
