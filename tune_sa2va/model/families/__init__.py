"""What differs from one kind of Sa2VA to another: configuration, modules, positions. `Family` names the kinds."""

from enum import StrEnum


class Family(StrEnum):
    """The kinds of Sa2VA that load, by vision tower and language model."""

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
        """Whether pictures are cut into tiles for InternViT; else they are one grid of patches with 3-D positions."""
        return self in (Family.INTERNVL_QWEN2, Family.INTERNVL_INTERNLM2)
