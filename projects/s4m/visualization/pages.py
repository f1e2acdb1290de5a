# SPDX-License-Identifier: Apache-2.0
"""Fill the templates of web pages, which need nothing but themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from s4m.utils.whole_files import write_whole

#: Folder of the templates: ``page.html`` has the style and the macros.
_TEMPLATES = Path(__file__).resolve().parents[1] / 'assets'


def render(template: str, **values: Any) -> str:
    """Fill a template; every value is escaped.

    Args:
        template (str): File name of a template.
        **values: Values by the names in the template.

    Raises:
        jinja2.UndefinedError: if the template uses another name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def write_page(path: str | Path, template: str, **values: Any) -> Path:
    """Write a filled template.

    Args:
        path (str | Path): The page; its folder is made.
        template (str): File name of a template.
        **values: Values by the names in the template.

    Returns:
        Path: the page.
    """
    page = render(template, **values)
    with write_whole(path) as partial:
        partial.write_text(page, encoding='utf-8')
    return Path(path)
