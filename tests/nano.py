# SPDX-License-Identifier: Apache-2.0
"""MMDet's instance segmenters with a backbone of a few channels."""

from __future__ import annotations

from conftest import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config

DETECTORS = {
    'MaskRCNN': 'mask_rcnn_r50',
    'RTMDet': 'rtmdet_ins_s',
    'MaskFormer': 'maskformer_r50',
    'SOLOv2': 'mmdet::solov2/solov2-light_r18_fpn_ms-3x_coco.py',
    'CondInst': 'mmdet::condinst/'
    'condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'QueryInst': 'mmdet::queryinst/queryinst_r50_fpn_1x_coco.py',
}
#: Those that need ``find_unused_parameters`` on several GPUs.
FIND_UNUSED = {'RTMDet', 'SOLOv2', 'CondInst'}


def nano(name: str) -> ConfigDict:
    """A detector's config with a few channels and proposals."""
    source = DETECTORS[name]
    if source.startswith('mmdet::'):
        model = get_config(source).model
    else:
        file = ROOT / f'configs/_base_/models/{source}.py'
        model = Config.fromfile(file).model
    model.backbone.init_cfg = None
    widths = [16, 32, 64, 128]
    if model.backbone.type == 'ResNet':
        model.backbone.update(depth=18, base_channels=16, frozen_stages=-1)
        model.backbone.norm_cfg = dict(type='BN', requires_grad=True)
        if name == 'MaskFormer':
            model.panoptic_head.in_channels = widths
        else:
            model.neck.in_channels = widths
    else:
        for part in (model.backbone, model.neck, model.bbox_head):
            part.norm_cfg = dict(type='BN')
        model.backbone.update(deepen_factor=0.1, widen_factor=0.125)
        model.neck.in_channels = [32, 64, 128]
    if name == 'MaskRCNN':
        model.train_cfg.rcnn.sampler.num = 16
        model.train_cfg.rpn_proposal.max_per_img = 16
        model.test_cfg.rpn.max_per_img = 100
        model.roi_head.bbox_head.fc_out_channels = 32
    elif name == 'QueryInst':
        model.roi_head.num_stages = 2
        model.roi_head.stage_loss_weights = [1, 1]
        for head in ('bbox_head', 'mask_head'):
            model.roi_head[head] = model.roi_head[head][:2]
        model.train_cfg.rcnn = model.train_cfg.rcnn[:2]
    return model


def shallow(name: str) -> ConfigDict:
    """A detector's config with fewer layers and proposals than ``nano``."""
    cfg = nano(name)
    if name == 'RTMDet':
        cfg.use_syncbn = False  # it wants a GPU
    elif name == 'MaskFormer':
        cfg.panoptic_head.pixel_decoder.encoder.num_layers = 1
        cfg.panoptic_head.transformer_decoder.num_layers = 1
    elif name == 'SOLOv2':
        cfg.mask_head.num_grids = [8, 6, 4, 4, 4]
    elif name == 'QueryInst':
        cfg.rpn_head.num_proposals = 8
        cfg.roi_head.update(num_stages=1, stage_loss_weights=[1])
        for head in ('bbox_head', 'mask_head'):
            cfg.roi_head[head] = cfg.roi_head[head][:1]
        cfg.train_cfg.rcnn = cfg.train_cfg.rcnn[:1]
    return cfg


def grounding_dino(bert: str) -> ConfigDict:
    """MM-Grounding-DINO of the configs with few channels.

    Args:
        bert (str): Folder of the text encoder.
    """
    cfg = Config.fromfile(
        ROOT / 'configs/_base_/models/mm_grounding_dino_swin_l.py'
    ).model
    cfg.language_model.name = bert
    cfg.num_queries = 20
    cfg.backbone.update(
        embed_dims=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
    )
    cfg.neck.in_channels = [16, 32, 64, 128]
    for part in (cfg.encoder, cfg.decoder):
        part.num_layers = 1
        part.layer_cfg.ffn_cfg.feedforward_channels = 64
    cfg.encoder.text_layer_cfg.ffn_cfg.feedforward_channels = 64
    cfg.encoder.fusion_layer_cfg.embed_dim = 64
    cfg.dn_cfg.group_cfg.num_dn_queries = 10
    cfg.test_cfg.max_per_img = 20
    return cfg
