"""How a decoder is set up, the same for a container and for packets that were recorded from one."""

from __future__ import annotations

from typing import Any

import av


def prepare_context(context: Any, single_thread: bool, low_delay: bool) -> None:
    """Threads, delay and strictness of a codec context that is not open yet."""
    # These hand on half a picture as a whole one unless told to fail; others say by themselves that it is damaged.
    # HEVC then gives an error and the picture, and which belong together is only known without frame threads.
    if context.name == "mjpeg" or (context.name == "hevc" and (single_thread or low_delay)):
        context.options = {**context.options, "err_detect": "explode"}
    context.thread_type = "SLICE" if low_delay else "AUTO"
    if single_thread:
        context.thread_type = "NONE"
        context.thread_count = 1
    if low_delay:
        context.flags |= av.codec.context.Flags.low_delay
