# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a set of images as a COCO file.

    python tools/generate_pseudo_labels.py CONFIG CHECKPOINT \
        --images data/cityscapes/annotations/semi/published@10-unlabeled.json \
        --image-root data/cityscapes/leftImg8bit/train \
        --score-thr 0.3 --non-overlapping --out pseudo_labels.json

``CONFIG`` is that of any instance segmenter of MMDetection, of a
semi-supervised model (``--model``) or of a ``PromptedDetector``; a checkpoint
``none`` takes the weights that the config's ``init_cfg`` name. ``--images`` is
a COCO file, whose image and category ids are kept, or a folder. The result has
RLE masks and a ``score``: it trains any model of MMDetection and opens in
annotation tools. Images without a pseudo-label stay in it.

Started again after it was stopped, it goes on where it was; no image is done
twice. Several GPUs:
tools/dist_generate_pseudo_labels.sh CONFIG CHECKPOINT GPUS --images ...
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mmcv
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import InstanceList
from mmengine.config import Config, DictAction
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.dist import (
    barrier,
    get_dist_info,
    init_dist,
    is_distributed,
)
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmengine.structures import InstanceData
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader, Dataset
from train import add_launcher, load_config

sys.path.append(str(Path(__file__).parent / 'dataset_converters'))
from images_to_coco import describe
from s4m.datasets.coco_io import instance_annotations
from s4m.structures.masks import pairwise_iou
from s4m.utils.whole_files import write_json

#: Overlap of two views' masks of a class, from which they are one object.
_SAME_OBJECT = 0.5


def parse_args(command: list[str] | None = None) -> argparse.Namespace:
    """Command line.

    Args:
        command (list[str], optional): Arguments instead of this process's.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint', help='a file, or none')
    parser.add_argument('--images', type=Path, required=True)
    parser.add_argument(
        '--image-root', type=Path, help="of a COCO file's names"
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument(
        '--model',
        choices=['teacher', 'student'],
        default='student',
        help='network of a semi-supervised model',
    )
    parser.add_argument('--score-thr', type=float, default=0.3)
    parser.add_argument(
        '--class-thr',
        nargs='+',
        action=DictAction,
        default={},
        metavar='CLASS=THR',
        help='score thresholds of single classes',
    )
    parser.add_argument('--max-per-image', type=int, default=100)
    parser.add_argument(
        '--min-area', type=int, default=0, help='in pixels, exclusive'
    )
    parser.add_argument(
        '--non-overlapping',
        action='store_true',
        help='pixels go to the mask with the best score',
    )
    parser.add_argument(
        '--refine',
        nargs='*',
        metavar='SAM2',
        help="config and checkpoint of SAM 2, or nothing for the config's "
        'own refiner',
    )
    parser.add_argument(
        '--scales',
        type=float,
        nargs='+',
        default=[1.0],
        help='test-time sizes, relative to the config',
    )
    parser.add_argument(
        '--flip', action='store_true', help='mirrored views too'
    )
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_launcher(parser)
    args = parser.parse_args(command)
    # What load_config of training and testing reads.
    args.work_dir = None
    return args


# ------------------------------------------------------ what a file is made of
def make_settings(
    args: argparse.Namespace, root: Path | None = None
) -> dict[str, str]:
    """What the pseudo-labels depend on: ``info`` of the file.

    The weights and the list of images are known by their contents, so that a
    teacher that was trained again is another one.

    Args:
        args (Namespace): The command line.
        root (Path, optional): Folder in which it is called, if not this one.
    """
    without_effect = ('out', 'launcher', 'local_rank', 'workers', 'work_dir')
    settings = {
        k: str(v) for k, v in vars(args).items() if k not in without_effect
    }
    # Options of training are for all stages of tools/run_experiment.py.
    settings['cfg_options'] = str(
        {
            k: v
            for k, v in (args.cfg_options or {}).items()
            if k.split('.')[0] in ('model', 'test_dataloader')
        }
    )
    for name in ('checkpoint', 'images'):
        path = (root or Path()) / getattr(args, name)
        if path.is_file():
            settings[f'{name}_sha256'] = file_digest(path)
    return settings


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def annotations_digest(annotations: list[dict]) -> str:
    """SHA-256 of annotations, by which a file that was edited is known."""
    text = json.dumps(annotations, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keep_or_set_aside(
    out: Path, command: list[str], root: Path | None = None
) -> bool:
    """Keep a file that a command of this script would make as it is.

    A file of another teacher or of other options is renamed to ``*.old``, with
    a line that says why.

    Args:
        out (Path): The file, which may be missing.
        command (list[str]): Arguments of this script, ``--out`` included.
        root (Path, optional): Folder in which it is called, if not this one.

    Returns:
        bool: whether the file is there.

    Raises:
        ValueError: if the file was not made by this script, or was edited
            since and is not of this teacher and these options.
    """
    if not out.is_file():
        return False
    do = (
        'Move it away to have it made again, or train the stage that reads it '
        'with tools/train.py.'
    )
    try:
        data = json.loads(out.read_bytes())
        info = data['info']
        edited = info['annotations_sha256'] != annotations_digest(
            data['annotations']
        )
    except (ValueError, TypeError, KeyError) as e:
        raise ValueError(
            f'{out} was not made by this version of '
            f'tools/generate_pseudo_labels.py: nothing says of which teacher '
            f'it is. {do}'
        ) from e
    wanted = make_settings(parse_args(command), root)
    for settings in (info, wanted):
        # Folders may have moved.
        settings['config'] = Path(settings.get('config', '')).name
    del wanted['batch_size']  # rounding at most
    for name in ('checkpoint', 'images'):
        if f'{name}_sha256' in wanted:
            del wanted[name]
    what = ', '.join(
        f'another {k.removesuffix("_sha256")}'
        if k.endswith('_sha256')
        else f'{k} {info.get(k)} instead of {wanted[k]}'
        for k in wanted
        if info.get(k) != wanted[k]
    )
    if not what:
        return True
    if edited:
        raise ValueError(f'{out} was edited, and has {what}. {do}')
    old = out.with_name(f'{out.name}.old')
    out.replace(old)
    print(f'{out} has {what}: it is made again, this one is {old.name} now')
    return False


# --------------------------------------------------------------------- model
def load_model(cfg: Config, checkpoint: str) -> tuple[nn.Module, list[str]]:
    """The model with its weights in eval mode, and its classes.

    Raises:
        SystemExit: if the checkpoint does not fit.
    """
    from s4m.utils.checkpoints import compare_state_dicts

    model = MODELS.build(cfg.model)
    meta = {}
    if checkpoint == 'none':
        model.init_weights()
    else:
        if not Path(checkpoint).is_file():
            raise SystemExit(f'Checkpoint {checkpoint} does not exist')
        file = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
        meta = file.get('meta', {}).get('dataset_meta') or {}
        state = file.get('state_dict', file)
        missing, _, shapes = compare_state_dicts(model.state_dict(), state)
        if missing or shapes:
            raise SystemExit(
                f'{checkpoint} does not fit the config: missing '
                f'{missing[:3]} ({len(missing)}), of another shape '
                f'{shapes[:3]} ({len(shapes)})'
            )
        model.load_state_dict(state, strict=False)
    classes = meta.get('classes')
    if classes is None:
        dataset = cfg.test_dataloader.dataset
        classes = dataset.get('metainfo', {}).get('classes')
        classes = classes or DATASETS.get(dataset.type).METAINFO['classes']
    return model.to(get_device()).eval(), list(classes)


def build_refiner(args: argparse.Namespace, cfg: Config) -> nn.Module | None:
    """A ``PseudoLabelRefiner`` with its segmenter.

    Raises:
        SystemExit: if there is none to build.
    """
    from s4m.models.promptable import attach_segmenter

    if args.refine is None:
        return None
    if len(args.refine) == 2:
        names = dict(zip(('config', 'checkpoint'), args.refine, strict=True))
        config = dict(
            type='PseudoLabelRefiner',
            segmenter=dict(type='SAM2Segmenter', **names),
        )
    elif not args.refine and cfg.model.get('refiner') is not None:
        config = cfg.model.refiner
    else:
        raise SystemExit(
            '--refine takes the config and the checkpoint of SAM 2 (e.g. '
            'sam2_hiera_large checkpoints/sam2_hiera_large.pt), or nothing '
            'if the config has a refiner'
        )
    refiner = MODELS.build(config)
    attach_segmenter(refiner, MODELS.build(refiner.segmenter_cfg))
    return refiner


# -------------------------------------------------------------------- images
def read_images(args: argparse.Namespace, classes: list[str]) -> dict:
    """COCO dictionary of the images, categories for all classes.

    Raises:
        SystemExit: if it cannot be made.
    """
    own = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
    if args.images.is_dir():
        args.image_root = args.image_root or args.images
        try:
            return describe(args.images, own)
        except (FileNotFoundError, ValueError) as e:
            raise SystemExit(str(e)) from e
    if not args.images.is_file():
        raise SystemExit(f'{args.images} is neither a file nor a folder')
    if args.image_root is None:
        raise SystemExit(
            f'--image-root: where are the images of {args.images}?'
        )
    data = json.loads(args.images.read_bytes())
    categories = data.get('categories') or own
    names = [c['name'] for c in categories]
    missing = [name for name in classes if name not in names]
    if missing:
        raise SystemExit(
            f'{args.images} does not have the categories {missing} of the '
            f'model; it has {names}'
        )
    return dict(images=data['images'], categories=categories)


class Views(Dataset):
    """Each image through the test pipeline, at several sizes and mirrored.

    Args:
        images (list[dict]): Of COCO.
        root (Path): Of their names.
        pipeline (list[dict]): The config's.
        scales (list[float]): Relative sizes.
        flip (bool): Whether mirrored ones are added.
    """

    def __init__(self, images, root, pipeline, scales, flip) -> None:
        self.images, self.root = images, root
        steps = [s for s in pipeline if not s['type'].startswith('LoadAnn')]
        self.pipelines = [
            Compose(view_pipeline(steps, scale, mirrored))
            for scale in scales
            for mirrored in ([False, True] if flip else [False])
        ]
        #: Whether each view is mirrored.
        self.mirrored = [False, True][: 1 + flip] * len(scales)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[dict]:
        image = self.images[index]
        return [
            pipeline(
                dict(
                    img_path=str(self.root / image['file_name']),
                    img_id=image['id'],
                    height=image.get('height'),
                    width=image.get('width'),
                )
            )
            for pipeline in self.pipelines
        ]


def view_pipeline(steps: list[dict], scale: float, mirrored: bool) -> list:
    """Steps of a test pipeline for another size, or mirrored.

    Raises:
        SystemExit: if nothing in them resizes.
    """
    steps = copy.deepcopy(list(steps))
    for step in steps:
        if step['type'] == 'LoadImageFromFile':
            step['type'] = 'LoadCheckedImage'
    resizes = [i for i, s in enumerate(steps) if s['type'].endswith('Resize')]
    if (scale != 1 or mirrored) and not resizes:
        raise SystemExit('--scales and --flip need a Resize in the pipeline')
    if scale != 1:
        step = steps[resizes[0]]
        if step.get('scale') is not None:
            step['scale'] = tuple(
                round(scale * side) for side in step['scale']
            )
        else:
            step['scale_factor'] = scale * step['scale_factor']
    if mirrored:
        steps.insert(resizes[0] + 1, dict(type='RandomFlip', prob=1.0))
    return steps


# ------------------------------------------------------------- pseudo-labels
def merge_views(views: InstanceList, mirrored: list[bool]) -> InstanceData:
    """One prediction of several views of an image.

    Mirrored masks are turned back; of masks of a class with an IoU above one
    half the one with the best score stays.

    Args:
        views (list[InstanceData]): with ``masks`` at the image's size.
        mirrored (list[bool]): Of each view.
    """
    if len(views) == 1 and not mirrored[0]:
        return views[0]
    masks, scores, labels = (
        torch.cat(parts)
        for parts in zip(
            *(
                (v.masks.flip(-1) if m else v.masks, v.scores, v.labels)
                for v, m in zip(views, mirrored, strict=True)
            ),
            strict=True,
        )
    )
    order = scores.argsort(descending=True, stable=True)
    # 256 pixels are enough to tell which masks show one object.
    step = max(1, max(masks.shape[-2:]) // 256)
    small = masks[order][:, ::step, ::step]
    overlap = pairwise_iou(small, small) > _SAME_OBJECT
    overlap &= labels[order][:, None] == labels[order][None]
    kept: list[int] = []
    overlap = overlap.cpu().numpy()
    for i in range(len(order)):
        if not overlap[i, kept].any():
            kept.append(i)
    order = order[kept]
    return InstanceData(
        masks=masks[order], scores=scores[order], labels=labels[order]
    )


def without_overlap(item: InstanceData) -> InstanceData:
    """Pixels go to the mask with the best score; empty masks are dropped."""
    from s4m.structures.masks import topmost

    item = item[item.scores.argsort(stable=True)]
    order = torch.arange(len(item), device=item.masks.device)
    item.masks = item.masks & (
        topmost(item.masks)[None] == order[:, None, None]
    )
    return item[item.masks.flatten(1).any(1)]


class Selector:
    """From predictions of an image to its pseudo-labels.

    Thresholds, best ``max_per_image``, refinement, no overlap, in that order.

    Args:
        args (Namespace): The command line.
        classes (list[str]): Of the labels.
        refiner (PseudoLabelRefiner, optional): With its segmenter.
    """

    def __init__(self, args, classes: list[str], refiner) -> None:
        from s4m.models.pseudo_labels import PredictionPseudoLabeler

        unknown = sorted(set(args.class_thr) - set(classes))
        if unknown:
            raise SystemExit(
                f'--class-thr: {unknown} are no classes; there are {classes}'
            )
        thresholds = [
            float(args.class_thr.get(name, args.score_thr)) for name in classes
        ]
        self.labeler = PredictionPseudoLabeler(thresholds, args.min_area).to(
            get_device()
        )
        self.max_per_image = args.max_per_image
        self.non_overlapping = args.non_overlapping
        self.refiner = refiner

    def __call__(self, pred: InstanceData, sample) -> InstanceData:
        """Pseudo-labels with ``masks`` at the image's own size."""
        size = tuple(sample.ori_shape[:2])
        view = sample.new()
        view.set_metainfo(dict(batch_input_shape=size))
        view.pred_instances = pred
        (item,) = self.labeler([view], [view])
        best = item.scores.argsort(descending=True, stable=True)
        item = item[best[: self.max_per_image]]
        if self.refiner is not None and len(item):
            rgb = mmcv.imread(sample.img_path, channel_order='rgb')
            rgb = torch.from_numpy(rgb).to(item.masks.device)
            (item,) = self.refiner(rgb.permute(2, 0, 1)[None].float(), [item])
        return without_overlap(item) if self.non_overlapping else item


# -------------------------------------------------------------- what is done
class Parts:
    """Results of images beside the file that is being made.

    A line of JSON an image, one file a process; a line that a kill cut off
    is removed when the next run begins.

    Args:
        out (Path): Of the finished file.
        settings (dict): A run with others does not go on with these parts.

    Raises:
        SystemExit: if the parts were made with other settings.
    """

    def __init__(self, out: Path, settings: dict) -> None:
        self.folder = out.with_name(f'{out.name}.parts')
        self.rank, _ = get_dist_info()
        file = self.folder / 'settings.json'
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.is_file():
                write_json(file, settings, indent=1)
        barrier()
        known = json.loads(file.read_text())
        if known != settings:
            differ = [k for k in settings if known.get(k) != settings[k]]
            raise SystemExit(
                f'{self.folder} was begun with another {", ".join(differ)}. '
                'Remove it to begin anew, or name another --out.'
            )
        self.file = self.folder / f'{self.rank}.jsonl'
        if self.file.is_file():
            text = self.file.read_bytes()
            whole = text.rfind(b'\n') + 1
            if whole < len(text):
                with self.file.open('r+b') as f:
                    f.truncate(whole)
        barrier()

    def read(self) -> dict[int, list[dict]]:
        """Annotations of each image that is done."""
        return {
            row['image']: row['annotations']
            for file in sorted(self.folder.glob('*.jsonl'))
            for row in map(json.loads, file.read_text().splitlines())
        }

    def add(self, rows: list[tuple[int, list[dict]]]) -> None:
        """Write the results of some images."""
        with self.file.open('a') as f:
            for image, annotations in rows:
                row = dict(image=image, annotations=annotations)
                f.write(json.dumps(row) + '\n')

    def remove(self) -> None:
        """Remove the folder and what this script put there."""
        for file in self.folder.glob('*.json*'):
            file.unlink()
        self.folder.rmdir()


@torch.no_grad()
def predict(
    model: nn.Module, loader: DataLoader, select: Callable
) -> Iterator[list[tuple[int, InstanceData]]]:
    """(image id, pseudo-labels) of each batch."""
    mirrored = loader.dataset.mirrored
    for batch in loader:
        views = [
            model.test_step(pseudo_collate(list(view)))
            for view in zip(*batch, strict=True)
        ]
        rows = []
        for samples in zip(*views, strict=True):
            pred = merge_views(
                [_bool_masks(s.pred_instances) for s in samples], mirrored
            )
            rows.append((samples[0].img_id, select(pred, samples[0])))
        yield rows


def _bool_masks(pred: InstanceData) -> InstanceData:
    """Some detectors of MMDetection return masks on the host."""
    masks = torch.as_tensor(pred.masks, device=pred.scores.device)
    pred.masks = masks.bool()
    return pred


def main() -> None:
    """Command line."""
    args = parse_args()
    settings = make_settings(args)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    if args.out.exists():
        raise SystemExit(f'{args.out} is there already. Remove it first.')
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher)
    rank, world_size = get_dist_info()
    model, classes = load_model(cfg, args.checkpoint)
    if hasattr(model, 'semi_test_cfg'):
        model.semi_test_cfg['predict_on'] = args.model
    data = read_images(args, classes)
    by_name = {c['name']: c['id'] for c in data['categories']}
    category_ids = [by_name[name] for name in classes]
    select = Selector(args, classes, build_refiner(args, cfg))
    parts = Parts(args.out, settings)
    done = parts.read()
    left = [image for image in data['images'] if image['id'] not in done]
    if rank == 0 and done:
        print(f'{len(done)} of {len(data["images"])} images are done already')
    barrier()
    dataset = Views(
        left[rank::world_size],
        args.image_root,
        cfg.test_dataloader.dataset.pipeline,
        args.scales,
        args.flip,
    )
    loader = DataLoader(
        dataset,
        args.batch_size,
        num_workers=args.workers,
        collate_fn=list,
    )
    for rows in track(
        predict(model, loader, select),
        'pseudo-labels',
        total=len(loader),
        disable=rank > 0,
    ):
        parts.add(
            [
                (image, instance_annotations(item, image, category_ids))
                for image, item in rows
            ]
        )
    barrier()
    if rank > 0:
        return
    done = parts.read()
    annotations = []
    for image in data['images']:
        for annotation in done[image['id']]:
            annotations.append(dict(annotation, id=len(annotations) + 1))
    write_json(
        args.out,
        dict(
            info=dict(
                description='pseudo-labels',
                annotations_sha256=annotations_digest(annotations),
                **settings,
            ),
            images=data['images'],
            annotations=annotations,
            categories=data['categories'],
        ),
    )
    parts.remove()
    print(
        f'{args.out}: {len(annotations)} instances in '
        f'{len(data["images"])} images'
    )


if __name__ == '__main__':
    main()
