# SPDX-License-Identifier: Apache-2.0
"""Version of the package, where a build reads it without importing."""

__version__ = '0.1.0'
