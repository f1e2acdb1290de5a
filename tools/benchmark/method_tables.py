# SPDX-License-Identifier: Apache-2.0
"""Make the tables of docs/results that compare methods on Shapes and Nuclei.

    python tools/benchmark/method_tables.py --bed nuclei --jobs 2

Runs are in ``--work-dir``, results in ``--results``, each with its curves,
commit, date and machine. A second call resumes where the first one stopped.
``--write FILE`` puts each table between its markers in a markdown file.
"""

import argparse

from s4m.apis import cli
from s4m.apis.table_rows import BEDS, TABLES
from s4m.apis.tables import make_tables


@cli.one_line_errors
def main() -> None:
    """Command line; the library has the other defaults."""
    parser = cli.make_parser(__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add('--bed', choices=list(BEDS), help='data set (shapes)')
    add('--tables', nargs='+', default=list(TABLES)[:1], choices=list(TABLES))
    add('--seeds', type=int, nargs='+')
    add('--iters', type=int)
    add('--jobs', type=int, help='runs at a time')
    add('--work-dir')
    add('--results')
    add('--write', help='markdown file to update')
    add('--report-only', action='store_true', help='train nothing')
    print('\n' + make_tables(**vars(parser.parse_args())))


if __name__ == '__main__':
    main()
