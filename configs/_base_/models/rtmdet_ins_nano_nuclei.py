# The nano RTMDet-Ins for one class and crowded images.
_base_ = './rtmdet_ins_nano_pretrained.py'

model = dict(
    bbox_head=dict(num_classes=1),
    # An image of Nuclei has up to 329 objects.
    test_cfg=dict(max_per_img=300),
)
# Mask2Former's clipping is for its own losses.
rtmdet_optim = dict(
    optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=35.0)
)
