"""Brings the packages that requirements.txt pins to a machine: the script of ``make setup`` and ``make wheelhouse``.

A script without packages, for the environment's own Python, in the root of the project: ``install`` fills the environment,
``collect`` a folder of wheels from which ``install`` does so without a network. make hands on ``TORCH`` and ``WHEELHOUSE``.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

VENV = Path(".venv")
PYTHON = str(VENV / "bin/python")
PINS = Path("requirements.txt")
FOR_GPUS = re.compile("nvidia-|cuda-|triton=")
"""How lines of requirements.txt begin that only the torch for GPUs needs."""
CALLS = 14
"""Calls of pip that share the fetching. One costs a second, keeps its files in the temporary folder until it ends, and those
of calls that ended stay when one is stopped."""


class PackagesError(Exception):
    """Packages cannot be had; the message is one sentence."""


def install(torch: str, wheelhouse: str) -> None:
    """Fill the environment.

    ``wheelhouse`` is the folder that all wheels come from; without one they come from the package index. ``torch`` is ``cpu``
    for a torch that knows no GPU, or empty.
    """
    if torch not in ("", "cpu"):
        raise PackagesError(
            f"TORCH={torch} was given; TORCH=cpu leaves out what only GPUs need, no TORCH leaves out nothing."
        )
    if torch and wheelhouse:
        raise PackagesError("TORCH=cpu takes torch from the network and WHEELHOUSE knows none; give one of the two.")
    if torch and any(VENV.glob("lib/python*/site-packages/nvidia_*")):
        raise PackagesError(
            f"{VENV} holds the torch for GPUs; remove it first ('rm -rf {VENV}'), then call this again."
        )
    if any(VENV.glob("lib/python*/site-packages/torch-*+cpu.dist-info")):
        if wheelhouse:
            raise PackagesError(
                f"{VENV} holds a torch without GPUs, which no WHEELHOUSE has; remove it first ('rm -rf {VENV}'), or give no WHEELHOUSE."
            )
        torch = "cpu"  # once chosen, it holds for every later requirements.txt
    pins = PINS.read_text()
    if wheelhouse:
        folder = _folder(wheelhouse)
        source = ["--no-index", "--find-links", folder.resolve().as_uri()]  # a path ends at a comma or a # for uv
        backend = ["--offline"]
        cost = f"from {folder}, without a network (up to 6.9 GB on disk; about 2 minutes)"
        hint = f"{folder} does not hold all that this needs: fill it with 'make wheelhouse', at the same commit, on {_machine()}"
    elif torch:
        pins = "".join(line for line in pins.splitlines(keepends=True) if not FOR_GPUS.match(line))
        source = []
        backend = ["--torch-backend", "cpu"]
        cost = "with a torch that knows no GPU (0.6 GB to download, 2.4 GB on disk; about 2 minutes at 100 Mbit/s)"
        hint = "TORCH=cpu needs PyTorch's own index within reach, beside the one that all else comes from"
    else:
        source = []
        backend = []
        cost = "(up to 3.4 GB to download, 6.9 GB on disk; about 6 minutes at 100 Mbit/s)"
        hint = "this needs a package index within reach; 'make wheelhouse' on another machine makes a folder for where none is"
    print(f"setup: installing the pinned packages into {VENV} {cost}", flush=True)
    _run(["pip", "install", *source, _pinned_uv()], hint)
    # Compiled now: where Python may not write bytecode, every process would compile all that it imports.
    into = ["uv", "pip", "install", "--compile-bytecode", "--python", PYTHON]
    _run([*into, *source, *backend, "-r", "-"], hint, pins)


def collect(wheelhouse: str) -> None:
    """Put a wheel of every pinned package into the folder ``wheelhouse``; what lies there already and is whole stays.

    uv says which files those are, by their hashes, and pip fetches them: uv cannot, and pip alone might choose others
    (a ``torch+cpu`` of a further index, say). Packages without a wheel are built, so that nothing has to be built there.
    """
    folder = Path(wheelhouse or "wheelhouse").expanduser()
    print(f"wheelhouse: fetching the pinned packages for {_machine()} into {folder}", end=" ")
    print("(up to 3.4 GB; about 6 minutes at 100 Mbit/s)", flush=True)
    hint = "this needs a package index within reach; what was fetched stays, and the same command goes on from there"
    _run(["pip", "install", _pinned_uv()], hint)
    hashed = ["--no-deps", "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url"]
    pins = re.split(r"\n(?=\S)", _run(["uv", "pip", "compile", "--python", PYTHON, *hashed, str(PINS)], hint).strip())
    folder.mkdir(parents=True, exist_ok=True)
    for call in range(CALLS):
        some = "\n".join(pins[call::CALLS])  # the large ones are neighbours in the alphabet: one or two for each call
        fetch = ["pip", "wheel", "--no-deps", "--no-cache-dir", "--wheel-dir", str(folder), "-r", "/dev/stdin"]
        _run(fetch, hint, some)
        print(f"wheelhouse: {call + 1} of {CALLS} parts", flush=True)
    print(f"wheelhouse: whole. There, in a clone of this commit: make setup WHEELHOUSE=<where {folder.name} lies>")


def _folder(wheelhouse: str) -> Path:
    folder = Path(wheelhouse).expanduser()
    if not any(folder.glob("*.whl")):
        raise PackagesError(f"WHEELHOUSE={wheelhouse} holds no wheels; name a folder that 'make wheelhouse' filled.")
    return folder


def _pinned_uv() -> str:
    return next(line for line in PINS.read_text().splitlines() if line.startswith("uv=="))


def _machine() -> str:
    """What wheels are made for, in words: ``Linux x86_64 with Python 3.11``."""
    return f"{platform.system()} {platform.machine()} with Python {sys.version_info.major}.{sys.version_info.minor}"


def _run(module: list[str], hint: str, typed: str = "") -> str:
    """What a module of the environment prints; where it fails, its own words become one sentence that begins with ``hint``."""
    done = subprocess.run([PYTHON, "-m", *module, "--quiet"], input=typed, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        lines = [line for line in lines if line.startswith("ERROR:")] or lines  # pip's, without what it tried before
        said = " ".join(" ".join(lines).split())  # uv breaks its lines where a terminal would end
        said = re.sub(r"\.? (cause|ERROR): ", "; ", re.sub("^(error|ERROR): ", "", said)).rstrip(".")
        raise PackagesError(f"{hint} ({module[0]} says: {said}).")
    return done.stdout


if __name__ == "__main__":
    command = sys.argv[1]
    torch, wheelhouse = os.environ.get("TORCH", ""), os.environ.get("WHEELHOUSE", "")
    name = {"install": "setup", "collect": "wheelhouse"}[command]
    try:
        install(torch, wheelhouse) if command == "install" else collect(wheelhouse)
    except PackagesError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped; the same command goes on from here.")
