"""Scenes block by block: the only place that walks a raster in pieces, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from hpcl.core.prefetch import ahead
from hpcl.geo.cog import Sink
from hpcl.geo.raster import Roi, Shape, Source, common_grid

BLOCK_PX = 512
"""Side of the blocks in which a scene is processed: whole tiles, and 1 MiB a float32 band, which the processor's caches
still hold. In blocks of 1024 all terrain attributes took 1.7 times as long. What is written does not depend on it."""


def walk(shape: Shape, block_px: int | None = None) -> Iterator[Roi]:
    """Windows (of `BLOCK_PX`, or ``block_px``) that cover a ``(row, column)`` shape once, row by row; the last are smaller.

    >>> [(r.start, r.stop, c.start, c.stop) for r, c in walk((3, 5), 4)]
    [(0, 3, 0, 4), (0, 3, 4, 5)]
    """
    height, width = shape
    block_px = block_px or BLOCK_PX
    for top in range(0, height, block_px):
        for left in range(0, width, block_px):
            yield slice(top, min(top + block_px, height)), slice(left, min(left + block_px, width))


@contextmanager
def _workers() -> Iterator[tuple[Executor, int]]:
    """Where blocks are computed: local threads, or the Dask cluster named by DASK_SCHEDULER_ADDRESS."""
    import dask  # noqa: PLC0415  (a quarter of a second, which whoever only walks a raster does not need)

    if dask.config.get("scheduler-address", None) is not None:
        from distributed import Client  # noqa: PLC0415  (2 s of import that a laptop run does not need)

        with Client() as client:
            yield client.get_executor(pure=False), 2 * max(1, sum(client.nthreads().values()))
    else:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as executor:
            yield executor, 2 * threads


def _compute_block(
    compute: Callable[..., npt.NDArray[Any]],
    sources: Sequence[Source],
    halo_px: int,
    roi: Roi,
) -> npt.NDArray[Any]:
    return compute(*(source.read(roi, halo_px=halo_px) for source in sources))


def fill(
    sink: Sink,
    compute: Callable[[Roi], npt.NDArray[Any]],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write what ``compute`` gives, ``(band, row, column)``, for every block of a raster, in memory that does not grow
    with the scene.

    Blocks are computed on local threads, or on a Dask cluster, for which ``compute`` must be picklable; at most two
    blocks per worker are under way, and they are written in their order, so equal blocks make equal bytes.
    """
    rois = list(walk(sink.grid.shape))
    with _workers() as (executor, most):
        computed = ahead(lambda roi: executor.submit(compute, roi), rois, most)
        for done, (roi, values) in enumerate(zip(rois, computed, strict=True)):
            sink.write(values, roi)
            progress(done + 1, len(rois))


def map_blocks(
    compute: Callable[..., npt.NDArray[Any]],
    inputs: Sequence[Path],
    sink: Sink,
    *,
    halo_px: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute a raster from others on the same grid, as `fill` does.

    ``compute`` gets one array ``(band, row + 2 halo, column + 2 halo)`` per input and returns ``(band, row, column)``;
    on a Dask cluster, the paths must mean the same on every worker.
    """
    with ExitStack() as files:
        sources = [files.enter_context(Source(path)) for path in inputs]
        common_grid({source.path: source.grid for source in sources})
        fill(sink, partial(_compute_block, compute, sources, halo_px), progress=progress)
