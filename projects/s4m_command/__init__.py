# SPDX-License-Identifier: Apache-2.0
"""The command ``s4m``.

It is a package of its own, so that ``s4m --help`` does not wait for the import
of MMDetection. A command is one call of :mod:`s4m.apis`, which is imported
when the command runs.
"""

# The order of the commands in the help.
from . import training, using, more  # isort: skip
from .application import app

__all__ = ['app', 'more', 'training', 'using']
