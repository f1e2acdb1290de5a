# SPDX-License-Identifier: Apache-2.0
"""Define the scope ``s4m`` of MMEngine's registries.

MMEngine builds a config with ``_base_ = 's4m::...'`` in this scope. Its
registries are children of MMDetection's, where the components of this package
are registered, so that a config names them without a scope.
"""

from __future__ import annotations

import mmdet.registry
from mmengine.registry import Registry

REGISTRIES = {
    name: Registry(parent.name, parent=parent, scope='s4m', locations=['s4m'])
    for name, parent in vars(mmdet.registry).items()
    if isinstance(parent, Registry)
}
