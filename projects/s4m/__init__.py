# SPDX-License-Identifier: Apache-2.0
"""Semi-supervised instance segmentation for MMDetection 3.

With images of one's own::

    from s4m import train

    train(labeled='labels.json', unlabeled='photos/', out='runs/apples')

Importing this package registers its components; in a config:
``custom_imports = dict(imports=['s4m'], allow_failed_imports=False)``.
"""

from importlib.util import find_spec

from .version import __version__

if __name__ != 's4m':
    raise ImportError(
        f'This package is called s4m, not {__name__}: install the project '
        '(pip install -e .) and use `import s4m`. A second name would '
        'register every component twice.'
    )

_missing = [n for n in ('mmengine', 'mmcv', 'mmdet') if find_spec(n) is None]
if _missing:
    raise ImportError(
        f's4m needs {", ".join(_missing)}: pip install -r '
        'requirements/mminstall.txt (README, "Installation").'
    )

from .utils.compatibility import (  # noqa: E402
    checkpoint_without_reentry,
    import_mmdet_quietly,
)
from .utils.mixed_precision import run_half_inputs_in_fp32  # noqa: E402

import_mmdet_quietly()
checkpoint_without_reentry()
run_half_inputs_in_fp32()

from . import apis, datasets, engine, evaluation, models  # noqa: E402
from .apis.label_conversion import convert_labels as convert  # noqa: E402
from .apis.own_data import (  # noqa: E402
    doctor,
    evaluate,
    label,
    predict,
    report,
    suggest,
    train,
)
from .apis.own_data import publish_network as publish  # noqa: E402

__all__ = [
    '__version__',
    'apis',
    'convert',
    'datasets',
    'doctor',
    'engine',
    'evaluate',
    'evaluation',
    'label',
    'models',
    'predict',
    'publish',
    'report',
    'suggest',
    'train',
]
