# SPDX-License-Identifier: Apache-2.0
"""The configs that ``s4m train`` writes."""

from pathlib import Path

import pytest
from mmdet.registry import MODELS as DETECTORS
from mmengine.registry import init_default_scope
from s4m.apis import get_config
from s4m.apis.own_data.config_files import write_configs
from s4m.apis.own_data.decisions import METHODS, Wishes, decide
from s4m.apis.own_data.facts import DataFacts, Machine
from s4m.apis.own_data.known_models import MODELS

GPU = Machine('A100', 80.0, 1, 16, 'bf16')
FACTS = DataFacts(
    classes=("it's", 'ä "b"', 'c'),
    labeled=12,
    unlabeled=90,
    validation=4,
    short=1500.0,
    long=2000.0,
    longest=2600.0,
    uniform=True,
    objects=70,
    most=120,
    object_side=80.0,
    object_share=0.04,
    small_area=900.0,
    rarest=0.1,
)


def make(tmp_path, facts=FACTS, has_start=True, **wishes):
    """Write the configs of a run and read the last one."""
    settings = decide(facts, GPU, Wishes(**wishes), 'sam2.1_hiera_tiny')
    folder = tmp_path / "a run's folder"
    files = write_configs(
        settings,
        out=folder,
        classes=facts.classes,
        labeled_images=Path('/photos of/apples'),
        unlabeled_images=Path("/more 'photos'"),
        val_images=Path('/val') if facts.validation else None,
        seed=3,
        has_start=has_start,
        sam_checkpoint='/sam/sam2.1_hiera_tiny.pt',
    )
    return settings, folder, files, get_config(files[-1])


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('method', METHODS)
def test_every_method_and_model_has_a_config(tmp_path, method, model):
    s, folder, files, cfg = make(tmp_path, method=method, model=model)
    names = [f.name for f in files]
    is_semi = method != 'supervised'
    assert names == ['supervised.py'] * is_semi + ['config.py']
    detector = cfg.model.detector if is_semi else cfg.model
    text = str(detector.to_dict())
    assert f"'checkpoint': {str(folder / 'start.pth')!r}" in text
    if s.model.family == 'mask2former':
        head = detector.panoptic_head
        assert head.num_things_classes == 3 and head.num_queries == 200
        assert head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]
    else:
        assert detector.bbox_head.num_classes == 3
        assert detector.test_cfg.max_per_img == 200
    assert cfg.optim_wrapper.optimizer.lr == s.model.lr
    assert cfg.optim_wrapper.clip_grad.max_norm == s.model.clip
    schedule = cfg.param_scheduler
    last = schedule[-1] if isinstance(schedule, list) else schedule
    assert last.end == cfg.train_cfg.max_iters
    assert cfg.train_cfg.max_iters == (
        s.student_iters if is_semi else s.supervised_iters
    )
    assert cfg.randomness.seed == 3
    best = 'student/coco/segm_mAP' if is_semi else 'coco/segm_mAP'
    assert cfg.default_hooks.checkpoint.save_best == best
    assert cfg.val_dataloader.dataset.data_prefix.img == '/val/'
    assert cfg.val_evaluator.max_dets == 200
    if not is_semi:
        return
    data = cfg.train_dataloader
    assert data.batch_size == 2 * s.batch
    assert data.sampler.num_labeled == data.sampler.num_unlabeled == s.batch
    sets = data.dataset
    assert sets.labeled.data_prefix.img == '/photos of/apples/'
    assert sets.unlabeled.data_prefix.img == "/more 'photos'/"
    assert sets.unlabeled.metainfo.classes == list(FACTS.classes) or (
        tuple(sets.unlabeled.metainfo.classes) == FACTS.classes
    )
    assert cfg.model.teacher_checkpoint == str(folder / 'stages/supervised')
    assert ('refiner' in cfg.model) == (method == 's4m')
    labeler = cfg.model.pseudo_labeler
    if s.model.family == 'mask2former':
        assert labeler.type == 'QueryPseudoLabeler'
        assert labeler.nms_iou_thr == 0.5 and labeler.cls_thr == 0.7
    else:
        assert labeler.type == 'PredictionPseudoLabeler'
    pastes = method == 's4m' and s.model.family == 'mask2former'
    assert ('copy_paste' in cfg.model) == pastes
    hooks = cfg.default_hooks
    assert hooks.mean_teacher.burn_in == round(s.student_iters * 5 / 8)
    assert hooks.early_stopping.monitor == 'student/coco/segm_mAP'


@pytest.mark.parametrize('model', ['mask2former_nano', 'rtmdet_ins_nano'])
def test_a_model_can_be_built(tmp_path, model):
    *_, cfg = make(
        tmp_path, method='guided_distillation', model=model, has_start=False
    )
    init_default_scope('mmdet')
    network = DETECTORS.build(cfg.model)
    assert network.student is not network.teacher


def test_a_stage_goes_on_from_the_first_one(tmp_path):
    _, _, files, cfg = make(tmp_path, method='s4m')
    first = get_config(files[0])
    assert cfg.train_dataloader.dataset.labeled.ann_file == (
        first.train_dataloader.dataset.dataset.ann_file
    )
    refiner = cfg.model.refiner.segmenter
    assert refiner.config == 'sam2.1_hiera_tiny'
    assert refiner.checkpoint == '/sam/sam2.1_hiera_tiny.pt'


def test_a_run_can_be_moved(tmp_path):
    _, folder, _, _ = make(tmp_path)
    moved = folder.rename(tmp_path / 'moved')
    cfg = get_config(moved / 'config.py')
    assert str(folder) not in cfg.pretty_text
    assert cfg.model.teacher_checkpoint == str(moved / 'stages/supervised')


def test_without_validation_images_nothing_is_validated(tmp_path):
    facts = DataFacts(**{**vars(FACTS), 'validation': 0})
    *_, cfg = make(tmp_path, facts, method='guided_distillation')
    assert cfg.val_dataloader is cfg.val_evaluator is cfg.val_cfg is None
    assert cfg.test_dataloader.dataset.ann_file.endswith('labeled.json')
    assert cfg.default_hooks.checkpoint.save_best is None
    assert 'early_stopping' not in cfg.default_hooks


def test_imagenet_and_random_weights(tmp_path):
    for name, kept in (('imagenet', 'torchvision://resnet50'), ('none', None)):
        *_, cfg = make(
            tmp_path,
            has_start=False,
            method='supervised',
            model='mask2former_r50',
            weights=name,
        )
        backbone = cfg.model.backbone.init_cfg
        assert (backbone and backbone.checkpoint) == kept
        assert cfg.model.get('init_cfg') is None


def test_crops_and_jitter(tmp_path):
    *_, cfg = make(tmp_path, views='crops', size=512)
    crop = cfg.resize_crop
    assert crop.type == 'RandomChoiceResize' and crop.crop_size == (512, 512)
    # The median image has its own size at 1; all are shown at 2048 at most.
    assert [short for _, short in crop.scales] == [750, 1125, 1500, 2250, 3000]
    *_, cfg = make(tmp_path, views='jitter', size=1024)
    assert cfg.resize_crop.ratio_range == (0.1, 2.0)
    (resize,) = (t for t in cfg.test_pipeline if t.type == 'Resize')
    assert resize.scale == (1365, 1024)


def test_a_short_run_has_a_schedule(tmp_path):
    *_, cfg = make(
        tmp_path, method='supervised', model='rtmdet_ins_nano', iters=8
    )
    warm_up, decay = cfg.param_scheduler
    assert 0 == warm_up.begin < warm_up.end == decay.begin < decay.end == 8
