# Stage 2 of S4M adds to Guided Distillation that a promptable segmenter refines
# pseudo-labels, which are pasted between images.
refiner = dict(
    type='PseudoLabelRefiner', points_per_mask=3, point_sampling='softmax'
)
copy_paste = dict(type='RefinedCopyPaste', mode='static', min_area=3000)
refine_log = dict(type='PseudoLabelRefineHook', draw_interval=500)
