"""The measure of all things: fetch the same pages by key, one after another, and throw them away."""

from __future__ import annotations

import re
import sys

import httpx

_KEY = re.compile(rb'\{"id":(\d+),')


def fetch(url: str, key: str, tables: list[str], page_rows: int) -> int:
    """Fetch every page of every table until an empty one; return how many bytes came."""
    size_bytes = 0
    with httpx.Client(base_url=f"{url}/rest/v1/", headers={"apikey": key}, timeout=60) as client:
        for table in tables:
            after = 0
            while True:
                params = {"select": "*", "order": "id", "id": f"gt.{after}", "limit": str(page_rows)}
                body = client.get(table, params=params).raise_for_status().content
                size_bytes += len(body)
                last = _last_key(body)
                if last is None:
                    break
                after = last
    return size_bytes


def _last_key(body: bytes) -> int | None:
    start = body.rfind(b'{"id":')
    found = _KEY.match(body, start) if start >= 0 else None
    return int(found[1]) if found else None


if __name__ == "__main__":
    url, key, page_rows, *tables = sys.argv[1:]
    fetch(url, key, tables, int(page_rows))
