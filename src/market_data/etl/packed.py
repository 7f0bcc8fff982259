"""Zip archives as vendors send them: one table inside, taken out within bounds."""

import io
import struct
import zipfile
import zlib

LIMIT = 64 * 1024 * 1024
"""Bytes of a table after decompression; a month of minutes has 7 million."""

_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that decompress piece by piece in bounded memory; no vendor uses others."""


def only_member(packed: bytes, named: str | None = None) -> bytes:
    """Return the content of the only `.csv` in an archive.

    With `named`, it must have this name, in any case and in any folder. No more than `LIMIT` bytes are
    ever decompressed, whatever the archive promises.

    Raises:
        ValueError: no archive, a damaged or encrypted one, not one table, another name, or a larger table.

    """
    try:
        with (
            zipfile.ZipFile(io.BytesIO(packed)) as archive,
            archive.open(_only_table(archive, named)) as member,
        ):
            content = member.read(LIMIT + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, struct.error) as exc:
        raise ValueError(f"no archive that can be read: {exc}") from exc
    if len(content) > LIMIT:
        raise ValueError(f"more than {LIMIT} bytes in the archive")
    return content


def _only_table(archive: zipfile.ZipFile, named: str | None) -> zipfile.ZipInfo:
    tables = [info for info in archive.infolist() if info.filename.lower().endswith(".csv")]
    if len(tables) != 1:
        raise ValueError(f"{len(tables)} tables in the archive")
    found = tables[0].filename.rpartition("/")[2]
    if named is not None and found.lower() != named.lower():
        raise ValueError(f"{found[:80]!r} in an archive of {named!r}")
    if tables[0].compress_type not in _KINDS:
        raise ValueError(f"compression of kind {tables[0].compress_type}")
    return tables[0]
