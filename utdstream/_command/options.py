"""Options that several verbs of the command share.

Owns: their names and meanings. Standard library only. Main thread.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_ca_file(parser: argparse.ArgumentParser) -> None:
    """Adds `--ca-file`, for what asks an engine."""
    given = os.environ.get("UTD_CA_FILE")
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=Path,
        default=Path(given) if given else None,
        help="PEM file of the authority that the engine's certificate is checked against (default: UTD_CA_FILE, "
        "else the system's)",
    )
