"""The test images as they are on the disk now: the image, its truth, and the mask that each model predicted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from tune_sa2va.data import Sample, load_image, load_truth
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.split_file import read_split
from tune_sa2va.errors import DataError, ResultsError
from tune_sa2va.report.load import Run
from tune_sa2va.results.test_scores import MASKS_FOLDER, RECIPE, UNTUNED, WINNER, mask_name

MODELS = (UNTUNED, RECIPE, WINNER)
"""The models in the order in which they are shown."""

Key = tuple[str, str]
"""Code of an image, and the text that it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TestImage:
    """One test image, on its own pixels. masks: model -> predicted mask, for the masks that the search kept."""

    __test__ = False  # tells pytest that this is no test, in spite of the name

    key: Key
    picture: UInt8[np.ndarray, "H W 3"]
    truth: Bool[np.ndarray, "H W"]
    masks: dict[str, Bool[np.ndarray, "H W"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TestImages:
    """The test images of a search, read one at a time because all may not fit into memory.

    samples: of the images that have not changed since the search.
    """

    __test__ = False

    run: Run
    samples: dict[Key, Sample]

    @classmethod
    def of(cls, run: Run) -> "TestImages":
        """The test images of a search whose test part has been scored.

        Raises:
            DataError: the data set has been moved or changed since the search.
        """
        samples = [sample for sample in read_split(run.folder, run.settings.data) if sample.split == "test"]
        return cls(run=run, samples={(image_code(sample), sample.text): sample for sample in samples})

    def read(self, key: Key) -> TestImage:
        """Reads one image.

        Raises:
            DataError: it cannot be read.
            ResultsError: a mask that the search kept cannot be read.
        """
        sample = self.samples[key]
        picture = load_image(sample.image)
        truth = load_truth(sample, *picture.shape[:2])
        masks = {model: mask for model in MODELS if (mask := self._mask(model, key, truth.shape)) is not None}
        return TestImage(key=key, picture=picture, truth=truth, masks=masks)

    def __iter__(self) -> Iterator[TestImage]:
        for key in self.samples:
            try:
                yield self.read(key)
            except DataError:
                continue  # deleted or damaged since; the page tells how many were read

    def _mask(self, model: str, key: Key, shape: tuple[int, ...]) -> Bool[np.ndarray, "H W"] | None:
        texts = [] if self.run.locked is None else self.run.locked.texts
        file = self.run.folder / MASKS_FOLDER / model / mask_name(*key, texts)
        if not file.is_file():
            return None
        try:
            with Image.open(file, formats=["PNG"]) as image:
                mask = np.asarray(image.convert("L")) > 127
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on broken files
            raise ResultsError(
                f"{file}: cannot be read as a mask ({' '.join(str(error).split())}). Delete it, or give --no-pictures."
            ) from error
        return mask if mask.shape == shape else None
