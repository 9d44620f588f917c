"""What differs between the families of Sa2VA: configuration, modules, positions."""

from enum import StrEnum


class Family(StrEnum):
    """The supported families of Sa2VA, by vision tower and language model."""

    INTERNVL_QWEN2 = "InternViT + Qwen2"
    """Sa2VA-InternVL3-2B, 8B, 14B; Sa2VA-1B, 4B."""
    INTERNVL_INTERNLM2 = "InternViT + InternLM2"
    """Sa2VA-8B, 26B."""
    QWEN2_5_VL = "Qwen2.5-VL"
    """Sa2VA-Qwen2_5-VL-3B, 7B."""
    QWEN3_VL = "Qwen3-VL"
    """Sa2VA-Qwen3-VL-4B."""

    @property
    def is_internvl(self) -> bool:
        """Whether pictures are cut into tiles for InternViT. In the others they are one grid of patches with 3-D
        positions."""
        return self in (Family.INTERNVL_QWEN2, Family.INTERNVL_INTERNLM2)
