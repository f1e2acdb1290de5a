# SPDX-License-Identifier: Apache-2.0
"""Write configs/metafile.yml, which MIM and MMEngine read, from the configs.

python tools/misc/model_index.py
"""

from s4m.apis import cli
from s4m.apis.model_index import write_metafile


@cli.one_line_errors
def main() -> None:
    """Command line."""
    cli.make_parser(__doc__).parse_args()
    print(write_metafile())


if __name__ == '__main__':
    main()
