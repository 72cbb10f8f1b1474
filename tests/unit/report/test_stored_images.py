"""Browsers show the PNG files of shards with the pixels that were stored."""

import base64
from typing import Any

import numpy as np
import pytest

from pipeline.formats import png

DRAW = """async (files) => {
    const decoded = [];
    for (const file of files) {
        const image = new Image();
        image.src = "data:image/png;base64," + file;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d", {colorSpace: "srgb"});
        context.drawImage(image, 0, 0);
        decoded.push(Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data));
    }
    return decoded;
}"""


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (32, 32), (150, 160)])
def test_chromium_decodes_the_stored_pixels(size: tuple[int, int], browser: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack(
        [
            np.full((3, *size), 7),
            rng.integers(0, 256, (3, *size)),
            rng.binomial(9, 0.5, (3, *size)) + np.arange(size[1]) // 2,
        ]
    ).astype(np.uint8)
    page = browser.new_page()
    for filter_type in (png.NONE, png.AVERAGE):
        files = [base64.b64encode(file).decode() for file in png.encode(pixels, filter_type).split()]
        for image, drawn in zip(pixels, page.evaluate(DRAW, files), strict=True):
            rgba = np.array(drawn, np.uint8).reshape(*size, 4)
            np.testing.assert_array_equal(rgba[:, :, :3].transpose(2, 0, 1), image)
            assert (rgba[:, :, 3] == 255).all()
    page.close()
