# SPDX-License-Identifier: Apache-2.0
"""Update the tables of configs/README.md.

python tools/misc/config_table.py
"""

import argparse
from pathlib import Path

from s4m.apis.config_table import update_tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--configs', type=Path, default=Path('configs'))
    readme = parser.parse_args().configs / 'README.md'
    readme.write_text(update_tables(readme.read_text(), readme.parent))


if __name__ == '__main__':
    main()
