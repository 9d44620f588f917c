"""Every setting of a trial, of the data and of a lane, as frozen records that are checked once, when they are built.

A trial is a `TrialConfig`. Its defaults are the recipe, which is trial 0 and the baseline of every search.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FullModule = Literal["text_hidden_fcs", "mask_decoder", "neck"]
"""`neck`: the feature pyramid of SAM2's image encoder."""
HieraTargets = Literal["none", "late", "all"]
VisionTargets = Literal["none", "mlp1", "all"]
Precision = Literal["bf16", "fp32", "fp8"]
PlainPrecision = Literal["bf16", "fp32"]
"""Precisions in which any code can run the model; a base in fp8 is only for training and its validation."""
MemoryMode = Literal["auto", "fast", "checkpoint"]
Fp8Copies = Literal[1, 2]
Augment = Literal["none", "flips", "flips_turns"]


class Frozen(BaseModel):
    """A record whose fields cannot change and which refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class LoraSettings(Frozen):
    """LoRA as in PEFT, with `alpha_over_r` in place of `lora_alpha`, so that the scale does not depend on the rank."""

    r: int = Field(default=64, ge=1, le=512)
    alpha_over_r: float = Field(default=2.0, gt=0.0, le=64.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target_modules: tuple[str, ...] = Field(default=("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1)
    """Suffixes of the reference's module names, matched over the whole model."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) instead of alpha / r (arXiv 2312.03732)."""

    @property
    def lora_alpha(self) -> float:
        """PEFT's `lora_alpha`."""
        return self.alpha_over_r * self.r


class EncoderSettings(Frozen):
    """LoRA inside the image encoders, with its own rank and learning rate. An encoder without adapters stays cached.

    `lora.use_rslora` applies here, too; `lora.dropout` does not.
    """

    sam2: HieraTargets = "none"
    """Which blocks of SAM2's trunk (Hiera) get adapters in `qkv`, `proj` and MLP; `late`: the second half of them."""
    vision: VisionTargets = "none"
    """`mlp1`: the projector between InternViT and the language model; `all`: also InternViT's `qkv`, `proj` and MLP."""
    r: int = Field(default=16, ge=1, le=512)
    alpha_over_r: float = Field(default=2.0, gt=0.0, le=64.0)
    lr_factor: float = Field(default=1.0, gt=0.0, le=1e3)
    """Learning rate of these adapters, as a multiple of `optimizer.lr`."""

    @property
    def lora_alpha(self) -> float:
        """PEFT's `lora_alpha`."""
        return self.alpha_over_r * self.r

    @property
    def any_targets(self) -> bool:
        """Whether any encoder gets adapters."""
        return self.sam2 != "none" or self.vision != "none"


NO_ENCODER = EncoderSettings()
"""No adapters in either encoder."""


class OptimizerSettings(Frozen):
    """AdamW; the learning rate warms up linearly, then decays to zero along a cosine."""

    lr: float = Field(default=1e-4, gt=0.0, le=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    warmup_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all optimizer steps."""


class LossSettings(Frozen):
    """Weights and parameters of the loss.

    ComboLoss = dice x Dice + focal x Focal(focal_alpha, focal_gamma) + bce x BCE + cldice x soft-clDice
    + focal_tversky x FocalTversky(focal_tversky_alpha, _beta, _gamma) + lm x cross entropy of the answer.
    clDice, focal Tversky and cross entropy are not computed where their weight is 0.
    """

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
    """Weight of background called vessel (false positives)."""
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
    """How long a trial trains, how many images at a time, and which modules besides the adapters."""

    epochs: int = Field(default=15, ge=1, le=10_000)
    micro_batch_size: int = Field(default=1, ge=1, le=256)
    """Images per forward pass, on each GPU."""
    accumulation_steps: int = Field(default=1, ge=1, le=1024)
    """Forward passes per optimizer step."""
    full_modules: tuple[FullModule, ...] = ()
    """Modules trained in full, as the reference trains them; they get no adapters."""
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of the exponential moving average of all trained weights: the share that a step keeps of it. The average is
    scored, saved and exported. 0: no averaging."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class ImageSettings(Frozen):
    """How training images are augmented."""

    augment: Augment = "none"
    """`flips`: unchanged, mirrored, upside down, or both; `flips_turns`: these with quarter turns, eight variants in
    all. Each epoch draws one variant for each image. Validation images are never augmented. Only for frozen encoders,
    because the features of every variant are cached."""
    strength: float = Field(default=0.0, ge=0.0, le=1.0)
    """Strength of augmentation where an encoder runs in every step. 0: none. Above 0: flips and quarter turns, and in
    proportion rotation, scale, shear, shift, blur, contrast, brightness, gamma and noise."""


class TrialConfig(Frozen):
    """The whole configuration of one trial. The defaults are the recipe."""

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
                f"data.augment {self.data.augment!r} needs cached features, and this trial changes an encoder, whose "
                "features are not cached: leave data.augment at 'none' and set data.strength"
            )
        return self

    def counts(self, path: str) -> bool:
        """Whether the field at this dotted path has any effect, given the values of the others."""
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
        """Whether SAM2's image encoder is trained, so that it runs in every step instead of being cached."""
        return self.encoder.sam2 != "none" or "neck" in self.train.full_modules

    @property
    def runs_vision(self) -> bool:
        """The same for the vision tower and its projector."""
        return self.encoder.vision != "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, defaults included; `TrialConfig.model_validate` makes an equal record of them."""
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
"""Field that does not always count -> the fields whose values decide whether it does (`TrialConfig.counts`)."""

RECIPE = TrialConfig()
"""r=64, alpha=128, lr 1e-4, 1 Dice + 1 Focal(0.8, 2) + 0.5 BCE, 15 epochs: the settings that people use by hand."""


OutlineRule = Literal["union", "even-odd"]
"""What an outline inside another means: part of the same thing (union), or a hole (even-odd)."""


Absent = Literal["drop", "keep"]


class DataSettings(Frozen):
    """Which images are used, how they are split, and which question is asked about them."""

    source: str
    """A folder, a manifest, or `builtin`."""
    allow_outside: bool = False
    """Accept images and masks outside the data set's folder."""
    group_by: str | None = None
    """A regular expression or a .csv that says which patient an image belongs to; None: the data set's own groups."""
    outlines: OutlineRule | None = None
    """What an outline inside another of the same text means; None: such data are refused."""
    labels: str | None = None
    """What the values of mask files show, such as 1=artery,2=vein; None: the data set's own labels."""
    absent: Absent = "drop"
    """`drop` leaves out samples with an empty truth; `keep` keeps them: the right prediction for them is empty."""
    ratios: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, validation and the locked test part; whole groups."""
    split_seed: int = Field(default=0, ge=0)
    question: str = "Please segment the {text}."
    answer: str = "It is [SEG]."
    """One of the reference's five answers; the space before [SEG] is a token of its own."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if abs(sum(self.ratios) - 1.0) > 1e-6 or min(self.ratios) <= 0:
            raise ValueError(f"data.ratios must be three positive shares that sum to 1, got {self.ratios}")
        if self.answer.count("[SEG]") != 1:
            raise ValueError(f"data.answer must hold [SEG] once, got {self.answer!r}")
        return self


class ModelSettings(Frozen):
    """The base model and the precision in which it computes."""

    model: str
    """The name of a preset, or a checkpoint folder."""
    precision: Precision
    """bf16 on GPUs, fp32 on CPUs; adapters, their optimizer and the mask losses are fp32 in both. fp8: as bf16, but the
    linear layers of the language model are in 8 bits (`model.fp8`)."""
    fp8_copies: Fp8Copies = 2
    """With fp8: 2 keeps the weights and their transposes; 1 transposes them in every backward pass, which takes less
    memory and more time."""

    @property
    def plain_precision(self) -> PlainPrecision:
        """The precision of all that is not quantised, and so of the feature cache."""
        return "fp32" if self.precision == "fp32" else "bf16"

    @property
    def plain(self) -> "ModelSettings":
        """The same base for final scores and for exports, which are used without fp8: in bf16 if this one is in fp8."""
        return self.model_copy(update={"precision": self.plain_precision})


class Saving(NamedTuple):
    """What is done at every step so that it needs less memory.

    checkpointed: activations are computed again in the backward pass (gradient checkpointing), which takes a third
        more time. fp8_copies: as in `ModelSettings`; without fp8 it means nothing.
    """

    checkpointed: bool = False
    fp8_copies: Fp8Copies = 2


def savings(precision: Precision) -> tuple[Saving, ...]:
    """All that can be done, from the fastest to what needs least memory."""
    if precision == "fp8":
        return Saving(), Saving(fp8_copies=1), Saving(checkpointed=True, fp8_copies=1)
    return Saving(), Saving(checkpointed=True)


class LaneSettings(Frozen):
    """What a lane (one long-lived worker group) needs to start. The same for all its trials."""

    model: ModelSettings
    data: DataSettings
    feature_cache: Path
    raw_high_res: bool
    """Cache the features before `conv_s0` and `conv_s1`, because some trial may train the mask decoder in full."""
    augment: Augment = "none"
    """The widest `data.augment` of any trial; the features of all its variants are cached."""
    cache_limit_gib: float | None = Field(default=None, gt=0)
    """GiB that all feature caches of a node may take together; None: only the disk limits them."""
    num_workers: int = Field(ge=1)
    """Workers per trial: one for each of its GPUs, or CPU workers."""
    use_gpu: bool
    cpus_per_worker: int = Field(default=1, ge=1)
    seats: int = Field(default=1, ge=1)
    """Most trials at a time, which then share their steps."""
    seats_probe: TrialConfig | None = None
    """The trial with which a lane measures at its start whether so many seats are faster than one; None: it has them
    unmeasured."""
    max_rank: int | None = Field(default=None, ge=1)
    """The largest `lora.r` of any trial: memory of the adapters is laid out for it once. None: anew for each trial."""
    checkpointed: bool = False
    """Gradient checkpointing: activations are computed again in the backward pass. Less memory, slower steps."""
    runs_sam2: bool = False
    """Some trial may train SAM2's image encoder, so it stays in memory once all features are cached."""
    runs_vision: bool = False
    """The same for the vision tower."""
    max_encoder_rank: int | None = Field(default=None, ge=1)
    """The largest `encoder.r` of any trial; None as for `max_rank`."""
    any_dropout: bool = False
    """Some trial may have `lora.dropout` above 0, so every trial runs the steps that can apply it."""
