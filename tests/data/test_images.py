"""Image and mask files of every kind that users have, and files that cannot be read."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tune_sa2va.data import NotTwoValuedError, SizeMismatchError, decoding, image_size, load_image, load_mask_file
from tune_sa2va.errors import DataError

from .making import SHAPE, picture, png_header_of, rectangle_mask, save

ORIENTATION = 0x0112  # EXIF tag; 6 says that the picture must be turned right by 90 degrees


def load_mask(path: Path) -> np.ndarray:
    return load_mask_file(path).mask


def grey(path: Path) -> np.ndarray:
    """One channel of an image, which must be grey."""
    image = load_image(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert (image == image[..., :1]).all()
    return image[..., 0]


def bmp_with_alpha(rgba: np.ndarray) -> bytes:
    """A BMP with a version 5 header, which says which bits are alpha."""
    height, width, _ = rgba.shape
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    header = header.ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


class TestLoadImage:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
    def test_lossless_colour(self, tmp_path: Path, suffix: str) -> None:
        colour = np.stack([picture(seed) for seed in range(3)], axis=2)
        assert np.array_equal(load_image(save(tmp_path / f"a{suffix}", colour)), colour)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
    def test_jpeg(self, tmp_path: Path, suffix: str) -> None:
        smooth = np.tile(np.arange(0, 64, 2, dtype=np.uint8), (24, 1))
        loaded = grey(save(tmp_path / f"a{suffix}", smooth, quality=95))
        assert np.abs(loaded.astype(int) - smooth).max() <= 4

    def test_grey(self, tmp_path: Path) -> None:
        assert np.array_equal(grey(save(tmp_path / "a.png", picture(0))), picture(0))

    @pytest.mark.parametrize(
        ("highest", "stored", "wanted"),
        [
            (65535, [0, 32768, 65535], [0, 128, 255]),
            (4095, [0, 2048, 4095], [0, 128, 255]),  # 12 bits in 16 must not come out black
            (3000, [0, 2048, 3000], [0, 128, 187]),  # the darker frame of that series keeps its brightness
            (1023, [0, 512, 1023], [0, 128, 255]),
            (255, [0, 128, 255], [0, 128, 255]),
            (0, [0, 0, 0], [0, 0, 0]),
        ],
    )
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bit_grey_is_scaled_by_its_range(
        self, tmp_path: Path, suffix: str, highest: int, stored: list[int], wanted: list[int]
    ) -> None:
        assert max(stored) == highest
        path = save(tmp_path / f"a{suffix}", np.array([stored], dtype=np.uint16))
        assert grey(path).tolist() == [wanted]

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(("dtype", "byteorder"), [("u1", "<"), ("u2", "<"), ("u2", ">")])
    def test_tiff_with_orientation(self, tmp_path: Path, dtype: str, byteorder: str, orientation: int) -> None:
        stored = (picture(0).astype(float) * (1 if dtype == "u1" else 257)).astype(dtype)
        stored[0, 0] = np.iinfo(dtype).max
        upright = {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.T,
            6: np.rot90(stored, -1),
            7: np.rot90(stored, 2).T,
            8: np.rot90(stored),
        }[orientation]
        tifffile.imwrite(
            tmp_path / "a.tif",
            stored,
            byteorder=byteorder,
            photometric="minisblack",
            extratags=[(ORIENTATION, "H", 1, orientation, True)],
        )
        assert np.array_equal(grey(tmp_path / "a.tif"), upright // (1 if dtype == "u1" else 257))
        assert image_size(tmp_path / "a.tif") == upright.shape

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_white_is_zero(self, tmp_path: Path, dtype: type) -> None:
        full = np.iinfo(dtype).max
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, full]], dtype=dtype), photometric="miniswhite")
        assert grey(tmp_path / "a.tif").tolist() == [[255, 0]]
        assert load_mask(tmp_path / "a.tif").tolist() == [[True, False]]

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_may_be_written_to(self, tmp_path: Path, dtype: type) -> None:
        assert load_image(save(tmp_path / "a.png", picture(0).astype(dtype))).flags.writeable

    def test_transparent_parts_are_black(self, tmp_path: Path) -> None:
        rgba = np.full((2, 2, 4), 200, dtype=np.uint8)
        rgba[..., 3] = [[255, 0], [255, 255]]
        assert grey(save(tmp_path / "a.png", rgba)).tolist() == [[200, 0], [200, 200]]

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
    def test_a_picture_that_is_transparent_everywhere_is_refused(self, tmp_path: Path, suffix: str) -> None:
        rgba = np.full((4, 4, 4), 200, dtype=np.uint8)
        rgba[..., 3] = 0
        rgba[0, 0, 0] = 0
        path = save(tmp_path / f"a{suffix}", rgba)
        if suffix == ".bmp":  # Pillow writes 32-bit BMP without saying that there is alpha
            path.write_bytes(bmp_with_alpha(rgba))
        for load in (load_image, load_mask):
            with pytest.raises(DataError, match="alpha channel"):
                load(path)

    def test_a_mask_of_nothing_may_be_transparent_everywhere(self, tmp_path: Path) -> None:
        assert not load_mask(save(tmp_path / "a.png", np.zeros((4, 4, 4), np.uint8))).any()

    @pytest.mark.parametrize("samples", [3, 4])
    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"tile": (16, 16)}, {"compression": "zlib"}])
    def test_16_bit_colour_in_planes(
        self, tmp_path: Path, samples: int, orientation: int, options: dict[str, object]
    ) -> None:
        planes = np.stack([picture(seed) for seed in range(3)] + [np.full(SHAPE, 255, np.uint8)])[:samples]
        tifffile.imwrite(
            tmp_path / "a.tif",
            planes.astype(np.uint16) * 257,
            photometric="rgb",
            planarconfig="separate",
            extrasamples=["unassalpha"] * (samples - 3),
            extratags=[(ORIENTATION, "H", 1, orientation, True)],
            **options,  # type: ignore[arg-type]
        )
        wanted = np.moveaxis(planes[:3], 0, -1)
        assert np.array_equal(load_image(tmp_path / "a.tif"), wanted if orientation == 1 else np.rot90(wanted, -1))

    def test_8_bit_colour_in_planes(self, tmp_path: Path) -> None:
        planes = np.stack([picture(seed) for seed in range(3)])
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
        assert np.array_equal(load_image(tmp_path / "a.tif"), np.moveaxis(planes, 0, -1))

    @pytest.mark.parametrize(("samples", "dtype"), [(2, np.uint8), (3, np.uint32), (3, np.float32)])
    def test_planes_that_are_not_read_are_refused(self, tmp_path: Path, samples: int, dtype: type) -> None:
        planes = np.stack([picture(seed) for seed in range(samples)]).astype(dtype)
        tifffile.imwrite(
            tmp_path / "a.tif",
            planes,
            photometric="minisblack" if samples == 2 else "rgb",
            planarconfig="separate",
            compression="zlib",
            extrasamples=["unassalpha"] if samples == 2 else (),
        )
        with pytest.raises(DataError, match=r"as PNG"):
            load_image(tmp_path / "a.tif")

    def test_a_gif_of_several_frames_is_refused(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(picture(seed)) for seed in range(3)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match="3 pages"):
            load_image(tmp_path / "a.gif")

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.putpixel((1, 0), 1)
        image.save(tmp_path / "a.png")
        assert load_image(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]

    def test_one_bit(self, tmp_path: Path) -> None:
        assert grey(save(tmp_path / "a.png", np.array([[True, False]]))).tolist() == [[255, 0]]
        Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.tif")
        assert Image.open(tmp_path / "b.tif").mode == "1"
        assert grey(tmp_path / "b.tif").tolist() == [[255, 0]]

    @pytest.mark.parametrize("suffix", [".jpg", ".tif"])
    def test_cmyk(self, tmp_path: Path, suffix: str) -> None:
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"a{suffix}")
        assert np.abs(load_image(tmp_path / f"a{suffix}").astype(int) - (255, 0, 0)).max() <= 4

    def test_exif_orientation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        path = save(tmp_path / "a.png", picture(0), exif=exif)
        assert np.array_equal(grey(path), np.rot90(picture(0), -1))
        assert image_size(path) == SHAPE[::-1]

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
    def test_truncated(self, tmp_path: Path, suffix: str) -> None:
        path = save(tmp_path / f"a{suffix}", picture(0, (64, 64)))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match="cannot be read as an image"):
            load_image(path)

    @pytest.mark.parametrize(("height", "width"), [(60_000, 60_000), (10_000, 10_000), (8193, 8192), (1, 2**26 + 1)])
    @pytest.mark.filterwarnings("error")  # Pillow's own warning comes later than our refusal, or not at all
    def test_huge_header(self, tmp_path: Path, height: int, width: int) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png_header_of(height, width))
        with pytest.raises(DataError, match="header announces"):
            load_image(path)

    def test_huge_header_where_pillow_has_no_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        path = tmp_path / "a.png"
        path.write_bytes(png_header_of(60_000, 60_000))
        with pytest.raises(DataError, match="header announces 60000 x 60000"):
            load_image(path)

    def test_other_formats_are_not_decoded_whatever_the_name(self, tmp_path: Path) -> None:
        Image.fromarray(picture(0)).save(tmp_path / "a.webp")
        path = (tmp_path / "a.webp").rename(tmp_path / "a.png")
        with pytest.raises(DataError):
            load_image(path)

    def test_a_packed_picture_is_read_as_far_as_a_picture_can_be_large(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        path = tmp_path / "a.ppm.gz"
        path.write_bytes(gzip.compress(b"P6 7 5 255 " + pixels.tobytes()))
        assert np.array_equal(load_image(path), pixels) and image_size(path) == (5, 7)
        path.write_bytes(path.read_bytes()[:-20])
        for read in (load_image, image_size):
            with pytest.raises(DataError, match="cannot be read as an image"):
                read(path)
        monkeypatch.setattr(decoding, "MAX_PIXELS", 10)
        path.write_bytes(gzip.compress(b"P6 2 2 255 " + bytes(100)))
        for read in (load_image, image_size):
            with pytest.raises(DataError, match="unpacks to more than 10 pixels"):
                read(path)

    def test_pages(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", np.stack([picture(0), picture(1)]), photometric="minisblack")
        with pytest.raises(DataError, match="2 pages"):
            load_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("values", [np.array([[0.5]], np.float32), np.array([[-1]], np.int32), np.array([[70000]])])
    def test_grey_outside_16_bits(self, tmp_path: Path, values: np.ndarray) -> None:
        tifffile.imwrite(tmp_path / "a.tif", values.astype(np.int32) if values.dtype == np.int64 else values)
        with pytest.raises(DataError, match="8 or 16 bits"):
            load_image(tmp_path / "a.tif")

    def test_missing_and_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "no.png", tmp_path):
            with pytest.raises(DataError, match="no such file"):
                load_image(path)

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # on broken tags; the outcome counts here
    @settings(deadline=None)
    @given(
        data=st.binary(max_size=80), keep=st.integers(0, 60), suffix=st.sampled_from([".png", ".jpg", ".tif", ".bmp"])
    )
    def test_broken_files_raise_nothing_else(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, keep: int, suffix: str
    ) -> None:
        path = save(tmp_path_factory.mktemp("broken") / f"a{suffix}", picture(0, (4, 4)))
        path.write_bytes(path.read_bytes()[:keep] + data)
        try:
            image = load_image(path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


class TestLoadMask:
    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 7), (3, 200)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_any_two_values(self, tmp_path: Path, suffix: str, dtype: type, low: int, high: int) -> None:
        truth = rectangle_mask((2, 3, 10, 5))
        path = save(tmp_path / f"a{suffix}", np.where(truth, high, low).astype(dtype))
        loaded = load_mask(path)
        assert loaded.dtype == bool
        assert np.array_equal(loaded, truth)

    @pytest.mark.parametrize(("value", "covered"), [(0, False), (1, True), (255, True)])
    def test_one_value(self, tmp_path: Path, value: int, covered: bool) -> None:
        assert (load_mask(save(tmp_path / "a.png", np.full(SHAPE, value, np.uint8))) == covered).all()

    @pytest.mark.parametrize("colours", [[0, 0, 0, 128, 0, 0], [255, 255, 255, 0, 0, 0], [0, 0, 90, 0, 90, 90]])
    def test_palette_by_colour(self, tmp_path: Path, colours: list[int]) -> None:
        truth = rectangle_mask((2, 3, 10, 5))
        bright = int(sum(colours[3:]) > sum(colours[:3]))
        indices = np.where(truth, bright, 1 - bright).astype(np.uint8)
        paletted = Image.frombytes("P", (SHAPE[1], SHAPE[0]), indices.tobytes())
        paletted.putpalette(colours)
        paletted.save(tmp_path / "a.png")
        assert Image.open(tmp_path / "a.png").mode == "P"
        assert np.array_equal(load_mask(tmp_path / "a.png"), truth)

    def test_colour_and_transparency(self, tmp_path: Path) -> None:
        truth = rectangle_mask((2, 3, 10, 5))
        rgba = np.zeros((*SHAPE, 4), dtype=np.uint8)
        rgba[truth] = (200, 0, 0, 255)
        assert np.array_equal(load_mask(save(tmp_path / "a.png", rgba)), truth)
        assert np.array_equal(load_mask(save(tmp_path / "b.png", rgba[..., :3])), truth)

    def test_three_colours_of_one_brightness(self, tmp_path: Path) -> None:
        colours = np.array([[[0, 0, 0], [90, 0, 0], [0, 90, 0]]], dtype=np.uint8)
        with pytest.raises(NotTwoValuedError, match="got 3"):
            load_mask(save(tmp_path / "a.png", colours))

    def test_three_values(self, tmp_path: Path) -> None:
        with pytest.raises(NotTwoValuedError, match=r"got 3\. Threshold it and save it as PNG"):
            load_mask(save(tmp_path / "a.png", np.array([[0, 128, 255]], dtype=np.uint8)))

    def test_jpeg_with_values_between(self, tmp_path: Path) -> None:
        with pytest.raises(NotTwoValuedError, match="save it as PNG"):
            load_mask(save(tmp_path / "a.jpg", rectangle_mask((2, 3, 10, 5)), quality=75))

    def test_one_bit_and_orientation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        truth = rectangle_mask((2, 3, 10, 5))
        Image.fromarray(truth).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(load_mask(tmp_path / "a.png"), np.rot90(truth, -1))

    def test_huge_header(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png_header_of(60_000, 60_000))
        with pytest.raises(DataError, match="header announces"):
            load_mask(tmp_path / "a.png")


@pytest.mark.parametrize("error", [NotTwoValuedError("a.png: why"), SizeMismatchError("b.png: why")])
def test_errors_survive_the_trip_between_processes(error: DataError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
