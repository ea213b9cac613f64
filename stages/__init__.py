"""One module per DVC stage, runnable as ``python -m stages.<verb>``; the caller is looked up before they import anything."""

from stages import _caller as _caller
