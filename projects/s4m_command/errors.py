# SPDX-License-Identifier: Apache-2.0
"""Errors of a command: one line for a mistake, a traceback for a bug."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def one_line_errors(debug: bool, after_stop: str = '') -> Iterator[None]:
    """Report what a person can mend as one line.

    Args:
        debug (bool): Whether the traceback is shown, too.
        after_stop (str): What to do after Ctrl-C. Defaults to nothing.

    Raises:
        Exit: with status 1 after a mistake, 130 after Ctrl-C. Other errors
            are bugs and pass.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.secho(f'Stopped. {after_stop}'.strip(), err=True)
        raise typer.Exit(130) from None
    except Exception as e:
        from s4m.apis.cli import mistake

        text = mistake(e)
        if text is None:
            raise
        if debug:
            traceback.print_exc()
        typer.secho(f'Error: {text}', err=True, fg='red')
        raise typer.Exit(1) from None
