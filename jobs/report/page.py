"""HTML pages from templates: single files that need no others, with all text escaped."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from pipeline.storage.urls import FOLDER, join

TEMPLATES = Path(__file__).parent / "templates"
NAME = "report.html"


def report_url(root: str) -> str:
    """Return the default place of the report of a destination."""
    return join(root, FOLDER, NAME)


def is_report(content: bytes) -> bool:
    """Return whether a file is a report that nightlift wrote."""
    return b"<footer>nightlift, " in content


def filled(template: str, **content: Any) -> bytes:
    """Return the page in UTF-8. Its policy forbids loading, scripts, and any style except `page.css`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported only when a page is written
    from markupsafe import Markup

    css = (TEMPLATES / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(css=Markup(css), policy=policy, **content)
    return page.encode()
