"""A terminal for the programs that tests start."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


def reading(main_end: int) -> tuple[threading.Thread, list[bytes]]:
    """Read what a terminal shows, until it is closed: it holds 4 kB, and who writes more waits for
    a reader."""
    read: list[bytes] = []

    def read_all() -> None:
        with suppress(OSError):  # how the end of a terminal is said
            while part := os.read(main_end, 4096):
                read.append(part)

    thread = threading.Thread(target=read_all)
    thread.start()
    return thread, read
