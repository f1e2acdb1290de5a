# SPDX-License-Identifier: Apache-2.0
"""This module holds what the command lines in ``tools/`` share.

A tool is an argument parser and one call of the library::

    from s4m.apis.cli import add_cfg_options, make_parser, one_line_errors
    from s4m.apis.training import train


    @one_line_errors
    def main() -> None:
        parser = make_parser(__doc__)
        parser.add_argument('config')
        add_cfg_options(parser)
        train(**vars(parser.parse_args()))
"""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from mmengine.config import DictAction

from .memory import OutOfMemory
from .precision import PRECISIONS

T = TypeVar('T')
PACKAGE = Path(__file__).resolve().parents[1]


def make_parser(doc: str | None, **kwargs) -> argparse.ArgumentParser:
    """Make a parser that shows the docstring of a tool as its description.

    Args:
        doc (str, optional): ``__doc__`` of the tool; line breaks stay.
        **kwargs: Further arguments of ``argparse.ArgumentParser``.
    """
    return argparse.ArgumentParser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **kwargs,
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, which MMDetection's launch scripts pass."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    # torch.distributed.launch passes it; LOCAL_RANK says the same.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        action=_Ignore,
        dest=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


class _Ignore(argparse.Action):
    """Accept an option with a value and ignore it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        return


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options key=value ...``, a dict; None if it is absent."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, for instance '
        'train_cfg.max_iters=100 train_dataloader.batch_size=2',
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add ``--split NAME``, the labelled and unlabelled images."""
    parser.add_argument(
        '--split',
        metavar='NAME',
        help='split in the folder of the published one, for instance '
        'seed0@10; work directories are then in work_dirs/NAME',
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add work directories of runs, ``--labels`` and ``--out``."""
    parser.add_argument('work_dirs', type=Path, nargs='+')
    parser.add_argument('--labels', nargs='+', help='one for each run')
    parser.add_argument('--out', required=True, help='picture to write')


def labelled_runs(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> dict[str, Path]:
    """Return the runs of :func:`add_runs` by their names in a legend.

    Args:
        parser (ArgumentParser): It reports names that do not fit.
        args (Namespace): Parsed arguments. Without ``--labels`` a run has
            the name of its folder.
    """
    labels = args.labels or [w.resolve().name for w in args.work_dirs]
    if len(labels) != len(args.work_dirs):
        parser.error(f'{len(args.work_dirs)} runs, {len(labels)} labels')
    if len(set(labels)) < len(labels):
        parser.error(f'Name the runs with --labels: {labels}')
    return dict(zip(labels, args.work_dirs, strict=True))


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp`` and ``--auto-scale-lr``."""
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bf16',
        choices=PRECISIONS,
        help='precision: mixed with bf16 or fp16, or off, which is fp32 (with '
        'TF32 on a GPU); without this option bf16 on a GPU that has it, fp16 '
        'on another, fp32 on a CPU',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size',
    )


def one_line_errors(main: Callable[..., T]) -> Callable[..., T]:
    """Decorate a ``main`` so that it reports a user's mistake as one line.

    An error that the library raises on purpose (a ``ValueError`` from a line
    of this package) and one that names what is missing (``OSError``,
    ``ImportError``) or what is too large (``OutOfMemory``) ends the program
    with exit status 1 and its message on stderr. Every other exception is a
    programming error and keeps its traceback.

    Args:
        main (Callable): The ``main`` of a tool.

    Raises:
        SystemExit: with the message of the error.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> T:
        try:
            return main(*args, **kwargs)
        except Exception as e:
            text = mistake(e)
            if text is None:
                raise
            raise SystemExit(text) from e

    return run


def mistake(error: Exception) -> str | None:
    """Return the line for an error that a user can mend.

    Args:
        error (Exception): Error that ended a command.

    Returns:
        str: its message, or None for a programming error.
    """
    if not isinstance(error, ValueError | OSError | ImportError | OutOfMemory):
        return None
    if isinstance(error, ValueError) and not _is_raised_here(error):
        return None
    return _one_line(error)


def _one_line(error: Exception) -> str:
    """Return the message of an error without line breaks."""
    text = ' '.join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f'{error.filename}: {error.strerror}'
    return text or type(error).__name__


def _is_raised_here(error: BaseException) -> bool:
    """Check whether a line of this package or of a tool raised the error.

    MMEngine's registry raises the errors of a constructor again, and a pool
    of processes the errors of its workers, so the whole chain is checked.
    """
    return any(
        name == '__main__' or name.split('.')[0] == 's4m'
        for name in _raised_by(error)
    )


def _raised_by(error: BaseException | None) -> Iterator[str]:
    """Yield the names of the modules that raised an error and its causes."""
    while error is not None:
        frames: TracebackType | None = error.__traceback__
        while frames is not None and frames.tb_next is not None:
            frames = frames.tb_next
        if frames is not None:
            yield frames.tb_frame.f_globals.get('__name__', '')
        # multiprocessing stores the traceback of a worker as text.
        remote = re.findall(r'File "(.+?)", line', str(error.__cause__ or ''))
        if remote and PACKAGE in Path(remote[-1]).parents:
            yield 's4m'
        error = error.__cause__ or error.__context__
