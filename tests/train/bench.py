"""A small real workbench: the tiny preset on a few procedural images, as lanes open it."""

from pathlib import Path

from tune_sa2va.cache.place import features_folder
from tune_sa2va.config import DataSettings, LaneSettings, ModelSettings
from tune_sa2va.data import check, open_dataset, split_by_group
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.data.split_file import write_split


def lane_settings(folder: Path, *, images: int = 8, size: int = 96, raw_high_res: bool = True) -> LaneSettings:
    """Lane settings for a data set that is written to `folder`. Tests with the same images share their features."""
    if not (folder / "data").exists():
        write_folder(folder / "data", "leg", images, size, 0)
        samples = split_by_group(check(open_dataset(folder / "data")).samples, seed=0)
        write_split(folder, samples)
    return LaneSettings(
        model=ModelSettings(model="tiny", precision="fp32"),
        data=DataSettings(source=str(folder / "data")),
        feature_cache=features_folder(),
        raw_high_res=raw_high_res,
        num_workers=1,
        use_gpu=False,
    )
