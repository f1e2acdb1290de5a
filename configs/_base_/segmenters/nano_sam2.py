# The nano SAM 2 of the demo, whose weights are in the package.
segmenter = dict(
    type='SAM2Segmenter', config='nano_sam2', checkpoint='nano_sam2'
)
