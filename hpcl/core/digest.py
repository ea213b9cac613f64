"""What a file is, whatever it is called and whenever it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint(digests: Iterable[str]) -> str:
    """The SHA-256 of several digests together: of their hexadecimal digits as ASCII, one behind the other, in this order.

    >>> joint(["ab", "cd"]) == joint(["abcd"]), joint(["ab", "cd"]) == joint(["cd", "ab"])
    (True, False)
    """
    return hashlib.sha256("".join(digests).encode("ascii")).hexdigest()


def joint_bytes(digests: Iterable[str]) -> str:
    """The same of the bytes that the digests stand for: how a map names the files that it was made from."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()
