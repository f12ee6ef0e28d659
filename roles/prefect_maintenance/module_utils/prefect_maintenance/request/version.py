"""The version of this tool."""

from __future__ import annotations

VERSION = "0.1.0"
