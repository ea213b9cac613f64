"""The address of MLflow's store: what of it may be shown, and where a password goes that is not to be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

OWN_STORE = "mlflow.db"  # in the root of the clone; MLFLOW_TRACKING_URI names another


def public(text: str) -> str:
    """Without the name, password and query of an address.

    >>> public("at http://me:se/c@ret@host:5000/api?token=secret failed")
    'at http://host:5000/api failed'
    """
    return re.sub(r"(://)(?:\S*@)?([^\s?]*)(?:\?\S*)?", r"\1\2", text)


def shown(uri: str) -> str:
    """An address for people: no password, and a path as it is on the disk."""
    return unquote(public(uri)) if uri.startswith("sqlite:") else public(uri)


def without_password(uri: str) -> str:
    """The address of a server, its name and password moved to where MLflow reads them and does not print them.

    They end at the last ``@``, for people write passwords with ``@`` and ``/`` unquoted.
    """
    scheme, _, rest = uri.partition("://")
    login, at, server = rest.rpartition("@")
    if not (at and ":" in login and scheme.startswith("http")):
        return uri
    name, _, password = login.partition(":")
    os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(name), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
    os.environ["MLFLOW_TRACKING_URI"] = f"{scheme}://{server}"
    return os.environ["MLFLOW_TRACKING_URI"]


def local(root: Path, name: str = OWN_STORE) -> str:
    """The address of the clone's own store, quoted, because a path may hold what means something in an address.

    Slashes too, because MLflow makes the folder that it reads in the address, unquoted.
    """
    return f"sqlite:///{quote(str((root / name).absolute()), safe='')}"
