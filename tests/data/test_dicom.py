"""Frames of DICOM files: windowed as the file says, and without any of its tags."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset as Dicom
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid
from typer.testing import CliRunner

from tune_sa2va.data import Fault, check, image_size, load_image, open_dataset
from tune_sa2va.data.__main__ import app
from tune_sa2va.data.dicom import dicom_size, frames_of, write_frames
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError, UserError

from .making import picture, rectangle_mask, save

PATIENT = "Wang^Li"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def write(path: Path, pixels: np.ndarray, patient: str = "P1", **tags: Any) -> Path:
    """frames, rows, columns (and 3), or rows and columns."""
    colour = pixels.shape[-1] == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    file = Dicom()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = XRayAngiographicImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.PatientName, file.PatientID, file.Modality = PATIENT, patient, "XA"
    file.Rows, file.Columns = shape[-2:]
    if len(shape) == 3:
        file.NumberOfFrames = shape[0]
    file.SamplesPerPixel = 3 if colour else 1
    file.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        file.PlanarConfiguration = 0
    file.BitsAllocated = 8 * pixels.itemsize
    file.BitsStored = 8 if pixels.itemsize == 1 else 12
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path) -> np.ndarray:
    return load_image(path)[..., 0]


class TestWindow:
    def test_the_stored_bits_without_a_window(self, tmp_path: Path) -> None:
        assert np.array_equal(grey(write(tmp_path / "a.dcm", RAMP)), np.rint(RAMP * (255 / 4095)))

    @pytest.mark.parametrize(
        ("function", "wanted"),
        [
            ("LINEAR", lambda x: (x - (1000 - 0.5)) / (400 - 1) + 0.5),
            ("LINEAR_EXACT", lambda x: (x - 1000) / 400 + 0.5),
            ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 1000) / 400))),
        ],
    )
    @pytest.mark.parametrize("several", [False, True])
    def test_the_windows_functions(self, tmp_path: Path, function: str, wanted: Any, several: bool) -> None:
        centre, width = ([1000, 5], [400, 5]) if several else (1000, 400)
        path = write(tmp_path / "a.dcm", RAMP, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
        assert np.array_equal(grey(path), np.rint(255 * np.clip(wanted(RAMP.astype(float)), 0, 1)))

    def test_monochrome_1_is_inverted(self, tmp_path: Path) -> None:
        found = grey(write(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1"))
        assert np.array_equal(found, 255 - np.rint(RAMP * (255 / 4095)))

    def test_the_rescale_comes_before_the_window(self, tmp_path: Path) -> None:
        tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 401}
        found = grey(write(tmp_path / "a.dcm", RAMP, **tags))
        assert np.array_equal(found, np.rint(255 * np.clip((2.0 * RAMP - 1000 - 999.5) / 400 + 0.5, 0, 1)))

    def test_a_table_of_values(self, tmp_path: Path) -> None:
        table = Dicom()
        table.LUTDescriptor = [4096, 0, 12]
        table.LUTData = (4095 - np.arange(4096)).astype(np.uint16).tobytes()
        table["LUTData"].VR = "OW"
        path = write(tmp_path / "a.dcm", RAMP, VOILUTSequence=DicomSequence([table]))
        assert np.array_equal(grey(path), np.rint((4095 - RAMP) * (255 / 4095)))

    def test_colour(self, tmp_path: Path) -> None:
        pixels = np.stack([picture(seed) for seed in range(3)], axis=2)
        assert np.array_equal(load_image(write(tmp_path / "a.dcm", pixels)), pixels)

    def test_signed_values(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.dcm", RAMP.astype(np.int16) - 2048)
        assert np.array_equal(grey(path), np.rint(RAMP * (255 / 4095)))


def series(root: Path) -> Path:
    for number, patient in enumerate(("RECORD-1", "RECORD-1", "RECORD-2", "RECORD-3")):
        frames = np.stack([picture(10 * number + frame, (64, 64)) for frame in range(3)])
        write(root / f"{PATIENT}_{number}.dcm", frames, patient)
    return root


class TestFrames:
    def test_each_frame_in_turn(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.dcm", np.stack([picture(seed) for seed in range(3)]))
        assert dicom_size(path) == (3, 24, 32)
        assert image_size(path) == (24, 32)
        for seed, frame in enumerate(frames_of(path)):
            assert np.array_equal(frame, picture(seed))

    def test_saved_by_codes_with_patients_by_numbers_and_no_tags(self, tmp_path: Path) -> None:
        source = series(tmp_path / "study")
        assert write_frames([source, source], tmp_path / "out") == (4, 12)
        written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert len(written) == 13
        for path in written:
            for word in (PATIENT, "Wang", "RECORD"):
                assert word.encode() not in path.read_bytes()
                assert word not in path.name
            if path.suffix == ".png":
                assert Image.open(path).info == {}
                save(tmp_path / "out" / "masks" / path.name, rectangle_mask((2, 3, 10, 5), (64, 64)))
        rules = Rules(group_by=str(tmp_path / "out" / "patients.csv"))
        report = check(open_dataset(tmp_path / "out", rules=rules))
        assert report.errors == ()
        assert {sample.group for sample in report.samples} == {"patient-0001", "patient-0002", "patient-0003"}
        assert open_dataset(tmp_path / "out").samples[0].group == report.samples[0].name[7:17]

    def test_by_the_command(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["frames", str(series(tmp_path / "in")), "--to", str(tmp_path / "out")])
        assert result.output == f"{tmp_path / 'out'}: 12 frames of 4 files.\n"

    def test_places_that_are_taken_and_sources_without_files(self, tmp_path: Path) -> None:
        source = series(tmp_path / "in")
        with pytest.raises(UserError, match="exists already"):
            write_frames([source], tmp_path / "in")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="no DICOM file"):
            write_frames([tmp_path / "empty"], tmp_path / "out")
        with pytest.raises(DataError, match="no such file"):
            write_frames([tmp_path / "gone.dcm"], tmp_path / "out")


class TestAsImages:
    def test_single_frames_are_images_of_a_data_set(self, tmp_path: Path) -> None:
        write(tmp_path / "images" / "a.dcm", picture(0))
        save(tmp_path / "masks" / "a.png", rectangle_mask((2, 3, 10, 5)))
        assert check(open_dataset(tmp_path)).problems == ()

    def test_several_frames_are_refused_with_the_cure(self, tmp_path: Path) -> None:
        write(tmp_path / "images" / "a.dcm", np.stack([picture(0), picture(1)]))
        save(tmp_path / "masks" / "a.png", rectangle_mask((2, 3, 10, 5)))
        [problem] = check(open_dataset(tmp_path)).problems
        assert problem.fault is Fault.UNREADABLE_IMAGE
        assert "2 frames" in problem.message and "tune_sa2va.data frames" in problem.message

    @pytest.mark.parametrize("keep", [0, 100, 200, 400, 900])
    def test_cut_files(self, tmp_path: Path, keep: int) -> None:
        path = write(tmp_path / "a.dcm", picture(0))
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=r"a\.dcm"):
            load_image(path)

    def test_no_picture_and_too_large_a_one(self, tmp_path: Path) -> None:
        for tags, says in (({"Rows": 0}, "no picture"), ({"Rows": 60_000, "Columns": 60_000}, "more than is read")):
            with pytest.raises(DataError, match=says):
                load_image(write(tmp_path / "a.dcm", picture(0), **tags))

    def test_a_size_of_an_odd_number_of_bytes(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.dcm", picture(0))
        rows = b"\x28\x00\x10\x00US\x02\x00\x18\x00"
        assert path.read_bytes().count(rows) == 1
        path.write_bytes(path.read_bytes().replace(rows, b"\x28\x00\x10\x00US\x03\x00\x18\x00\x00"))
        with pytest.raises(DataError, match="no size that can be read"):
            load_image(path)

    def test_without_pydicom(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.dcm", picture(0))
        monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
        with pytest.raises(DataError, match="pip install pydicom"):
            load_image(path)
