"""Processes for tests that begin with other people's libraries loaded: torch takes longer to import than these tests to train.

They are forked from one that has imported them and nothing of ours (multiprocessing's forkserver). Beyond that each is as any other
process: it has a folder, an environment and words of its own, and can be killed.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "torch._dynamo",
        "lightning_fabric",
        "timm",
        "segmentation_models_pytorch",
        "pandas",
        "scipy.ndimage",
        "rasterio",
        "odc.geo.geobox",
    ]
)
LIMIT_S = 300
ROOT = Path(__file__).parents[1]


class Forked:
    """A process that does ``work(*arguments)``, a function of a module."""

    def __init__(
        self, work: Callable[..., None], *arguments: Any, folder: Path, environment: Mapping[str, str]
    ) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_do, args=(work, arguments, str(folder), dict(environment), writer))
        self._process.start()
        writer.close()
        self._words = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    def lines(self) -> Iterator[str]:
        """What it says, as it says it; errors too."""
        return iter(self._words.readline, "")

    def kill(self) -> str:
        """End it with ``kill -9``; what it had said and nobody had read yet."""
        self._process.kill()
        rest, status = self.end()
        assert status == -9
        return rest

    def ended(self) -> str:
        """What it said, at its good end."""
        said, status = self.end()
        assert status == 0, said[-3000:]
        return said

    def end(self) -> tuple[str, int | None]:
        """What it said, and its exit status."""
        limit = threading.Timer(LIMIT_S, self._process.kill)
        limit.start()
        with self._words:
            said = self._words.read()
        self._process.join()
        limit.cancel()
        status = self._process.exitcode
        self._process.close()
        return said, status


def _do(
    work: Callable[..., None], arguments: tuple[Any, ...], folder: str, environment: dict[str, str], words: Connection
) -> None:
    import torch

    for stream in (1, 2):  # of libraries in C too
        os.dup2(words.fileno(), stream)
    sys.stdout, sys.stderr = (
        os.fdopen(stream, "w", buffering=1, errors="backslashreplace", closefd=False) for stream in (1, 2)
    )
    words.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    work(*arguments)


def run_alone(module: str, arguments: list[str]) -> None:
    """As ``python -m module`` does it, in a folder where nothing of ours is found but what lies there."""
    ours = {"", str(ROOT), str(ROOT / "tests")}
    sys.path[:] = [str(Path.cwd()), *(place for place in sys.path if place not in ours)]
    assert not {"hpcl", "stages"} & set(sys.modules)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
