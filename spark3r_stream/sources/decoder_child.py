"""The child process that decodes one stream: `python -m spark3r_stream.sources.decoder_child`.

It is told what to open by one message on stdin (so that no credential is visible in the process list), hands frames
over in shared slots and everything else on stdout. On stdin it then reads which slots are free again, two bytes each:
ring number modulo 256, slot. End of stdin means that the parent is gone. A stuck driver or library takes only this
process.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.packets import InputPacket
from spark3r_stream.sources import pipe
from spark3r_stream.sources.ring import FrameRing
from spark3r_stream.stats import DropCause, DropCounter

if TYPE_CHECKING:
    from spark3r_stream.sources.decode import ContainerDecoder

SLOTS = 4


class SlotBook:
    """Which slots of the newest ring are free. Slots of an older ring that come back late mean nothing."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free: list[int] = []
        self._ring_number = -1

    def new_ring(self) -> int:
        with self._changed:
            self._ring_number = (self._ring_number + 1) % 256
            self._free = list(range(SLOTS))
            return self._ring_number

    def give_back(self, ring_number: int, slot: int) -> None:
        with self._changed:
            if ring_number == self._ring_number and slot < SLOTS and slot not in self._free:
                self._free.append(slot)
                self._changed.notify_all()

    def take(self, wait: bool) -> int | None:
        """A free slot; None if there is none and `wait` is False."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._free)
            return self._free.pop(0) if self._free else None


def main() -> None:
    commands = sys.stdin.buffer
    # Whatever else this process prints must not end up between messages.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    told = pipe.receive(commands)
    if told is None:
        return
    slots = SlotBook()
    threading.Thread(target=_watch_parent, args=(commands, slots), daemon=True).start()
    drops = DropCounter()
    try:
        final = _decode(told[0], messages, slots, drops)
    except OSError:
        return  # the parent has closed the pipe
    except Exception as error:
        final = {"type": "error", "message": f"{type(error).__name__}: {error}"}
    pipe.send(messages, {**final, "drops": _named(drops)})


def _decode(config: dict[str, Any], messages: BinaryIO, slots: SlotBook, drops: DropCounter) -> dict[str, Any]:
    try:
        from spark3r_stream.sources.decode import ContainerDecoder
    except ModuleNotFoundError as error:
        return {"type": "error", "message": f"{error.name} is not installed; install spark3r-stream[engine]"}
    pipe.send(messages, {"type": "ready"})
    try:
        decoder = ContainerDecoder(
            config["target"],
            drops,
            format=config["format"],
            options=config["options"],
            timeout_s=(config["open_timeout_s"], config["read_timeout_s"]),
            single_thread=config["single_thread"],
            low_delay=not config["lossless"],
            on_packet=(lambda packet: _send_packet(messages, packet)) if config["packets"] else None,
        )
        pipe.send(messages, _opened(decoder))
        ring, ring_number = None, 0
        while True:
            decoded = decoder.read()
            captured_ns = time.monotonic_ns()  # after decoding: the frame exists from now on
            height, width = decoded.image.shape[:2]
            if ring is None or decoded.image.size > ring.slot_bytes:
                if ring is not None:
                    ring.close()
                else:
                    pipe.send(messages, _opened(decoder))  # again, with what the first pictures have told
                ring, ring_number = _new_ring(decoded.image.size), slots.new_ring()
                pipe.send(
                    messages,
                    {"type": "ring", "path": str(ring.path), "slots": SLOTS, "slot_bytes": ring.slot_bytes},
                )
            slot = slots.take(wait=config["lossless"])
            if slot is None:
                drops.add(DropCause.QUEUE_FULL)
                continue
            ring.write(slot, decoded.image)
            header = {"type": "frame", "ring": ring_number, "slot": slot, "height": height, "width": width}
            header |= {"number": decoded.number, "pts_ns": decoded.pts_ns}
            pipe.send(messages, {**header, "captured_monotonic_ns": captured_ns, "drops": _named(drops)})
    except EndOfStream:
        return {"type": "end"}
    except SourceError as error:
        return {"type": "error", "message": str(error)}


def _opened(decoder: ContainerDecoder) -> dict[str, Any]:
    return {"type": "opened", "fps": decoder.nominal_fps, "frame_count": decoder.frame_count}


def _new_ring(slot_bytes: int) -> FrameRing:
    try:
        return FrameRing.create(SLOTS, slot_bytes)
    except OSError as error:
        need = f"{SLOTS * slot_bytes / 2**20:.0f} MiB in /dev/shm or the temporary folder"
        raise SourceError(f"no memory to hand over frames, {need}: {error.strerror}") from None


def _send_packet(messages: BinaryIO, packet: InputPacket) -> None:
    header = {
        "type": "packet",
        "pts": packet.pts,
        "dts": packet.dts,
        "time_base": [packet.time_base.numerator, packet.time_base.denominator],
        "is_keyframe": packet.is_keyframe,
        "codec": packet.codec,
        "extradata_hex": packet.extradata.hex(),
        "display_matrix": packet.display_matrix,
        "stream": None if packet.stream is None else vars(packet.stream),
        "is_discarded": packet.is_discarded,
    }
    pipe.send(messages, header, packet.data)


def _watch_parent(commands: BinaryIO, slots: SlotBook) -> None:
    while True:
        told = commands.read(2)
        if len(told) < 2:
            os._exit(0)  # not sys.exit: the decoding thread may be stuck for ever
        slots.give_back(told[0], told[1])


def _named(drops: DropCounter) -> dict[str, int]:
    return {cause.value: count for cause, count in drops.take().items()}


if __name__ == "__main__":
    main()
