# SPDX-License-Identifier: Apache-2.0
from .checkpoints import compare_state_dicts
from .whole_files import write_json, write_whole

__all__ = ['compare_state_dicts', 'write_json', 'write_whole']
