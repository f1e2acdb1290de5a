# Mask2Former at the size of a demo (1.9 M parameters). It starts from weights
# that this project trained on random scenes (projects/s4m/assets/README.md);
# the class embedding, which the file does not have, starts at random. The
# file has 100 queries, of which this model takes the first 20.
_base_ = './mask2former_r50.py'

embed = dict(embed_dims=64, num_heads=8)
model = dict(
    init_cfg=dict(
        type='Pretrained', checkpoint='s4m://mask2former_nano?queries=20'
    ),
    backbone=dict(
        depth=18,
        base_channels=24,
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=None,
    ),
    panoptic_head=dict(
        in_channels=[24, 48, 96, 192],
        feat_channels=64,
        out_channels=64,
        num_queries=20,
        pixel_decoder=dict(
            norm_cfg=dict(type='GN', num_groups=8),
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(
                    self_attn_cfg=embed,
                    ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
                ),
            ),
            positional_encoding=dict(num_feats=32),
        ),
        positional_encoding=dict(num_feats=32),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=embed,
                cross_attn_cfg=embed,
                ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
            ),
        ),
    ),
    train_cfg=dict(num_points=1024),
    test_cfg=dict(max_per_image=20),
)
