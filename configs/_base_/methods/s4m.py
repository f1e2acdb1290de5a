# What S4M's stage 2 adds to Guided Distillation: pseudo-labels refined by a
# promptable segmenter and pasted between images.
refiner = dict(
    type='PseudoLabelRefiner', points_per_mask=3, point_sampling='softmax'
)
copy_paste = dict(type='RefinedCopyPaste', mode='static', min_area=3000)
refine_log = dict(type='PseudoLabelRefineHook', draw_interval=500)
