# SPDX-License-Identifier: Apache-2.0
"""A prepared check of a real GPU, see ``tools/benchmark/gpu_check.py``."""

from .parts import PARTS, Part
from .processes import run_check
from .report import Report

__all__ = ['PARTS', 'Part', 'Report', 'run_check']
