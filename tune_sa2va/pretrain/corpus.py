"""The texts of pretraining: questions about a text, the reference's five answers, and synonyms."""

QUESTIONS: tuple[str, ...] = (
    "Please segment the {text}.",
    "Please segment the {text} in this image.",
    "Can you segment the {text} in this image?",
    "Could you segment the {text}?",
    "Segment the {text}.",
    "What is the {text} in this image? Please respond with a segmentation mask.",
)

ANSWERS: tuple[str, ...] = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
)

# Other names of "blood vessel", so that the model generalises over texts; those of one family are wrong for the others.
VESSEL_SYNONYMS: tuple[str, ...] = ("blood vessels", "vessel", "vessels")
FAMILY_SYNONYMS: dict[str, tuple[str, ...]] = {
    "angiogram": ("coronary artery", "coronary arteries"),
    "fundus": ("retinal vessel", "retinal vessels"),
}

# Words that users write but no procedural scene has; the tokenizer is trained on them, to need few tokens for them.
EXTRA_WORDS: tuple[str, ...] = (
    "coronary artery", "left anterior descending", "right coronary artery", "circumflex", "stenosis", "blood vessels",
    "vessel", "vessels", "angiogram", "angiography", "fundus", "retina", "retinal vessel", "capillary", "aorta",
    "guide wire", "catheter", "contrast", "lesion", "optic disc", "fovea", "plaque", "cerebral artery", "vein",
)  # fmt: skip
