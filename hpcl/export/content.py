"""What becomes a file of the export: bytes that were made for it, or a file of the project that is copied."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpcl.core.artifacts import replacing, write_bytes
from hpcl.core.digest import sha256


@dataclass(frozen=True)
class Content:
    """One file, with its hash and size before it is written."""

    source: bytes | Path

    @cached_property
    def sha256(self) -> str:
        """As hexadecimal digits."""
        return sha256(self.source) if isinstance(self.source, Path) else hashlib.sha256(self.source).hexdigest()

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. A map may be larger than the memory, so it is copied piece by piece."""
        if isinstance(self.source, bytes):
            write_bytes(path, self.source)
            return
        with replacing(path) as draft:
            shutil.copyfile(self.source, draft)
