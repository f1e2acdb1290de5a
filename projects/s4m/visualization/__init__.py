# SPDX-License-Identifier: Apache-2.0
from .curves import (
    curve,
    plot_contrastive_curves,
    plot_drift_curves,
    plot_training_curves,
    read_scalars,
)
from .painting import (
    draw_confusion,
    grid,
    paint_masks,
    palette,
    panel,
    save_picture,
)
from .report import write_report

__all__ = [
    'curve',
    'draw_confusion',
    'grid',
    'paint_masks',
    'palette',
    'panel',
    'plot_contrastive_curves',
    'plot_drift_curves',
    'plot_training_curves',
    'read_scalars',
    'save_picture',
    'write_report',
]
