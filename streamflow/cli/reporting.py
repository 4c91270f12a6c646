"""Writes a report, as JSON or as a page for a browser, by the end of the file's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamflow.errors import StreamflowError, UsageError

PAGES = (".html", ".htm")


def require_folder(path: Path, subject: str) -> None:
    """Raises UsageError where the file could not be made."""
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{subject} {path}", "its folder does not exist")


def write_report(path: Path, report: Mapping[str, Any], subject: str) -> None:
    """Raises StreamflowError where it cannot be written, or is no report that a page can be made of."""
    if path.suffix.lower() in PAGES:
        from streamflow.core.page.page import page  # only here: it is needed once, at the end

        try:
            text = page(report)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            found = f"lacks what a page shows ({type(error).__name__}: {error})"
            raise StreamflowError(subject, found, "a report as this version of streamflow writes it") from None
    else:
        text = json.dumps(report, indent=2) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StreamflowError(f"{subject} {path}", f"cannot be written: {error.strerror}") from None
