# SPDX-License-Identifier: Apache-2.0
from .config import find_config, get_config, list_configs
from .pipeline import Launcher, Stage, run_stages, stages_of
from .testing import test
from .training import train

__all__ = [
    'Launcher',
    'Stage',
    'find_config',
    'get_config',
    'list_configs',
    'run_stages',
    'stages_of',
    'test',
    'train',
]
