"""Trains a plain U-Net on the same images: a baseline without any foundation model.

Network and recipe are those of MONAI's 2D tutorial (unet_training_dict.py of Project-MONAI/tutorials): channels 16 to
256 with two residual units, Dice loss, Adam with learning rate 1e-3, crops of 96 x 96 centred on vessel and background
equally often, quarter turns, sliding windows for whole images. It is trained for more epochs here, since there are few
images, and the epoch with the best score on the validation part counts.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tune_sa2va.data import Sample, load_image, load_truth
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.split_file import read_split
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.scores import mask_scores
from tune_sa2va.evaluate.tuned_model import the_device
from tune_sa2va.results.settings import SearchSettings

EPOCHS = 200
_CROP, _CROPS_AN_IMAGE, _BATCH, _LR, _OVERLAP = 96, 4, 2, 1e-3, 0.25


def train_unet(results: Path, path: Path, *, epochs: int, seed: int) -> None:
    """Trains a U-Net on the parts of the search in `results`, and writes its scores to `path`.

    Raises:
        UserError: MONAI is not installed.
    """
    torch.set_num_threads(1)  # crops are small, and searches run beside this
    samples = read_split(results, SearchSettings.load(results).data)
    rows = unet_rows(samples, epochs=epochs, seed=seed, device=the_device())
    write_whole(path, json.dumps(rows).encode())


def unet_rows(samples: Sequence[Sample], *, epochs: int, seed: int, device: torch.device) -> list[dict[str, Any]]:
    """Scores of each test image at threshold 0.5, by the epoch that was best on val. samples: with their parts set.

    Raises:
        UserError: MONAI is not installed.
    """
    try:
        import monai
        from monai.inferers import sliding_window_inference
        from monai.losses import DiceLoss
        from monai.networks.nets import UNet
    except ImportError as error:
        raise UserError("The U-Net needs MONAI. Install it: pip install monai.") from error
    monai.utils.set_determinism(seed)
    parts = {part: [_pair(sample) for sample in samples if sample.split == part] for part in ("train", "val", "test")}
    net: nn.Module = UNet(
        spatial_dims=2, in_channels=3, out_channels=1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2),
        num_res_units=2,
    ).to(device)  # fmt: skip
    optimizer, loss_of = torch.optim.Adam(net.parameters(), _LR), DiceLoss(sigmoid=True)

    def found(image: Tensor) -> np.ndarray:
        logits: Any = sliding_window_inference(image[None].to(device), (_CROP, _CROP), 4, net, overlap=_OVERLAP)
        mask: np.ndarray = (logits[0, 0] > 0).cpu().numpy()
        return mask

    crops = _crops()
    best, kept = -1.0, copy.deepcopy(net.state_dict())
    for _ in range(epochs):
        net.train()
        order = torch.randperm(len(parts["train"])).tolist()
        for start in range(0, len(order), _BATCH):
            cut = [crop for place in order[start : start + _BATCH] for crop in crops(dict(parts["train"][place]))]
            image, truth = (torch.stack([crop[key] for crop in cut]).to(device) for key in ("image", "truth"))
            optimizer.zero_grad()
            loss_of(net(image), truth).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            dice = float(np.mean([count(found(pair["image"]), _truth(pair)).dice for pair in parts["val"]]))
        if dice > best:
            best, kept = dice, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    net.eval()
    groups, test = group_codes(samples), [sample for sample in samples if sample.split == "test"]
    with torch.no_grad():
        return [
            {"image_code": image_code(sample), "group_code": groups[sample.group], "text": sample.text}
            | mask_scores(found(pair["image"]), _truth(pair))
            for sample, pair in zip(test, parts["test"], strict=True)
        ]


def _crops() -> Any:
    from monai.transforms import Compose, RandCropByPosNegLabeld, RandRotate90d, SpatialPadd

    keys = ["image", "truth"]
    return Compose(
        [
            SpatialPadd(keys, spatial_size=(_CROP, _CROP)),
            RandCropByPosNegLabeld(
                keys, label_key="truth", spatial_size=(_CROP, _CROP), pos=1, neg=1, num_samples=_CROPS_AN_IMAGE
            ),
            RandRotate90d(keys, prob=0.5),
        ]
    )


def _pair(sample: Sample) -> dict[str, Tensor]:
    """The image in [0, 1] (3, H, W) and its truth in {0, 1} (1, H, W)."""
    pixels = load_image(sample.image)
    truth = load_truth(sample, *pixels.shape[:2])
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    return {"image": image, "truth": torch.from_numpy(truth)[None].float()}


def _truth(pair: dict[str, Tensor]) -> np.ndarray:
    truth: np.ndarray = pair["truth"][0].numpy() > 0.5
    return truth
