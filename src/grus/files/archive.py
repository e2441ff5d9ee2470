"""Zip files from strangers: members read whole, sizes checked first, nothing extracted."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

from grus.errors import InputError
from grus.weight_file import Budget, one_line

MAX_MEMBERS = 200_000
# Other methods (bzip2, LZMA) can ask for gigabytes of working memory in one byte.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile and zlib raise for damaged files, as tests with flipped bytes have shown.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    struct.error,
)


class Archive:
    """A zip file, open for reading. Raises InputError for one that is damaged or odd."""

    def __init__(self, path: Path, budget: Budget, what: str) -> None:
        self.budget = budget
        try:
            self._file = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise InputError(f"not a whole {what} (a zip archive): {one_line(error)}") from None
        members = self._file.infolist()
        self.sizes = {m.filename: m.file_size for m in members if not m.filename.endswith("/")}
        if len(members) > MAX_MEMBERS or len({m.filename for m in members}) < len(members):
            self._file.close()
            raise InputError(f"not a {what}: too many members, or two of one name")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """A member's bytes, as many as the archive declares and no more."""
        shown = one_line(name)[:80]
        try:
            member = self._file.getinfo(name)
        except KeyError:
            raise InputError(f"the archive has no {shown!r}") from None
        if member.compress_type not in METHODS or member.flag_bits & 1:
            raise InputError(f"{shown} is packed in a way that is not read (or encrypted)")
        self.budget.take(member.file_size, shown)
        try:
            with self._file.open(member) as stream:
                found = stream.read(member.file_size)
        except DAMAGED as error:
            raise InputError(f"{shown} is damaged: {one_line(error)}") from None
        if len(found) != member.file_size:
            raise InputError(f"{shown} is cut short")
        return found
