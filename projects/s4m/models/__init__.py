# SPDX-License-Identifier: Apache-2.0
from .backbones import *  # noqa: F403
from .batch_augments import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .dense_heads import *  # noqa: F403
from .detectors import *  # noqa: F403
from .losses import *  # noqa: F403
from .pixel_decoders import *  # noqa: F403
from .promptable import *  # noqa: F403
from .pseudo_labels import *  # noqa: F403
