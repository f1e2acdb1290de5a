# SPDX-License-Identifier: Apache-2.0
from .files import write_json, write_whole

__all__ = ['write_json', 'write_whole']
