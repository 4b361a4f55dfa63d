"""Templates filled in: one HTML file that needs nothing beside it, with every text in it escaped."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from pipeline.storage.urls import FOLDER, join

TEMPLATES = Path(__file__).parent / "templates"
NAME = "report.html"


def report_url(root: str) -> str:
    """Where the report of a destination lies, unless another place is asked for."""
    return join(root, FOLDER, NAME)


def is_report(content: bytes) -> bool:
    """Tell whether a file is a page that nightlift has drawn."""
    return b"<footer>nightlift, " in content


def filled(template: str, **content: Any) -> bytes:
    """The page, UTF-8. Its policy lets a browser load nothing, run nothing, and style it by `page.css` alone."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only where there is a page to fill
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
