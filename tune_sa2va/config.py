"""Every setting of a trial and of a search, as frozen records that are read and checked once.

A trial is a `TrialConfig`; its defaults are the user's recipe, the seed and the baseline of every search. A space file
and the command line become a `SearchConfig` (`tune_sa2va.space.search_space`); past that line nobody checks twice.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FullModule = Literal["text_hidden_fcs", "mask_decoder"]
Precision = Literal["bf16", "fp32"]
MemoryMode = Literal["auto", "fast", "checkpoint"]
Augment = Literal["none", "flips", "flips_turns"]


class Frozen(BaseModel):
    """A record whose fields cannot change and whose unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class LoraSettings(Frozen):
    """LoRA as in PEFT; `alpha_over_r` in place of `lora_alpha`, so that the scale does not move with the rank."""

    r: int = Field(default=64, ge=1, le=512)
    alpha_over_r: float = Field(default=2.0, gt=0.0, le=64.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target_modules: tuple[str, ...] = Field(default=("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1)
    """Matched against the ends of the reference's module names, over the whole model."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) in place of alpha / r (arXiv 2312.03732)."""

    @property
    def lora_alpha(self) -> float:
        """PEFT's `lora_alpha`."""
        return self.alpha_over_r * self.r


class OptimizerSettings(Frozen):
    """AdamW with a cosine to zero after a linear warm-up."""

    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    warmup_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all optimizer steps."""


class LossSettings(Frozen):
    """ComboLoss = dice x Dice + focal x Focal(focal_alpha, focal_gamma) + bce x BCE; + lm x the answer's CE."""

    dice: float = Field(default=1.0, ge=0.0, le=1e3)
    focal: float = Field(default=1.0, ge=0.0, le=1e3)
    bce: float = Field(default=0.5, ge=0.0, le=1e3)
    lm: float = Field(default=0.0, ge=0.0, le=1e3)
    focal_alpha: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Weight of vessel pixels; background pixels get 1 - focal_alpha."""
    focal_gamma: float = Field(default=2.0, ge=0.0, le=10.0)

    @model_validator(mode="after")
    def _some_mask_loss(self) -> Self:
        if self.dice + self.focal + self.bce <= 0:
            raise ValueError("loss.dice, loss.focal and loss.bce are all 0: nothing would train the masks")
        return self


class TrainSettings(Frozen):
    """How long, how much at a time, and what besides the adapters."""

    epochs: int = Field(default=15, ge=1, le=10_000)
    micro_batch_size: int = Field(default=1, ge=1, le=256)
    """Images a forward, per GPU."""
    accumulation_steps: int = Field(default=1, ge=1, le=1024)
    """Forwards an optimizer step."""
    full_modules: tuple[FullModule, ...] = ()
    """Modules trained in full, as the reference does; adapters inside them are left out."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class ImageSettings(Frozen):
    """How a trial is shown its training images."""

    augment: Augment = "none"
    """`flips`: as they are, mirrored, upside down, or both; `flips_turns`: by quarter turns besides, eight ways in all.
    Each epoch draws one way for each image; validation shows them as they are."""


class TrialConfig(Frozen):
    """One trial, whole. The defaults are the user's recipe."""

    lora: LoraSettings = LoraSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    data: ImageSettings = ImageSettings()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, defaults included; `TrialConfig.model_validate` of it gives an equal record."""
        return self.model_dump(mode="json")

    def flat(self) -> dict[str, Any]:
        """Dotted field path -> plain value, in the order of the fields."""
        return {
            f"{section}.{field}": value for section, fields in self.to_dict().items() for field, value in fields.items()
        }

    def replace(self, values: dict[str, Any]) -> "TrialConfig":
        """A checked copy with the given dotted paths set."""
        nested = self.to_dict()
        for path, value in values.items():
            section, field = path.split(".")
            nested[section][field] = value
        return TrialConfig.model_validate(nested)


RECIPE = TrialConfig()
"""r=64, alpha=128, lr 1e-4, 1 Dice + 1 Focal(0.8, 2) + 0.5 BCE, 15 epochs: what the user runs by hand."""


OutlineRule = Literal["union", "even-odd"]
"""What an outline inside another means: more of the same (union), or a hole (even-odd)."""


Absent = Literal["drop", "keep"]


class DataSettings(Frozen):
    """Which images, how they are split, and what is asked about them."""

    source: str
    """A folder, a manifest, or `builtin`."""
    allow_outside: bool = False
    """Take images and masks outside the data set's folder, too."""
    group_by: str | None = None
    """A regular expression or a .csv that says whose image it is; None goes by the data set."""
    outlines: OutlineRule | None = None
    """What an outline inside another of the same text means; None refuses such data."""
    labels: str | None = None
    """What the values of mask files show, such as 1=artery,2=vein; None goes by the data set."""
    absent: Absent = "drop"
    """Whether samples with an empty truth are left out, or meant: right where nothing is predicted."""
    ratios: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, validation and the locked test part; by group."""
    split_seed: int = Field(default=0, ge=0)
    question: str = "Please segment the {text}."
    answer: str = "It is [SEG]."
    """One of the reference's five; the space before [SEG] is a token of its own."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if abs(sum(self.ratios) - 1.0) > 1e-6 or min(self.ratios) <= 0:
            raise ValueError(f"data.ratios must be three positive shares that sum to 1, got {self.ratios}")
        if self.answer.count("[SEG]") != 1:
            raise ValueError(f"data.answer must hold [SEG] once, got {self.answer!r}")
        return self


class ModelSettings(Frozen):
    """Which base model, and in which precision it computes."""

    model: str
    """A preset's name or a checkpoint folder."""
    precision: Precision
    """bf16 on GPUs, fp32 on CPUs; adapters, their optimizer and the mask losses are fp32 in both."""


class LaneSettings(Frozen):
    """What a lane (one long-lived worker group) needs to start; the same for every trial that runs in it."""

    model: ModelSettings
    data: DataSettings
    feature_cache: Path
    raw_high_res: bool
    """Keep features before `conv_s0`/`conv_s1`, because some trial may train the mask decoder in full."""
    augment: Augment = "none"
    """The widest `data.augment` of any trial: features of all its variants are cached."""
    cache_limit_gib: float | None = Field(default=None, gt=0)
    """GiB that all feature caches of a node may take together; None for what the disk has."""
    num_workers: int = Field(ge=1)
    """Workers a trial: GPUs per trial, or CPU workers."""
    use_gpu: bool
    cpus_per_worker: int = Field(default=1, ge=1)
    max_rank: int | None = Field(default=None, ge=1)
    """The largest `lora.r` of any trial: adapters are laid out for it once. None lays them out for each trial's own."""
    checkpointed: bool = False
    """Compute activations again in the backward pass in place of keeping them: less memory, more time a step."""
    any_dropout: bool = False
    """Some trial may have `lora.dropout` above 0, so all run the steps that can apply it."""
