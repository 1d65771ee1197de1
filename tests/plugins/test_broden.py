"""Broden's published format: reading, downloading, and errors in a copy."""

from __future__ import annotations

import http.server
import shutil
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from csv_files import change_csv, write_csv
from PIL import Image

import benchsuite
from benchsuite.metrics.dissection.packing import pack
from benchsuite_datasets._broden_download import download_broden
from benchsuite_datasets._broden_folder import read_broden
from benchsuite_datasets.broden import Broden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def broden(tmp_path: Path) -> Path:
    """The parent of a folder in Broden's format: two images, several masks, image-level labels."""
    root = tmp_path / "broden1_224"
    (root / "images" / "a").mkdir(parents=True)
    for name in ("one", "two"):
        Image.new("RGB", (224, 224), (250, 5, 5)).save(root / "images" / "a" / f"{name}.jpg")
    encoded = np.zeros((112, 112, 3), np.uint8)
    encoded[:10, :, 0] = 1  # 1
    encoded[10:30, :, :2] = (44, 1)  # 300 = 44 + 256
    Image.fromarray(encoded).save(root / "images" / "a" / "one_object.png")
    encoded[:] = 0
    encoded[0, 0] = (2, 0, 9)
    Image.fromarray(encoded).save(root / "images" / "a" / "one_part_1.png")
    encoded[:] = 0
    encoded[1, :7, 0] = 1
    Image.fromarray(encoded).save(root / "images" / "a" / "one_part_2.png")
    write_csv(
        root / "index.csv",
        ("image", "split", "ih", "iw", "sh", "sw", "scene", "object", "part"),
        (
            "a/one.jpg",
            "train",
            224,
            224,
            112,
            112,
            "",
            "a/one_object.png",
            "a/one_part_1.png;a/one_part_2.png",
        ),
        ("a/two.jpg", "val", 224, 224, 112, 112, "7;300", "", ""),
    )
    write_csv(
        root / "label.csv",
        ("number", "name", "category", "frequency", "coverage", "syns"),
        (1, "door", "object(1);part(1)", 2, 0.1, ""),
        (2, "wheel", "part(1)", 1, 0.1, "tyre;rim"),
        (7, "street-s", "scene(1)", 1, 1.0, ""),
        (300, "car", "object(1)", 1, 0.2, ""),
    )
    write_csv(
        root / "category.csv",
        ("name", "first", "last", "count", "frequency"),
        ("scene", 7, 7, 1, 1),
        ("object", 1, 300, 2, 2),
        ("part", 1, 2, 2, 2),
    )
    header = ("code", "number", "name", "frequency", "coverage")
    write_csv(root / "c_scene.csv", header, (1, 7, "street-s", 1, 1.0))
    write_csv(root / "c_object.csv", header, (1, 1, "door", 1, 0.01), (2, 300, "car", 1, 0.2))
    write_csv(root / "c_part.csv", header, (1, 1, "door", 1, 0.02), (2, 2, "wheel", 1, 0.1))
    return tmp_path


def test_broden_format_is_read(broden: Path) -> None:
    packed = pack(Broden().concepts(broden))
    assert [(c.name, c.category) for c in packed.concepts] == [
        ("door", "part"),  # covers more as a part than as an object
        ("wheel", "part"),
        ("street-s", "scene"),
        ("car", "object"),
    ]
    assert packed.images.shape == (2, 3, 224, 224)
    assert packed.images[0, 0].float().mean() > 240  # red first
    assert packed.images[0, 1:].float().mean() < 15
    maps = packed.label_maps(torch.tensor([0]))[0]
    assert maps.shape == (3, 112, 112)
    # Pixels that a later map labels again count once; the 7 pixels of the second part map are already doors.
    assert packed.pixels.tolist() == [10 * 112, 1, 112 * 112, 20 * 112 + 112 * 112]
    assert packed.images_with.tolist() == [1, 1, 1, 2]
    assert packed.has_category.tolist() == [[True, True, False], [False, True, True]]
    assert packed.categories == ("part", "object", "scene")


BREAKAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda r: (r / "index.csv").unlink(), r"there is no .*index.csv"),
    "missing column": (
        lambda r: change_csv(r / "index.csv", ",part\n", ",parts\n"),
        r"index.csv: .* no column 'part'.*has image, split",
    ),
    "short row": (
        lambda r: change_csv(r / "index.csv", "224,224,112,112,7", "224,112,112,7"),
        r"index.csv, line 3",
    ),
    "no number": (
        lambda r: change_csv(r / "index.csv", "val,224", "val,x"),
        r"line 3: ih is 'x'.* whole number",
    ),
    "no category file": (lambda r: (r / "c_part.csv").unlink(), r"there is no .*c_part.csv"),
    "label without category": (
        lambda r: change_csv(r / "c_part.csv", "2,2,wheel", "2,9,wheel"),
        r"label.csv, line 3: label 2 \(wheel\) stands in none of c_scene.csv, c_object.csv, c_part.csv",
    ),
    "label twice": (
        lambda r: change_csv(r / "label.csv", "\n2,wheel", "\n1,wheel"),
        r"line 3: label 1 is listed twice",
    ),
    "coverage": (
        lambda r: change_csv(r / "c_part.csv", "wheel,1,0.1", "wheel,1,much"),
        r"c_part.csv, line 3: coverage",
    ),
    "absent image": (lambda r: (r / "images/a/two.jpg").unlink(), r"there is no image .*two.jpg"),
    "broken image": (
        lambda r: (r / "images/a/two.jpg").write_bytes(b"no"),
        r"two.jpg cannot be read as a image",
    ),
    "absent mask": (
        lambda r: (r / "images/a/one_part_2.png").unlink(),
        r"there is no label map .*one_part_2.png",
    ),
    "mask of wrong size": (
        lambda r: Image.new("RGB", (112, 56)).save(r / "images/a/one_object.png"),
        r"one_object.png is 56 x 112 \(height x width\); index.csv says 112 x 112 \(sh, sw\)",
    ),
    "image of wrong size": (
        lambda r: Image.new("RGB", (200, 224)).save(r / "images/a/one.jpg"),
        r"one.jpg is 224 x 200 .* 224 x 224 \(ih, iw\)",
    ),
    "unknown label in a mask": (
        lambda r: Image.new("RGB", (112, 112), (9, 1, 0)).save(r / "images/a/one_object.png"),
        r"one_object.png has the label 265, which .*label.csv does not list",
    ),
    "unknown label in the index": (
        lambda r: change_csv(r / "index.csv", "7;300", "8;300"),
        r"index.csv, line 3: scene has the label 8, which .*label.csv does not list",
    ),
    "another resolution": (
        lambda r: change_csv(r / "index.csv", "train,224,224", "train,227,227"),
        r"line 2: the image is 227 x 227; size = 224",
    ),
    "two label map sizes": (
        lambda r: change_csv(r / "index.csv", "val,224,224,112,112", "val,224,224,113,113"),
        r"line 3: sh, sw are \(113, 113\); the first image has \(112, 112\)",
    ),
    "image outside": (
        lambda r: change_csv(r / "index.csv", "a/two.jpg", "a/../../two.jpg"),
        r"index.csv, line 3: 'a/../../two.jpg' is no file below images/",
    ),
    "mask outside": (
        lambda r: change_csv(r / "index.csv", "a/one_part_2.png", "/a/one_part_2.png"),
        r"index.csv, line 2: '/a/one_part_2.png' is no file below images/",
    ),
    "empty index": (
        lambda r: (r / "index.csv").write_text("image,split,ih,iw,sh,sw,scene,object,part\n"),
        "3 categories and index.csv 0 images",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_every_malformed_piece_is_a_clear_error(broden: Path, breakage: str) -> None:
    spoil, message = BREAKAGES[breakage]
    spoil(broden / "broden1_224")
    with pytest.raises(benchsuite.DataError, match=message):
        pack(read_broden(broden / "broden1_224", 224))


def test_absent_broden_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match=r"there is no folder .*mine; it must hold index.csv"):
        Broden(path="mine").concepts(tmp_path)


def test_broden_fingerprint_follows_content(broden: Path) -> None:
    assert Broden().fingerprint(broden / "absent") == ""
    first = Broden().fingerprint(broden)
    assert first == Broden().fingerprint(broden) != ""
    Image.new("RGB", (112, 56)).save(broden / "broden1_224/images/a/one_object.png")
    second = Broden().fingerprint(broden)
    change_csv(broden / "broden1_224/label.csv", "wheel", "wheex")
    assert len({first, second, Broden().fingerprint(broden)}) == 3


@pytest.mark.data
@pytest.mark.parametrize("breakage", ["missing column", "absent mask", "wrong size", "unknown label", "none"])
def test_malformed_copies_of_the_real_sample(data_folder: Path, tmp_path: Path, breakage: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(data_folder / "broden-format_sample" / "broden1_224", root)
    mask = root / "images/camvid/0001TP_006690_object.png"
    if breakage == "missing column":
        change_csv(root / "index.csv", ",texture,", ",textures,")
    elif breakage == "absent mask":
        mask.unlink()
    elif breakage == "wrong size":
        Image.new("RGB", (224, 224)).save(mask)
    elif breakage == "unknown label":
        Image.new("RGB", (112, 112), (0, 3, 0)).save(mask)
    expected = {
        "missing column": r"index.csv: .*'texture'",
        "absent mask": "there is no label map .*0001TP_006690_object.png",
        "wrong size": "0001TP_006690_object.png is 224 x 224 .* 112 x 112",
        "unknown label": "0001TP_006690_object.png has the label 768",
    }
    if breakage == "none":
        assert len(pack(Broden(path=str(root)).concepts(data_folder), limit=5)) == 5
    else:
        with pytest.raises(benchsuite.DataError, match=expected[breakage]):
            pack(Broden(path=str(root)).concepts(data_folder))


class Host(http.server.BaseHTTPRequestHandler):
    """Serves one archive in ranges and interrupts the first transfers."""

    content: bytes = b""
    breaks: int = 0
    requests: list[str | None]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        type(self).requests.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        rest = self.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if type(self).breaks:
            type(self).breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def host(broden: Path) -> Iterator[str]:
    archive = broden / "made.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((broden / "broden1_224").rglob("*")):
            file.write(path, path.relative_to(broden))
    Host.content, Host.requests, Host.breaks = archive.read_bytes(), [], 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/broden1_{{size}}.zip"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_interrupted_download_goes_on_where_it_ended(host: str, tmp_path: Path) -> None:
    Host.breaks = 2
    folder = tmp_path / "data"
    download_broden(224, folder, sources=(host,))
    half = len(Host.content) // 2
    assert Host.requests == [None, f"bytes={half}-", f"bytes={half + (len(Host.content) - half) // 2}-"]
    assert len(pack(Broden().concepts(folder))) == 2
    download_broden(224, folder, sources=(host,))
    assert len(Host.requests) == 3
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [
        "broden1_224",
        "broden1_224.zip",
    ]


def test_the_second_source_serves_where_the_first_does_not(host: str, tmp_path: Path) -> None:
    download_broden(224, tmp_path / "data", sources=("http://127.0.0.1:9/broden1_{size}.zip", host))
    assert (tmp_path / "data/broden1_224/index.csv").is_file()


def test_without_a_source_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        benchsuite.DataError, match=r"fetch http://127.0.0.1:9/broden1_384.zip.*index.csv exists"
    ):
        download_broden(384, tmp_path, sources=("http://127.0.0.1:9/broden1_{size}.zip",))


def test_what_is_no_archive_is_removed(host: str, tmp_path: Path) -> None:
    Host.content = b"<html>down for maintenance</html>"
    with pytest.raises(benchsuite.DataError, match="damaged"):
        download_broden(224, tmp_path / "data", sources=(host,))
    assert not (tmp_path / "data" / "broden1_224.zip").exists()
    assert not (tmp_path / "data" / "broden1_224").exists()
