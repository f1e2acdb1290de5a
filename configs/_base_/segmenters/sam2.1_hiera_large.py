# SAM 2.1, Hiera-L; its file goes to checkpoints/, from
# github.com/facebookresearch/sam2#model-description.
segmenter = dict(
    type='SAM2Segmenter',
    config='sam2.1_hiera_large',
    checkpoint='checkpoints/sam2.1_hiera_large.pt',
)
