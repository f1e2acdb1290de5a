# SPDX-License-Identifier: Apache-2.0
"""Tables of configs, against tables written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from s4m.apis.config_table import split_percent, update_tables


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    files = {
        'gd_city_5p': '',
        'gd/gd_coco_5p': '# Twice\n# as many.\n# Really.\nx = 1  # no\n',
        'gd/gd_coco_10p': 'y = 1\n',
        'gd/teacher': '# Alone.\n',
        '_base_/gd_coco_20p': '',
    }
    for name, text in files.items():
        path = tmp_path / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / 'published_ap.yml').write_text(
        'gd_coco_5p: 21.0\nteacher: 3.5\n'
    )
    return tmp_path


def test_rows__one_row_for_all_percentages(configs):
    readme = (
        'A\n<!-- rows: teacher gd_coco_*p gd_city_* -->\nold\n<!-- end -->\nB'
    )
    made = update_tables(readme, configs)
    assert made == '\n'.join(
        [
            'A',
            '<!-- rows: teacher gd_coco_*p gd_city_* -->',
            '',
            '| config | 0 % | 5 % | 10 % |',
            '|---|---|---|---|',
            '| `gd/teacher.py` | 3.5 |  |  |',
            '| `gd/gd_coco_{5,10}p.py` |  | 21.0 | - |',
            '| `gd_city_5p.py` |  | - |  |',
            '',
            '<!-- end -->',
            'B',
        ]
    )
    assert update_tables(made, configs) == made


def test_list__has_the_comments(configs):
    made = update_tables(
        '<!-- list: gd_coco_5p gd_coco_10p -->\n<!-- end -->', configs
    )
    assert made.splitlines()[2:6] == [
        '| config | AP | |',
        '|---|---|---|',
        '| `gd/gd_coco_5p.py` | 21.0 | Twice as many. Really. |',
        '| `gd/gd_coco_10p.py` | - |  |',
    ]


def test_list__without_published_numbers_has_no_column(configs):
    made = update_tables('<!-- list: gd_city_5p -->\n<!-- end -->', configs)
    assert '| config | |' in made and '| `gd_city_5p.py` |  |' in made


def test_pattern_without_config__is_named(configs):
    with pytest.raises(ValueError, match="'gd_lvis_"):
        update_tables('<!-- rows: gd_lvis_*p -->\n<!-- end -->', configs)


def test_published_number_without_config__is_named(configs):
    (configs / 'published_ap.yml').write_text('gd_coco_7p: 1.0\n')
    with pytest.raises(ValueError, match='names gd_coco_7p'):
        update_tables('', configs)


@pytest.mark.parametrize(
    ('stem', 'row', 'percent'),
    [
        ('s4m_cityscapes_100p', 's4m_cityscapes_', 100),
        ('supervised_swin_l_coco_2p', 'supervised_swin_l_coco_', 2),
        ('sskd_teacher_zeroshot_ade20k', 'sskd_teacher_zeroshot_ade20k', 0),
    ],
)
def test_split_percent(stem, row, percent):
    assert split_percent(stem) == (row, percent)
