"""Rows survive an archive byte for byte, whatever they hold."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from backupd.archive.manifest import manifest_from_json, manifest_to_json, sidecar_from_json
from backupd.archive.names import STEM_LIMIT_BYTES, collision_key, member_name
from backupd.archive.reader import ArchiveReader
from backupd.archive.rows import row_blocks
from backupd.errors import ArchiveError
from backupd.model import Count, TableName
from backupd.verify import verify_archive
from tests.support.archives import USERS, make_archived, make_manifest, make_table, write_archive

# Text with everything that has been trouble: separators, escapes, half surrogate pairs, line separators, NUL.
awkward_text = st.text(st.one_of(st.sampled_from(',\n\r"\\[]{}\u2028\u0085\x00\ud800\udfff'), st.characters()))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | awkward_text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(awkward_text, inner, max_size=3), max_leaves=6
)


@st.composite
def json_rows(draw: st.DrawFn) -> bytes:
    """One row as some server might send it: escaped or raw, tight or with spaces."""
    row = draw(st.dictionaries(awkward_text, values, max_size=4))
    separators = draw(st.sampled_from([(",", ":"), (", ", " : "), (" ,\t", ":\t")]))
    escaped = json.dumps(row, separators=separators)
    raw = json.dumps(row, separators=separators, ensure_ascii=False)
    if draw(st.booleans()) and raw.isprintable():
        return raw.encode()
    return escaped.encode()


names = st.builds(TableName, st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=300))


@given(st.lists(json_rows(), max_size=30), st.lists(json_rows(), max_size=3))
def test_rows_written_and_read_are_the_same_bytes(first: list[bytes], second: list[bytes]) -> None:
    """Exact: what was in the database is what comes back."""
    data, _ = write_archive({USERS: first, make_table("other"): second})
    with ArchiveReader(io.BytesIO(data)) as reader:
        assert [list(reader.rows(archived)) for archived in reader.manifest.tables] == [first, second]
    assert verify_archive(io.BytesIO(data)).problems == ()


@given(st.lists(json_rows(), max_size=10))
def test_table_file_of_any_rows_is_what_json_readers_expect(rows: list[bytes]) -> None:
    """Stock readers see one array with the same values."""
    data, manifest = write_archive({USERS: rows})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = json.loads(archive.read(str(manifest.tables[0].file)))
    assert found == [json.loads(row) for row in rows]


@given(st.lists(json_rows(), min_size=1, max_size=10), st.data())
def test_rows_with_line_breaks_between_values_keep_their_meaning(rows: list[bytes], data: st.DataObject) -> None:
    """White space that breaks lines becomes spaces; every value stays."""
    line_break = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    broken = [b"{" + line_break + row[1:-1] + line_break + b"}" for row in rows]
    archive, _ = write_archive({USERS: broken})
    with ArchiveReader(io.BytesIO(archive)) as reader:
        found = list(reader.rows(reader.manifest.tables[0]))
    assert [json.loads(row) for row in found] == [json.loads(row) for row in rows]
    assert not any(b"\n" in row or b"\r" in row for row in found)


@given(st.lists(json_rows(), max_size=10), st.integers(1, 40))
def test_row_blocks_cut_anywhere_are_the_same_rows(rows: Sequence[bytes], size: int) -> None:
    """How the file happens to be cut into chunks does not matter."""
    text = b"[\n" + b",\n".join(rows) + (b"\n]\n" if rows else b"]\n")
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert [row for block in row_blocks(chunks, "t.json") for row in block.split(b",\n")] == list(rows)


@given(st.lists(names, max_size=8, unique=True))
def test_member_names_of_any_tables_are_safe_and_never_collide(tables: list[TableName]) -> None:
    """Unpacking anywhere puts each table into a file of its own inside the folder."""
    taken: set[str] = set()
    for table in tables:
        file = member_name(table, taken)
        root, schema, name = file.split("/")
        assert (root, name.endswith(".json")) == ("tables", True)
        assert not {schema, name} & {".", ".."}
        assert max(len(schema.encode()), len(name.encode())) <= 255
        assert collision_key(file) not in taken
        taken.add(collision_key(file))


@given(names)
def test_member_name_short_enough_decodes_to_the_table(table: TableName) -> None:
    """A name that was not cut can be read back from the file."""
    _, schema, name = member_name(table).split("/")
    stem = name.removesuffix(".json")
    if "~" not in stem + schema:
        assert TableName(unquote(schema), unquote(stem)) == table
    assert len(stem.encode()) <= STEM_LIMIT_BYTES


@given(st.builds(Count, st.integers(0, 2**63 - 1), st.booleans()), awkward_text, awkward_text)
def test_manifest_with_any_text_is_the_same_after_json(count: Count, message: str, platform: str) -> None:
    """Messages of servers and names of platforms may hold anything."""
    manifest = make_manifest(make_archived(count_before=count, message=message), platform=platform)
    assert manifest_from_json(manifest_to_json(manifest)) == manifest


_MANIFEST = json.loads(manifest_to_json(make_manifest(make_archived())))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in entries for place in _places(inner, (*path, key)))]


@given(st.sampled_from([place for place in _places(_MANIFEST) if place]), values)
def test_manifest_with_anything_anywhere_is_read_or_refused(place: tuple[Any, ...], value: Any) -> None:
    """Hostile values end in an ArchiveError that names the manifest, and in nothing else."""
    hostile = json.loads(json.dumps(_MANIFEST))
    inner = hostile
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    data = json.dumps(hostile).encode()
    for read in (manifest_from_json, sidecar_from_json):
        try:
            read(data, member="it")
        except ArchiveError as error:
            assert error.message.startswith("it")  # noqa: PT017
