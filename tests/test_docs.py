# SPDX-License-Identifier: Apache-2.0
"""The code and the links of the documents."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

PAGES = [
    ROOT / 'README.md',
    ROOT / 'configs/README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
]
#: A comment says what to do with the block that follows it.
_MARKED = re.compile(
    r'^<!-- (?P<kind>run|config|file)(: (?P<name>\S+))? -->\n'
    r'```python\n(?P<code>.*?)^```$',
    re.M | re.S,
)
_LINK = re.compile(r'\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)')


def _recipes(page: str) -> dict[str, list[tuple[str, str, str]]]:
    """Marked blocks of each section: kind, name and code.

    Code is preceded by so many empty lines that a traceback names the line of
    the page.
    """
    text = (ROOT / page).read_text()
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for block in _MARKED.finditer(text):
        before = text[: block.start('code')]
        title = re.findall(r'^## (.*)$', before, re.M)[-1]
        code = '\n' * before.count('\n') + block['code']
        sections.setdefault(title, []).append(
            (block['kind'], block['name'], code)
        )
    return sections


RECIPES = _recipes('docs/extend.md')


def test_recipes__are_marked():
    titles = [title.partition(':')[0] for title in RECIPES]
    assert titles == ['A method', 'A detector', 'A promptable model']


@pytest.mark.parametrize('title', RECIPES)
def test_recipe__runs(title, tmp_path, monkeypatch):
    """What a reader types, in the order of the page."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {'__name__': 'recipe'}
    for kind, name, code in RECIPES[title]:
        if kind == 'config':
            (tmp_path / name).write_text(code.lstrip('\n'))
        elif kind == 'file':
            # The file has its own tests.
            assert code.lstrip('\n') == (ROOT / name).read_text()
        else:
            exec(compile(code, 'docs/extend.md', 'exec'), namespace)


def _anchors(text: str) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r'^#+ (.*)$', text, re.M)
    return {
        re.sub(r'[^\w\- ]', '', h).strip().lower().replace(' ', '-')
        for h in headings
    }


@pytest.mark.parametrize(
    'page', PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES]
)
def test_links__lead_somewhere(page):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    for path, anchor in _LINK.findall(text):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in _anchors(target.read_text()), f'{path}#{anchor}'
