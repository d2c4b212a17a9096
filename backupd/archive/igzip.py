"""Members of a ZIP, deflated and inflated by igzip: the one place that reaches into `zipfile`.

`zipfile` has no hook for another deflate. Its member objects keep theirs in one private attribute each, replaced here
by an igzip object of the same interface: ten times faster at the same size. A test holds that the swap took place.
"""

from __future__ import annotations

import zipfile
from typing import IO, cast

from isal import isal_zlib

InflateError = cast("type[Exception]", isal_zlib.error)
"""What reading a damaged member raises."""

_LEVEL = 1
_RAW_DEFLATE = -15


def open_to_write(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A new member that may grow beyond 4 GiB; close it before the next."""
    member = archive.open(info, "w", force_zip64=True)
    member._compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)  # type: ignore[attr-defined]  # noqa: SLF001
    return member


def open_to_read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> zipfile.ZipExtFile:
    """An existing member, as a stream whose end checks the CRC."""
    member = archive.open(info)
    assert isinstance(member, zipfile.ZipExtFile)  # noqa: S101
    if info.compress_type == zipfile.ZIP_DEFLATED:
        member._decompressor = isal_zlib.decompressobj(_RAW_DEFLATE)  # type: ignore[attr-defined]  # noqa: SLF001
    return member
