"""One model for several streams: they take turns, and none notices the others in what it gets."""

from __future__ import annotations

import threading
from typing import Any

from spark3r_stream.engine.shared_mapper import MappedStream, SharedMapper


class Slow:
    """Mappers whose calls take until they are let go; they say who was served."""

    memory = options = facts = None

    def __init__(self) -> None:
        self.served: list[int] = []
        self.go = threading.Semaphore(0)
        self.under_way = 0

    def call(self, stream: int, name: str, *arguments: Any) -> str:
        self.under_way += 1
        assert self.under_way == 1, "one call at a time"
        self.go.acquire()
        self.served.append(stream)
        self.under_way -= 1
        return f"{name} of {stream}"

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_streams_take_turns_whatever_one_of_them_asks_for() -> None:
    slow = Slow()
    shared = SharedMapper(slow)  # type: ignore[arg-type]
    asked = threading.Semaphore(0)

    def stream(one: MappedStream, calls: int) -> None:
        for _ in range(calls):
            asked.release()
            assert one.refine() == f"refine of {one._number}"  # type: ignore[comparison-overlap]

    threads = [threading.Thread(target=stream, args=(shared.stream(number), 4)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:  # all have asked once
        asked.acquire()
    for _ in range(12):
        slow.go.release()
        if len(slow.served) < 9:
            asked.acquire(timeout=10)  # who was served has asked again
    for thread in threads:
        thread.join()
    shared.close()
    for begin in range(0, 12, 3):
        assert sorted(slow.served[begin : begin + 3]) == [0, 1, 2], slow.served
