"""Mapping in a process of its own: the tracker shares no interpreter lock with it.

On two cores the tracker takes 12 ms a frame beside it; in one process it takes up to 50 while a keyframe is mapped.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import pickle
import signal
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.cameras_together import Rooted, Together
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.stream.meeting import Relation
from spark3r_stream.engine.mapper_host import CalledMapper, MapperEnded
from spark3r_stream.engine.shared_mapper import LocalMappers
from spark3r_stream.map_file.saved_map import MapFacts

_CLOSE_S = 2.0  # a keyframe is mapped within that; what is not is killed


@dataclass(frozen=True)
class ModelChoice:
    """What `load_model` is given. threads: that torch may use in that process; weights: see there."""

    name: str
    device: str
    dtype: Any
    weights: Path | str | None
    threads: int


class MapperProcess(CalledMapper):
    """The caller's end of a mapping process; a `MapperHost`.

    Start it before there are threads: it is forked then, and so needs no second import of everything. `load` comes
    later, when all that can fail at once has been tried.
    """

    memory: MemoryConfig
    options: MapOptions

    def __init__(self) -> None:
        context = multiprocessing.get_context(_start_method())
        self._connection, theirs = context.Pipe()
        make = context.Process  # type: ignore[attr-defined]  # every context has it; its stub does not say so
        self._process = make(target=_serve, args=(theirs, self._connection), name="spark3r-mapper", daemon=True)
        with _without_the_program():
            self._process.start()
        theirs.close()
        # at the end of a program that did not close it, before Python waits for its child processes
        multiprocessing.util.Finalize(self, self._connection.close, exitpriority=10)
        self._facts: ModelFacts | None = None

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def facts(self) -> ModelFacts:
        assert self._facts is not None, "no model was loaded"
        return self._facts

    def load(
        self, choice: ModelChoice, memory: MemoryConfig, options: MapOptions | None = None, streams: int = 1
    ) -> None:
        """Load the model there, for so many streams, each with a map of its own: the methods of a `MapperHost` are
        those of the first, `call` reaches the others (`shared_mapper.py`).

        Raises what `load_model` raises, and SettingsError where the memory does not fit.
        """
        self.memory, self.options = memory, options or MapOptions()
        self._facts = self._ask("load", choice, memory, self.options, streams)

    def check(self) -> None:
        if self._process.exitcode is not None:
            raise self._ended()

    def close(self) -> None:
        """End the process, whatever it is doing. Further calls do nothing."""
        self._connection.close()
        self._process.join(_CLOSE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _call(self, name: str, *arguments: Any) -> Any:
        return self.call(0, name, *arguments)

    def look(self, stream: int, frame_id: int) -> dict[int, Rooted] | None:
        return self._ask("look", stream, frame_id)  # type: ignore[no-any-return]

    def relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> dict[int, Rooted]:
        return self._ask("relate", first, second, first_from_second, scale_std)  # type: ignore[no-any-return]

    def go_on_with(self, relations: Mapping[tuple[int, int], Relation]) -> dict[int, Rooted]:
        return self._ask("go_on_with", relations)  # type: ignore[no-any-return]

    def save_together(self, folder: Path, names: Mapping[int, str], facts: Mapping[int, MapFacts]) -> None:
        self._ask("save_together", folder, names, facts)

    def finish_together(self) -> list[Together]:
        return self._ask("finish_together")  # type: ignore[no-any-return]

    def call(self, stream: int, name: str, *arguments: Any) -> Any:
        """A method of the `MapperHost` of a stream; one call at a time."""
        return self._ask("call", stream, name, *arguments)

    def _ask(self, name: str, *arguments: Any) -> Any:
        """A method of the `LocalMappers` there."""
        try:
            self._connection.send((name, arguments))
            answer, error = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
            raise self._ended() from None
        if error is not None:
            raise error
        return answer

    def _ended(self) -> MapperEnded:
        code = self._process.exitcode
        how = "its connection broke" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}, {signal.Signals(-code).name}"
        return MapperEnded(f"the mapping process ended unexpectedly ({how}); its map is lost, run again")


def _start_method() -> str:
    """A fork, which has all imports already, where this process is one thread; else from a server that is.

    Threads of libraries count as well: they and the locks they hold are not in a fork.
    """
    if sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1:
        return "fork"
    multiprocessing.set_forkserver_preload([__name__])
    return "forkserver"


@contextlib.contextmanager
def _without_the_program() -> Iterator[None]:
    """A process that is not a fork runs the program's main file once more, for what it is to unpickle from there; ours
    needs nothing of it, and a script without `if __name__ == "__main__"` would begin a second run."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _serve(connection: Connection, theirs: Connection) -> None:
    """The process: answer calls until the other end closes."""
    theirs.close()  # our copy would keep the connection open when the caller dies
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the caller, which ends us when all is mapped
    mappers: LocalMappers | None = None
    while True:
        try:
            name, arguments = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # nothing here needs to be put in order
        answer: Any = None
        error: Exception | None = None
        try:
            if name == "load":
                mappers = _loaded(*arguments)
                answer = mappers.facts
            else:
                assert mappers is not None, "no model was loaded"
                answer = getattr(mappers, name)(*arguments)
        except Exception as failure:
            error = _portable(failure)
        with contextlib.suppress(OSError):
            connection.send((answer, error))


def _loaded(choice: ModelChoice, memory: MemoryConfig, options: MapOptions, streams: int) -> LocalMappers:
    import torch

    from spark3r_core.models.registry import load_model

    torch.set_num_threads(choice.threads)  # the process is ours alone
    model = load_model(choice.name, choice.device, choice.dtype, choice.weights)
    return LocalMappers(model, memory, options, streams)


def _portable(error: Exception) -> Exception:
    """What was raised, if it survives the way; else its text. Where it was raised is told in a note."""
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__traceback__ = None
    error.add_note(f"in the mapping process:\n{where}")
    return error
