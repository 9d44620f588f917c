"""Every setting of a trial and of a search, as frozen records that are read and checked once.

A trial is a `TrialConfig`; its defaults are the user's recipe, the seed and the baseline of every search. A space file
and the command line become a `SearchConfig` (`tune_sa2va.space.search_space`); past that line nobody checks twice.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FullModule = Literal["text_hidden_fcs", "mask_decoder", "neck"]
"""`neck`: the feature pyramid of SAM2's image encoder."""
HieraTargets = Literal["none", "late", "all"]
VisionTargets = Literal["none", "mlp1", "all"]
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


class EncoderSettings(Frozen):
    """LoRA inside the image encoders, of a rank and a learning rate of its own. Encoders without any stay cached.

    `lora.use_rslora` holds here, too; `lora.dropout` does not.
    """

    sam2: HieraTargets = "none"
    """Blocks of SAM2's trunk (Hiera) whose `qkv`, `proj` and MLP get adapters; `late`: the second half of them."""
    vision: VisionTargets = "none"
    """`mlp1`: the projector between InternViT and the language model; `all`: InternViT's `qkv`, `proj` and MLP, too."""
    r: int = Field(default=16, ge=1, le=512)
    alpha_over_r: float = Field(default=2.0, gt=0.0, le=64.0)
    lr_factor: float = Field(default=1.0, gt=0.0, le=1e3)
    """Learning rate of these adapters in units of `optimizer.lr`."""

    @property
    def lora_alpha(self) -> float:
        """PEFT's `lora_alpha`."""
        return self.alpha_over_r * self.r

    @property
    def any_targets(self) -> bool:
        """Whether some encoder gets adapters."""
        return self.sam2 != "none" or self.vision != "none"


NO_ENCODER = EncoderSettings()
"""Adapters in no encoder."""


class OptimizerSettings(Frozen):
    """AdamW with a cosine to zero after a linear warm-up."""

    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    warmup_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all optimizer steps."""


class LossSettings(Frozen):
    """ComboLoss = dice x Dice + focal x Focal(focal_alpha, focal_gamma) + bce x BCE + cldice x soft-clDice
    + focal_tversky x FocalTversky(focal_tversky_alpha, _beta, _gamma) + lm x the answer's CE. A part of weight 0 is not
    computed where it costs something (clDice, focal Tversky, CE)."""

    dice: float = Field(default=1.0, ge=0.0, le=1e3)
    focal: float = Field(default=1.0, ge=0.0, le=1e3)
    bce: float = Field(default=0.5, ge=0.0, le=1e3)
    lm: float = Field(default=0.0, ge=0.0, le=1e3)
    focal_alpha: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Weight of vessel pixels; background pixels get 1 - focal_alpha."""
    focal_gamma: float = Field(default=2.0, ge=0.0, le=10.0)
    cldice: float = Field(default=0.0, ge=0.0, le=1e3)
    focal_tversky: float = Field(default=0.0, ge=0.0, le=1e3)
    focal_tversky_alpha: float = Field(default=0.7, ge=0.0, le=1.0)
    """Weight of missed vessel (false negatives)."""
    focal_tversky_beta: float = Field(default=0.3, ge=0.0, le=1.0)
    """Weight of what is wrongly called vessel (false positives)."""
    focal_tversky_gamma: float = Field(default=4 / 3, ge=1.0, le=3.0)

    @model_validator(mode="after")
    def _some_mask_loss(self) -> Self:
        if self.dice + self.focal + self.bce + self.cldice + self.focal_tversky <= 0:
            raise ValueError(
                "loss.dice, loss.focal, loss.bce, loss.cldice and loss.focal_tversky are all 0: "
                "nothing would train the masks"
            )
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
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the running average of all trained weights that a step keeps: that average is what is scored, saved and
    exported. 0 for the weights themselves."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class ImageSettings(Frozen):
    """How a trial is shown its training images."""

    augment: Augment = "none"
    """`flips`: as they are, mirrored, upside down, or both; `flips_turns`: by quarter turns besides, eight ways in all.
    Each epoch draws one way for each image; validation shows them as they are. For encoders that do not change."""
    strength: float = Field(default=0.0, ge=0.0, le=1.0)
    """How much images change from epoch to epoch where an encoder runs in the step: 0 for not at all; above, flips and
    quarter turns, and in proportion turns, scale, shear, shift, blur, contrast, brightness, gamma and noise."""


class TrialConfig(Frozen):
    """One trial, whole. The defaults are the user's recipe."""

    lora: LoraSettings = LoraSettings()
    encoder: EncoderSettings = NO_ENCODER
    optimizer: OptimizerSettings = OptimizerSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    data: ImageSettings = ImageSettings()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.data.augment != "none" and (self.runs_sam2 or self.runs_vision):
            raise ValueError(
                f"data.augment {self.data.augment!r} shows images in ways whose features are cached, and here an "
                "encoder changes and nothing of it is cached: leave data.augment at 'none' and set data.strength"
            )
        return self

    def counts(self, path: str) -> bool:
        """Whether the field changes anything at the values that the others have."""
        runs = self.runs_sam2 or self.runs_vision
        match path:
            case "encoder.r" | "encoder.alpha_over_r" | "encoder.lr_factor":
                return self.encoder.any_targets
            case "data.strength":
                return runs
            case "data.augment":
                return not runs
            case "loss.focal_alpha" | "loss.focal_gamma":
                return self.loss.focal > 0
            case "loss.focal_tversky_alpha" | "loss.focal_tversky_beta" | "loss.focal_tversky_gamma":
                return self.loss.focal_tversky > 0
        return True

    @property
    def runs_sam2(self) -> bool:
        """Whether SAM2's image encoder changes, so that it runs in every step in place of its cached features."""
        return self.encoder.sam2 != "none" or "neck" in self.train.full_modules

    @property
    def runs_vision(self) -> bool:
        """The same of the vision tower and its projector."""
        return self.encoder.vision != "none"

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


DECIDED_BY = {
    **dict.fromkeys(("encoder.r", "encoder.alpha_over_r", "encoder.lr_factor"), ("encoder.sam2", "encoder.vision")),
    **dict.fromkeys(("data.strength", "data.augment"), ("encoder.sam2", "encoder.vision", "train.full_modules")),
    **dict.fromkeys(("loss.focal_alpha", "loss.focal_gamma"), ("loss.focal",)),
    **dict.fromkeys((f"loss.focal_tversky_{name}" for name in ("alpha", "beta", "gamma")), ("loss.focal_tversky",)),
}
"""Fields that do not always count, and the fields whose values decide it (`TrialConfig.counts`)."""

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
    runs_sam2: bool = False
    """Some trial may change SAM2's image encoder, so it stays when the features are there."""
    runs_vision: bool = False
    """The same of the vision tower."""
    max_encoder_rank: int | None = Field(default=None, ge=1)
    """The largest `encoder.r` of any trial, as `max_rank`."""
    any_dropout: bool = False
    """Some trial may have `lora.dropout` above 0, so all run the steps that can apply it."""
