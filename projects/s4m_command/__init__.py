# SPDX-License-Identifier: Apache-2.0
"""The command ``s4m``.

It is a package of its own, so that ``s4m --help`` does not wait for the import
of MMDetection. A command is one call of :mod:`s4m.apis`, which is imported
when the command runs.
"""

from . import more
from .main import app

__all__ = ['app', 'more']
