# SPDX-License-Identifier: Apache-2.0
from .checkpoints import compare_state_dicts
from .compatibility import import_mmdet_quietly, narrow_box_encoding
from .random_states import (
    get_random_state,
    keep_random_state,
    seed_generators,
    seed_host,
    seeded,
    set_random_state,
)
from .recording import record_output
from .whole_files import write_json, write_whole

__all__ = [
    'compare_state_dicts',
    'get_random_state',
    'import_mmdet_quietly',
    'keep_random_state',
    'narrow_box_encoding',
    'record_output',
    'seed_generators',
    'seed_host',
    'seeded',
    'set_random_state',
    'write_json',
    'write_whole',
]
