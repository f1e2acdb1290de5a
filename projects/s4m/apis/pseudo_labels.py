# SPDX-License-Identifier: Apache-2.0
"""Make pseudo-labels of a set of images as a COCO file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, init_dist, is_distributed
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from s4m.datasets.coco_io import instance_annotations, read_coco
from s4m.datasets.converters.images import describe
from s4m.datasets.image_views import ImageViews
from s4m.models.promptable import SegmenterOwner
from s4m.models.pseudo_labels.prediction_selector import (
    PredictionSelector,
)
from s4m.utils.digests import file_digest
from s4m.utils.whole_files import write_json

from .config import load_config
from .prediction import load_model, predict
from .pseudo_label_file import (
    PseudoLabelParts,
    annotations_digest,
)


class PseudoLabelGenerator:
    """Makes the pseudo-labels of a set of images as a COCO file.

    The file has RLE masks and a ``score``: any model of MMDetection trains on
    it and annotation tools open it. It lists images without a pseudo-label,
    too. A stopped run resumes; several processes share the images.

    Args:
        config (str | Path): Config, by path or by name, of an instance
            segmenter of MMDetection, of a semi-supervised model or of a
            ``PromptedDetector``.
        checkpoint (str | Path, optional): File of the weights. None takes
            the weights that the config's ``init_cfg`` entries name.
        images (str | Path): COCO file, whose image and category ids stay, or
            a folder.
        image_root (str | Path, optional): Folder that the names in a COCO
            file are relative to. Defaults to None, for a folder of images.
        model (str): Network of a semi-supervised model, ``student`` or
            ``teacher``. Defaults to ``student``.
        score_thr (float): Minimum score. Defaults to 0.3.
        class_thr (Mapping[str, float], optional): Minimum scores of single
            classes, by name. Defaults to None.
        max_per_image (int): Maximum number of pseudo-labels in an image.
            Defaults to 100.
        min_area (int): A mask is larger than this area in pixels. Defaults
            to 0.
        non_overlapping (bool): Whether a pixel belongs only to the mask with
            the best score. Defaults to False.
        refine (Sequence[str] | Mapping, optional): Config and checkpoint of
            the SAM 2 that refines the masks, or an empty sequence for the
            refiner of the config, or the config of a refiner. Defaults to
            None, which does not refine.
        scales (Sequence[float]): Sizes of the test-time views relative to
            the config's size. Defaults to one view of that size.
        flip (bool): Whether mirrored views are added. Defaults to False.
        batch_size (int): Number of images in a batch. Defaults to 1.
        workers (int): Number of processes that load images. Defaults to 2.
        cfg_options (Mapping[str, Any], optional): Values of the config that
            are replaced, by dotted key. Defaults to None.
        launcher (str): Launcher of a distributed run: ``pytorch``, ``slurm``,
            ``mpi`` or ``none``. Defaults to ``none``.
        device (str, optional): ``cuda:0``, ``cpu`` ... Defaults to None, a
            GPU if there is one.

    Attributes:
        settings (dict[str, str]): Everything that the pseudo-labels depend
            on; ``info`` of the file. It has digests of the weights and of the
            list of images, so that a teacher that was trained again differs.

    Raises:
        FileNotFoundError: if the checkpoint or the images do not exist.
        ValueError: if an argument is out of range, or ``image_root`` is
            missing for a COCO file.

    Example::

        generator = PseudoLabelGenerator(
            'supervised_cityscapes_10p',
            'work_dirs/supervised_cityscapes_10p/iter_90000.pth',
            images='images/',
            non_overlapping=True,
        )
        generator.generate('pseudo_labels.json')
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path | None,
        *,
        images: str | Path,
        image_root: str | Path | None = None,
        model: str = 'student',
        score_thr: float = 0.3,
        class_thr: Mapping[str, float] | None = None,
        max_per_image: int = 100,
        min_area: int = 0,
        non_overlapping: bool = False,
        refine: Sequence[str] | Mapping[str, Any] | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        batch_size: int = 1,
        workers: int = 2,
        cfg_options: Mapping[str, Any] | None = None,
        launcher: str = 'none',
        device: str | None = None,
    ) -> None:
        if model not in ('teacher', 'student'):
            raise ValueError(f'model must be teacher or student, got {model}')
        if not scales or min(scales) <= 0:
            raise ValueError(f'scales must be positive, got {list(scales)}')
        self.refine: list[str] | dict[str, Any] | None = None
        if isinstance(refine, Mapping):
            self.refine = dict(refine)
        elif refine is not None:
            if len(refine) not in (0, 2):
                raise ValueError(_REFINE)
            self.refine = list(refine)
        self.config, self.checkpoint = config, checkpoint
        self.images, self.image_root = Path(images), image_root
        self.network = model
        self.selection: dict[str, Any] = dict(
            score_thr=float(score_thr),
            class_thr=dict(class_thr or {}),
            max_per_image=max_per_image,
            min_area=min_area,
            non_overlapping=non_overlapping,
        )
        self.scales, self.flip = [float(s) for s in scales], flip
        self.batch_size, self.workers = batch_size, workers
        self.cfg_options = dict(cfg_options or {})
        self.launcher = launcher
        self.device = device or get_device()
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise FileNotFoundError(f'Checkpoint {checkpoint} does not exist')
        if not self.images.exists():
            raise FileNotFoundError(
                f'{images} (--images) is neither a file nor a folder'
            )
        if self.images.is_file() and image_root is None:
            raise ValueError(
                f'image_root (--image-root): where are the images of {images}?'
            )
        self.settings = self._make_settings()

    def _make_settings(self) -> dict[str, str]:
        values = dict(
            config=self.config,
            checkpoint='none' if self.checkpoint is None else self.checkpoint,
            images=self.images,
            image_root=self.image_root,
            model=self.network,
            **self.selection,
            refine=self.refine,
            scales=self.scales,
            flip=self.flip,
            batch_size=self.batch_size,
            # tools/run_experiment.py passes training options to all stages.
            cfg_options={
                k: v
                for k, v in self.cfg_options.items()
                if k.split('.')[0] in ('model', 'test_dataloader')
            },
        )
        settings = {name: str(value) for name, value in values.items()}
        if self.checkpoint is not None:
            settings['checkpoint_sha256'] = file_digest(self.checkpoint)
        if self.images.is_file():
            settings['images_sha256'] = file_digest(self.images)
        return settings

    def generate(self, out: str | Path) -> Path:
        """Make the file.

        Args:
            out (str | Path): File to write. Unfinished results are in the
                folder ``{out}.parts``.

        Returns:
            Path: the file.

        Raises:
            FileExistsError: if the file exists.
            ValueError: if the checkpoint does not fit the config, the images
                lack a category of the model, or the parts of a stopped run
                have other settings.
        """
        out = Path(out)
        if out.exists():
            raise FileExistsError(f'{out} is there already. Remove it first.')
        cfg = load_config(
            self.config,
            launcher=self.launcher,
            cfg_options=self.cfg_options or None,
        )
        if self.launcher != 'none' and not is_distributed():
            init_dist(self.launcher)
        rank, world_size = get_dist_info()
        model, classes = load_model(
            cfg, self.checkpoint, self.device, self.network
        )
        data = self._read_images(classes)
        select = PredictionSelector(
            classes,
            refiner=self._build_refiner(cfg),
            device=self.device,
            **self.selection,
        )
        parts = PseudoLabelParts(out, self.settings)
        done = parts.read()
        left = [image for image in data['images'] if image['id'] not in done]
        if rank == 0 and done:
            print(
                f'{len(done)} of {len(data["images"])} images are done already'
            )
        barrier()
        views = ImageViews(
            left[rank::world_size],
            self.images if self.image_root is None else self.image_root,
            cfg.test_dataloader.dataset.pipeline,
            self.scales,
            self.flip,
        )
        loader = DataLoader(
            views, self.batch_size, num_workers=self.workers, collate_fn=list
        )
        ids = {c['name']: c['id'] for c in data['categories']}
        category_ids = [ids[name] for name in classes]
        for rows in track(
            predict(model, loader, views.mirrored, select),
            'pseudo-labels',
            total=len(loader),
            disable=rank > 0,
        ):
            parts.add(
                (image, instance_annotations(item, image, category_ids))
                for image, item in rows
            )
        barrier()
        if rank == 0:
            self._finish(out, data, parts)
        return out

    def _finish(
        self, out: Path, data: dict[str, Any], parts: PseudoLabelParts
    ) -> None:
        """Write the results of all processes as one file."""
        done = parts.read()
        annotations: list[dict[str, Any]] = []
        for image in data['images']:
            for annotation in done[image['id']]:
                annotations.append(dict(annotation, id=len(annotations) + 1))
        info = dict(
            description='pseudo-labels',
            annotations_sha256=annotations_digest(annotations),
            **self.settings,
        )
        write_json(out, dict(info=info, **data) | {'annotations': annotations})
        parts.remove()
        print(
            f'{out}: {len(annotations)} instances in '
            f'{len(data["images"])} images'
        )

    def _read_images(self, classes: Sequence[str]) -> dict[str, Any]:
        """Read the images as a COCO dictionary with all classes."""
        categories = [
            dict(id=i + 1, name=name) for i, name in enumerate(classes)
        ]
        if self.images.is_dir():
            return describe(self.images, categories)
        data = read_coco(self.images, needs=['images'])
        categories = data.get('categories') or categories
        names = [c['name'] for c in categories]
        missing = [name for name in classes if name not in names]
        if missing:
            raise ValueError(
                f'{self.images} does not have the categories {missing} of the '
                f'model; it has {names}'
            )
        return dict(
            images=data['images'], annotations=[], categories=categories
        )

    def _build_refiner(self, cfg: Config) -> nn.Module | None:
        """Build the refiner of the arguments or of the config."""
        if self.refine is None:
            return None
        if isinstance(self.refine, dict):
            refiner = self.refine
        elif self.refine:
            config, checkpoint = self.refine
            segmenter = dict(
                type='SAM2Segmenter', config=config, checkpoint=checkpoint
            )
            refiner = dict(type='PseudoLabelRefiner', segmenter=segmenter)
        else:
            refiner = cfg.model.get('refiner')
        if refiner is None:
            raise ValueError(_REFINE)
        built = MODELS.build(refiner)
        if isinstance(built, SegmenterOwner):
            # A wrong file is reported before the first prediction.
            built.build_segmenter()
        return built


_REFINE = (
    '--refine takes the config and the checkpoint of SAM 2 (for instance '
    'sam2_hiera_large checkpoints/sam2_hiera_large.pt), or nothing if the '
    'config has a refiner'
)


def generate_pseudo_labels(
    config: str | Path,
    checkpoint: str | Path | None,
    out: str | Path,
    **kwargs: Any,
) -> Path:
    """Make a file of pseudo-labels in one call.

    Args:
        config (str | Path): Config, by path or by name.
        checkpoint (str | Path, optional): File of the weights.
        out (str | Path): File to write.
        **kwargs: Further arguments of :class:`PseudoLabelGenerator`.

    Returns:
        Path: the file.
    """
    generator = PseudoLabelGenerator(config, checkpoint, **kwargs)
    return generator.generate(out)
