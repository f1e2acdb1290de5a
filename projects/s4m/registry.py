# SPDX-License-Identifier: Apache-2.0
"""The scope ``s4m`` of MMEngine's registries.

MMEngine builds what stands in a config with ``_base_ = 's4m::...'`` in this
scope. Its registries are children of MMDetection's, in which the components
of this package are registered: a config names them without a scope.
"""

from __future__ import annotations

import mmdet.registry
from mmengine.registry import Registry

REGISTRIES = {
    name: Registry(parent.name, parent=parent, scope='s4m', locations=['s4m'])
    for name, parent in vars(mmdet.registry).items()
    if isinstance(parent, Registry)
}
