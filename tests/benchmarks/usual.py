"""The script people write: `.range()` and `.execute()` until a page is short, `json.dumps`, `zipfile`."""

from __future__ import annotations

import json
import sys
import zipfile
from typing import Any

from supabase import create_client


def backup(url: str, key: str, tables: list[str], page_rows: int, archive: str) -> int:
    """Write every table into `archive`; return how many rows came."""
    client = create_client(url, key)
    total = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for table in tables:
            rows: list[Any] = []
            while True:
                first = len(rows)
                page = client.table(table).select("*").range(first, first + page_rows - 1).execute().data
                rows.extend(page)
                if len(page) < page_rows:
                    break
            zip_file.writestr(f"{table}.json", json.dumps(rows, indent=2))
            total += len(rows)
    return total


if __name__ == "__main__":
    url, key, archive, page_rows, *tables = sys.argv[1:]
    backup(url, key, tables, int(page_rows), archive)
