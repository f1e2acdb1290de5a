# SPDX-License-Identifier: Apache-2.0
"""Train on a person's own images, from labels to a published model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS as DETECTORS
from mmengine.registry import init_default_scope

from s4m.apis.config import get_config
from s4m.apis.pipeline import Launcher

from .config_files import write_configs
from .decisions import Decision, Settings, Wishes, decide
from .facts import DataFacts, data_facts, objects_by_class, this_machine
from .inputs import OwnData, read_inputs
from .messages import Console
from .run_folder import RunFolder
from .sam_files import find_sam
from .stages import TrainResult, train_stages
from .start_weights import adapt, coco_address, read_start, write_start
from .timing import fit_to_hours

#: What a call makes before its record.
_PREPARED = {
    'config.py',
    'data',
    'log',
    'stages',
    'start.pth',
    'supervised.py',
}


def train(
    labeled: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike,
    images: str | os.PathLike | None = None,
    unlabeled: str | os.PathLike | None = None,
    val: str | os.PathLike | None = None,
    config: str | os.PathLike | None = None,
    hours: float | None = None,
    seed: int = 0,
    gpus: int = 1,
    amp: str | None = None,
    **wishes: Any,
) -> TrainResult:
    """Train on labelled and unlabelled images.

    The settings are decided from the data and the machine, printed, and
    written as configs, which can be edited. A second call with the same
    arguments skips what is finished and resumes what is not.

    Args:
        labeled: Labels: a COCO file, or another format of docs/
            label_formats.md. It may be left out where ``out`` is a run.
        out: Folder of the run, which is made.
        images: Folder of the labelled images. Defaults to None, the place
            that the labels name, or beside them.
        unlabeled: Folder of unlabelled images, or a list of them. Defaults
            to None, the other images in the labelled ones' folder.
        val: Labels to validate on. Defaults to None, a seeded choice of the
            labelled images.
        config: Edited ``config.py`` of a run, whose stages are trained in
            place of derived ones. Defaults to None.
        hours (float, optional): Time for both stages; their first iterations
            are measured, and the number of iterations fitted. Defaults to
            None, a number by the images.
        seed (int): Seed of the choice and of the training. Defaults to 0.
        gpus (int): Number of processes. Defaults to 1.
        amp (str, optional): Precision: ``bf16``, ``fp16`` or ``off``.
            Defaults to None, the machine's.
        **wishes: Settings to take instead of deciding them, see
            :class:`~s4m.apis.own_data.decisions.Wishes`.

    Returns:
        TrainResult: places and results.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if the data cannot be trained on, an argument is out of
            range, or ``out`` has another run.
        StageError: if a training fails; the message names its log.

    Example::

        from s4m import train

        result = train(
            labeled='labels.json', images='photos/', unlabeled='more/',
            out='runs/apples',
        )
        result.ap  # {'supervised': 21.3, 'student': 27.9, 'teacher': 28.4}
    """
    run = RunFolder(Path(out))
    request = _request(
        labeled=labeled,
        images=images,
        unlabeled=unlabeled,
        val=val,
        config=config,
        hours=hours,
        seed=seed,
        **wishes,
    )
    is_known = _check_folder(run, request, labeled)
    run.path.mkdir(parents=True, exist_ok=True)
    with Console(run.log) as console:
        if not is_known or not run.config.is_file():
            assert labeled is not None
            data = read_inputs(labeled, images, unlabeled, val, seed)
            _prepare(
                run,
                data,
                Wishes(**wishes),
                request,
                console,
                config=config,
                hours=hours,
                seed=seed,
                gpus=gpus,
                amp=amp,
            )
        else:
            console.say(f'{run.path}: going on with its configs')
        return train_stages(run, console, gpus, amp)


def _request(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that make a run another one, as JSON values."""
    paths = ('labeled', 'images', 'unlabeled', 'val', 'config')
    return {
        key: os.path.abspath(value) if key in paths else value
        for key, value in arguments.items()
        if value is not None
    }


def _check_folder(
    run: RunFolder, request: Mapping[str, Any], labeled: Any
) -> bool:
    """Check that a folder is new, or the run of the same arguments."""
    if not run.path.exists() or not any(run.path.iterdir()):
        if labeled is None:
            raise ValueError(
                f'{run.path} is no run yet: name the labels with --labeled'
            )
        return False
    try:
        known = run.read()['request']
    except FileNotFoundError:
        # The record is written last: a call that failed before is repeated.
        if {p.name for p in run.path.iterdir()} <= _PREPARED:
            if labeled is not None:
                return False
        raise ValueError(
            f'{run.path} has files and is no run of s4m train: name another '
            'folder with --out'
        ) from None
    given = {k: v for k, v in request.items() if k != 'seed'}
    if not given:
        return True
    differ = [
        f'{key} {known.get(key, "unset")}, now {request.get(key, "unset")}'
        for key in sorted({*known, *request})
        if known.get(key) != request.get(key)
    ]
    if differ:
        raise ValueError(
            f'{run.path} has a run with other arguments ({"; ".join(differ)})'
            ': name another folder with --out, or remove it'
        )
    return True


def _prepare(
    run: RunFolder,
    data: OwnData,
    wishes: Wishes,
    request: dict[str, Any],
    console: Console,
    *,
    config: str | os.PathLike | None,
    hours: float | None,
    seed: int,
    gpus: int,
    amp: str | None,
) -> None:
    """Decide, print and write everything that the stages need."""
    facts = data_facts(data.labeled, data.unlabeled, data.validation)
    _describe(console, data, facts)
    machine = this_machine()
    sam, sam_file = find_sam(wishes, facts, machine)
    settings = decide(facts, machine, wishes, sam, gpus)
    data.write(run.data)
    if config is not None:
        _copy_configs(run, Path(config), settings)
        has_start = False
    else:
        # Those start in the base of the config.
        has_start = settings.weights not in ('imagenet', 'none') and (
            settings.weights != 'own' or settings.model.own != 'backbone'
        )

        def write() -> None:
            write_configs(
                settings,
                out=run.path,
                classes=data.classes,
                labeled_images=data.labeled_root,
                unlabeled_images=data.unlabeled_root,
                val_images=data.validation_root,
                seed=seed,
                has_start=has_start,
                sam_checkpoint=sam_file,
            )

        write()
        if has_start:
            kept = _write_start(run, settings, data.classes, seed, console)
            row = settings.reasons[1]
            settings.reasons[1] = replace(row, why=f'{row.why}; {kept}')
        if hours is not None:
            launcher = Launcher(quiet=True, amp=amp)
            fit_to_hours(run, settings, hours, launcher, console)
            write()
        console.table(
            ('setting', 'value', 'why'),
            [(d.setting, d.value, d.why) for d in settings.reasons],
        )
    run.update(
        request=request,
        classes=list(data.classes),
        facts=asdict(facts),
        notes=data.notes,
        decisions=[asdict(d) for d in settings.reasons],
        method=settings.method,
        model=settings.model.name,
    )


def _copy_configs(run: RunFolder, config: Path, settings: Settings) -> None:
    """Take the configs of another run, which a person has edited."""
    if not config.is_file():
        raise FileNotFoundError(f'--config {config} does not exist')
    try:
        get_config(config)
    except Exception as e:  # whatever a person's python raises
        raise ValueError(f'--config {config} cannot be read: {e}') from e
    for name in ('supervised.py', 'start.pth'):
        beside = config.parent / name
        if beside.is_file() and beside.parent.resolve() != run.path.resolve():
            shutil.copyfile(beside, run.path / name)
    if config.resolve() != run.config.resolve():
        shutil.copyfile(config, run.config)
    settings.reasons[:] = [Decision('config', str(config), 'given')]


def _describe(console: Console, data: OwnData, facts: DataFacts) -> None:
    """Print the sets, the objects of each class, and the notes."""
    named = objects_by_class(data.labeled)
    shown = ', '.join(f'{name} {n}' for name, n in list(named.items())[:20])
    if len(named) > 20:
        shown += f', ... ({len(named)} classes)'
    console.say(
        f'labelled: {facts.labeled} images, {facts.objects} objects ({shown})'
    )
    console.say(
        f'unlabelled: {facts.unlabeled} images; to validate: '
        f'{facts.validation} images'
    )
    for note in data.notes:
        console.say(f'note: {note}')


def _write_start(
    run: RunFolder,
    settings: Settings,
    classes: tuple[str, ...],
    seed: int,
    console: Console,
) -> str:
    """Write the weights to start from, and say what they keep."""
    model = settings.model
    source: str = settings.weights
    known: tuple[str, ...] | None = None
    if source == 'coco':
        source, known = coco_address(model)
        console.say(f'weights: {source}')
    elif source == 'own':
        source = model.own
    weights, known = read_start(source, known)
    init_default_scope('mmdet')
    cfg = get_config(
        run.path / 'supervised.py'
        if (run.path / 'supervised.py').is_file()
        else run.config
    )
    network = DETECTORS.build(cfg.model)
    adapted, kept = adapt(
        weights,
        network.state_dict(),
        classes=classes,
        source_classes=known,
        source=source,
        seed=seed,
    )
    write_start(run.start, adapted, classes)
    names = ', '.join(kept[:5]) + (', ...' if len(kept) > 5 else '')
    if not kept:
        return 'the classes are new to them'
    return f'they know {len(kept)} of {len(classes)} classes: {names}'
