"""Compares the rows of two places, exactly and in bounded memory, whatever order they come in."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from backupd.restore.members import described, members, rebuilt, shortened

Rows = Callable[[], Iterable[bytes]]
"""Gives all rows of a table, each its exact JSON text, from the first; may be called more than once."""

_DIGEST_BYTES = 16
_MASK = (1 << (8 * _DIGEST_BYTES)) - 1
_PARTS = 256
_HELD_BYTES = 32 << 10
_MOST_SAMPLES = 10
_BREAKS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Sample:
    """One row that is not the same in both places. `how` is missing, different, or extra."""

    how: str
    row: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" in {', '.join(self.columns)}" if self.columns else ""
        return f"{self.how}{where}: {self.row}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the rows of the target differ from those of the archive.

    `missing` rows are in the archive alone, `different` ones have the same key and other values, `extra` ones are in
    the target alone. Without a key a different row is a missing one and an extra one.
    """

    archived: int
    found: int
    missing: int = 0
    different: int = 0
    extra: int = 0
    samples: tuple[Sample, ...] = ()
    unreadable: str | None = None

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.missing or self.different or self.extra or self.unreadable)

    def __str__(self) -> str:
        if self.unreadable:
            return f"could not be read back: {self.unreadable}"
        facts = {"missing": self.missing, "different": self.different, "extra": self.extra}
        words = ", ".join(f"{count:,} {how}" for how, count in facts.items() if count)
        return words or f"all {self.archived:,} rows are as they were"


class Multiset:
    """Many rows as one number: the same rows in any order give the same one, others do not.

    The sum of the rows' 128-bit digests, so that a row which is there twice counts twice.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Iterable[bytes]) -> None:
        """Take rows in."""
        for row in rows:
            self.rows += 1
            self._sum += int.from_bytes(_digest(row), "little")

    @property
    def value(self) -> tuple[int, int]:
        """The number of rows and their sum."""
        return self.rows, self._sum & _MASK


class Spelling:
    """Brings rows of both places into one form: the archive's.

    A server gives the columns in the order of its own table and adds those that only its table has. `columns` are the
    archive's, in its order; where it has no row, nothing is known and nothing changed.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)

    def archived(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Rows of the archive."""
        return iter(rows)

    def found(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Rows as the target gives them."""
        is_same: bool | None = None
        for row in rows:
            text = bytes(row)
            if is_same is None:
                is_same = not self._columns or tuple(members(text)) == self._columns
            if not is_same:
                text = rebuilt(text, self._columns)
            # As they were put into the archive: a break can only be white space in a value of type json.
            yield text.translate(_BREAKS_TO_SPACES) if b"\n" in text or b"\r" in text else text


def multiset(rows: Iterable[bytes]) -> tuple[int, int]:
    """The value of a `Multiset` of these rows."""
    found = Multiset()
    found.add(rows)
    return found.value


def compare_rows(
    archived: Rows, found: Rows, key: Sequence[str], *, directory: Path, extra_allowed: bool = False
) -> Comparison:
    """Find out which rows are missing, different or extra, by files in `directory`: 64 bytes for each row.

    Reads both sides once, and again up to the rows it shows as samples. With `extra_allowed` rows that only the
    target has are no difference. Raises what reading raises, and OSError.
    """
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        left = _Parts(Path(scratch) / "archived")
        right = _Parts(Path(scratch) / "found")
        with left, right:
            left.add(archived(), key)
            right.add(found(), key)
            tally = _Tally()
            for one, other in zip(left, right, strict=True):
                tally.take(one, other)
    samples = _samples(archived, found, key, tally, extra_allowed=extra_allowed)
    extra = 0 if extra_allowed else tally.extra
    return Comparison(left.rows, right.rows, tally.missing, tally.different, extra, samples)


class _Parts:
    """Digests of keys and rows, cut into parts by key, so that each part fits into memory."""

    def __init__(self, directory: Path) -> None:
        self.rows = 0
        self._directory = directory
        self._held = [bytearray() for _ in range(_PARTS)]

    def __enter__(self) -> _Parts:
        self._directory.mkdir()
        self._file: BinaryIO = (self._directory / "digests").open("w+b")
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[bytes], key: Sequence[str]) -> None:
        for row in rows:
            self.rows += 1
            digest = _digest(row)
            by = _key_digest(row, key) if key else digest
            held = self._held[by[0]]
            held += by
            held += digest
            if len(held) >= _HELD_BYTES:
                self._spill(by[0])

    def __iter__(self) -> Iterator[Counter[bytes]]:
        for number in range(_PARTS):
            self._spill(number)
            counted: Counter[bytes] = Counter()
            for position, length in self._places[number]:
                self._file.seek(position)
                block = self._file.read(length)
                counted.update(block[at : at + 2 * _DIGEST_BYTES] for at in range(0, length, 2 * _DIGEST_BYTES))
            yield counted

    def _spill(self, number: int) -> None:
        held = self._held[number]
        if held:
            self._places[number].append((self._file.seek(0, 2), len(held)))
            self._file.write(held)
            held.clear()


class _Tally:
    """How many rows differ, and the digests of a few of them."""

    def __init__(self) -> None:
        self.missing = self.different = self.extra = 0
        self.of_archive: dict[bytes, str] = {}
        self.of_target: dict[bytes, str] = {}
        self.keys_that_differ: dict[bytes, None] = {}

    def take(self, archived: Counter[bytes], found: Counter[bytes]) -> None:
        only_archived, only_found = archived - found, found - archived
        other_keys = {record[:_DIGEST_BYTES] for record in only_found}
        both = {record[:_DIGEST_BYTES] for record in only_archived} & other_keys
        for record, times in only_archived.items():
            how = "different" if record[:_DIGEST_BYTES] in both else "missing"
            if how == "different":
                self.different += times
            else:
                self.missing += times
            _keep(self.of_archive, record, how)
        for record, times in only_found.items():
            if record[:_DIGEST_BYTES] not in both:
                self.extra += times
                _keep(self.of_target, record, "extra")


def _keep(samples: dict[bytes, str], record: bytes, how: str) -> None:
    if len(samples) < _MOST_SAMPLES:
        samples[record] = how


def _samples(
    archived: Rows, found: Rows, key: Sequence[str], tally: _Tally, *, extra_allowed: bool
) -> tuple[Sample, ...]:
    """Look the rows up again that stand for the others."""
    ours = _look_up(archived(), {record[_DIGEST_BYTES:] for record in tally.of_archive})
    how_of = {record[_DIGEST_BYTES:]: how for record, how in tally.of_archive.items()}
    keys = {record[:_DIGEST_BYTES] for record, how in tally.of_archive.items() if how == "different"}
    theirs = _by_key(found(), key, keys) if keys else {}
    samples = [_sample(row, how_of[digest], theirs, key) for digest, row in ours.items()]
    if tally.of_target and not extra_allowed:
        wanted = {record[_DIGEST_BYTES:] for record in tally.of_target}
        samples += [Sample("extra", described(row, key)) for row in _look_up(found(), wanted).values()]
    return tuple(samples)


def _sample(row: bytes, how: str, theirs: dict[bytes, bytes], key: Sequence[str]) -> Sample:
    other = theirs.get(_key_digest(row, key)) if how == "different" else None
    if other is None:
        return Sample(how, described(row, key))
    ours, others = members(row), members(other)
    columns = tuple(name for name, value in ours.items() if others.get(name) != value)
    shown = "; ".join(
        f"{name} is {shortened(others.get(name, b'not there'))}, was {shortened(ours[name])}" for name in columns
    )
    return Sample(how, f"{described(row, key)}: {shown}", columns)


def _look_up(rows: Iterable[bytes], digests: set[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    if not digests:
        return found
    for row in rows:
        digest = _digest(row)
        if digest in digests:
            found[digest] = row
            if len(found) == len(digests):
                break
    return found


def _by_key(rows: Iterable[bytes], key: Sequence[str], wanted: set[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for row in rows:
        digest = _key_digest(row, key)
        if digest in wanted:
            found[digest] = row
            if len(found) == len(wanted):
                break
    return found


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_DIGEST_BYTES).digest()


def _key_digest(row: bytes, key: Sequence[str]) -> bytes:
    found = members(row)
    return _digest(b"\0".join(found.get(name, b"") for name in key))
