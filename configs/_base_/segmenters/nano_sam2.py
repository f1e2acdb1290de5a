# The SAM 2 of the demo, trained on Shapes; the package brings its weights.
segmenter = dict(
    type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
)
