"""Runs one command and prints what it cost: seconds, seconds of CPU, peak memory.

A process of its own, as small as Python gets: Linux counts the memory of whoever started a program into the program's
peak, so the benchmark, which holds a database driver, must not start it itself. Imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time


def main(command: list[str]) -> None:
    """Run `command` to its end, then print one line of JSON after whatever it printed."""
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_rss_bytes": used.ru_maxrss * 1024,
    }
    sys.stdout.write(f"\n{json.dumps(document)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
