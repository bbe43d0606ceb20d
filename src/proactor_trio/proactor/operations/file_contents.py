"""FileContents: the beginning of a file by its path, in one operation: open, read, close.

On io_uring the three are one chain in the kernel; on posix one job of a worker thread, or none where all is in memory.
Elsewhere they are made here, one after the other. However it ends, nothing stays open.

It is for small regular files. A file that is as long as the buffer, or longer, fills it: then there may be more. Of
what has no positions (a fifo, a terminal) it may take bytes that are there, or end with EAGAIN or ESPIPE; it waits for
nobody. A file without a length of its own (in /proc) may give less than there is.
"""

from __future__ import annotations

import os
from typing import Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import CANCELED, OperationCancelled
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operation import SOFTWARE_FAILURE, CompletionFunction, Limits, Operation
from proactor_trio.proactor.operations.file import FileClose, FileOpen, FileRead
from proactor_trio.proactor.operations.file_system import Path, encode_path
from proactor_trio.proactor.operations.splice import SteppingOperation
from proactor_trio.proactor.proactor import Proactor

_LARGEST_BUFFER: Final = 0x7FFFF000
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


class FileContents(SteppingOperation):
    """Reads a file from its beginning. Result: the bytes, at most `most_bytes`; if so many, there may be more.

    path: str, bytes or os.PathLike, of a regular file. Errors are OSErrors with it in `filename`.
    In a chain it ends like any other operation; it is never too short.
    """

    __slots__ = ("_file", "_memory", "_outcome", "kind", "most_bytes", "name")
    has_inner_steps = True

    def __init__(
        self,
        path: Path,
        most_bytes: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.name = path
        self.most_bytes = most_bytes
        self.kind = Kind.FILE_CONTENTS  # type: ignore[misc]  # each submission chooses
        self._step = None
        self._cancel_requested = False
        self._file: File | None = None
        self._memory = memoryview(b"")
        self._outcome: int | BaseException = CANCELED

    def _prepare(self) -> None:
        check_integer(self.most_bytes, "most_bytes", 1, _LARGEST_BUFFER)
        if self._memory.nbytes != self.most_bytes:
            self._memory = memoryview(bytearray(self.most_bytes))  # kept for the next submission
        self.path = encode_path(self.name, "path")
        assert self._proactor is not None
        is_native = self._proactor.has_native(Kind.FILE_CONTENTS)
        self.kind = Kind.FILE_CONTENTS if is_native else Kind.SOFTWARE  # type: ignore[misc]
        self._cancel_requested = False
        self._outcome = CANCELED
        self.view = self._memory

    # Step by step, where no backend does it ---------------------------------------------------------------------

    def _first_step(self) -> Operation:
        return FileOpen(self.name, _FLAGS)

    def _judge(self, step: Operation) -> int | BaseException | None:
        if isinstance(step, FileClose):
            return self._outcome  # nothing was written, so a failed close says nothing
        if isinstance(step, FileOpen):
            if step.error is not None:
                return self._end_of(step.error)
            self._file = step.result
        else:
            self._outcome = self._end_of(step.error) if step.error is not None else step.result
        self._start_step(self._after_opening(step))
        return None

    def _after_opening(self, step: Operation) -> Operation:
        assert self._file is not None
        if isinstance(step, FileOpen) and not self._cancel_requested:
            return FileRead(self._file, self.view, 0)
        return FileClose(self._file)

    def _after(self, step: Operation) -> int | None:
        raise AssertionError("_judge() decides")

    def _end_of(self, error: BaseException) -> int | BaseException:
        if isinstance(error, OperationCancelled):
            return CANCELED
        if isinstance(error, OSError) and error.errno is not None:
            return self._system_error(error.errno)
        return error

    def _end(self, proactor: Proactor, result: int | BaseException) -> None:
        if self._file is not None:
            self._file.close()  # only after an interruption is it open
            self._file = None
        super()._end(proactor, result)

    # Results ----------------------------------------------------------------------------------------------------

    def _finish(self, result: int) -> bytes:
        return self._memory[:result].tobytes()

    def _failure(self, result: int) -> BaseException:
        if self.kind is Kind.SOFTWARE and result == SOFTWARE_FAILURE:
            return self.failure
        return self._system_error(-result)

    def _system_error(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), self.name)
