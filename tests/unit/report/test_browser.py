"""Tests of the page in a browser: no error, no request, a working slider and theme, and no violation found by axe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import verify
from pipeline.report.__main__ import main as report
from tests.unit.report.conftest import Open, run_build

DESKTOP, PHONE = (1280, 900), (390, 844)
# Each pair of output, size and theme is in one of the first four; the others run with -m full.
VIEWS = [
    ("cifar", DESKTOP, "light"),
    ("cifar", PHONE, "dark"),
    ("imagenet", DESKTOP, "dark"),
    ("imagenet", PHONE, "light"),
    pytest.param("cifar", DESKTOP, "dark", marks=pytest.mark.full),
    pytest.param("cifar", PHONE, "light", marks=pytest.mark.full),
    pytest.param("imagenet", DESKTOP, "light", marks=pytest.mark.full),
    pytest.param("imagenet", PHONE, "dark", marks=pytest.mark.full),
]
HOSTILE = ["<script>document.title = 'owned'</script>", "\"quotes\" & 'more'", "{{7*7}}", "$x^2$ <b>", "\u202eba\nck"]


def violations(page: Any) -> list[str]:
    """Returns the accessibility rules that the page breaks, each with the first element at fault, from axe-core."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in axe.run(page).response["violations"]]


@pytest.mark.parametrize(("output", "size", "theme"), VIEWS)
def test_axe_finds_no_violation(
    output: str, size: tuple[int, int], theme: str, open_page: Open, request: pytest.FixtureRequest
) -> None:
    page = open_page(request.getfixturevalue(output) / "report.html", *size, theme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert violations(page) == []


@pytest.mark.parametrize("output", ["cifar", "imagenet"])
def test_the_page_fits_the_width_of_a_phone(output: str, open_page: Open, request: pytest.FixtureRequest) -> None:
    page = open_page(request.getfixturevalue(output) / "report.html", *PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def frame_picture(page: Any, component: str) -> bytes:
    """Returns a screenshot of the frame of a component, as PNG."""
    picture: bytes = page.locator(f".ladder:not([hidden]) .frame[data-words={component}]").screenshot()
    return picture


def test_the_keyboard_moves_the_slider_through_the_ranks(cifar: Path, open_page: Open) -> None:
    page = open_page(cifar / "report.html")
    slider = page.get_by_role("slider", name="Rank")
    assert slider.get_attribute("aria-valuetext") == "rank 5"
    pictures = []
    slider.focus()
    for key, rank in (("Home", 1), ("ArrowRight", 2), ("End", 31)):
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == f"rank {rank}"
        assert page.locator("#rank-value").text_content() == str(rank)
        names = page.locator(".ladder:not([hidden]) .frame").evaluate_all("all => all.map(one => one.ariaLabel)")
        assert len(names) == 2
        assert all(f"at rank {rank}: airplane" in name for name in names)
        pictures.append((frame_picture(page, "low-rank"), frame_picture(page, "high-rank-only")))
    assert len({low for low, _ in pictures}) == len({high for _, high in pictures}) == 3


def pixels_of(page: Any, address: str) -> np.ndarray:
    """Returns a picture in the page as the browser decodes it, uint8 (h, w, 3). ``address``: JavaScript for its URL."""
    size, values = page.evaluate(
        f"""async () => {{
          const image = new Image(); image.src = {address}; await image.decode();
          const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
          const brush = canvas.getContext('2d'); brush.drawImage(image, 0, 0);
          return [[image.height, image.width], [...brush.getImageData(0, 0, image.width, image.height).data]];
        }}"""
    )
    return np.array(values, np.uint8).reshape(*size, 4)[..., :3]


def test_the_slider_shows_the_pixels_of_each_rank(cifar: Path, open_page: Open, cifar_tree: Path) -> None:
    """The strips of pictures in the page equal the bytes that a build stores, computed here by LAPACK in float64."""
    page = open_page(cifar / "report.html")
    original = pixels_of(page, "document.querySelector('.ladder img').src")
    files = (cifar_tree / "train" / "airplane").iterdir()
    assert any(np.array_equal(original, np.asarray(Image.open(file))) for file in files)
    low, high = (
        pixels_of(page, f"document.querySelector('.frame[data-words={words}]').style.backgroundImage.slice(5, -2)")
        for words in ("low-rank", "high-rank-only")
    )
    u, s, v = np.linalg.svd(original.transpose(2, 0, 1).astype(np.float64), full_matrices=False)
    for rank in (1, 5, 31):
        rounded = np.rint((u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]).transpose(1, 2, 0)
        place = slice(32 * (rank - 1), 32 * rank)
        np.testing.assert_array_equal(low[:, place], np.clip(rounded, 0, 255))
        np.testing.assert_array_equal(high[:, place], np.clip(original - rounded + 128, 0, 255))


def test_another_image_can_be_chosen_by_keyboard(cifar: Path, open_page: Open) -> None:
    page = open_page(cifar / "report.html")
    before = frame_picture(page, "low-rank")
    page.get_by_role("radio", name="airplane").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="automobile").is_checked()
    assert "automobile" in page.locator(".ladder:not([hidden]) .frame").first.get_attribute("aria-label")
    assert page.locator("#rank-value").text_content() == "5"
    assert frame_picture(page, "low-rank") != before


def test_the_theme_follows_the_system_and_the_button(cifar: Path, open_page: Open) -> None:
    page = open_page(cifar / "report.html", theme="dark")

    def brightness() -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return float(np.mean([int(part) for part in colour.strip("rgb()").split(",")]))

    assert brightness() < 60
    button = page.get_by_role("button", name="theme")
    button.press("Enter")
    assert brightness() > 240
    curve = "getComputedStyle(document.querySelector('svg.plot text')).fill"
    light = page.evaluate(curve)
    button.press("Enter")
    assert brightness() < 60
    assert page.evaluate(curve) != light


def test_the_page_prints_in_the_light_theme_with_all_details(cifar: Path, open_page: Open, tmp_path: Path) -> None:
    page = open_page(cifar / "report.html", theme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_without_javascript_the_page_still_shows_images(cifar: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((cifar / "report.html").as_uri())
    assert page.locator(".ladder:not([hidden]) .frame").first.is_visible()
    assert not page.get_by_role("slider").is_visible()
    context.close()


def test_hostile_names_are_shown_as_text(tmp_path: Path, open_page: Open) -> None:
    generator = np.random.default_rng(1)
    for number in range(len(HOSTILE)):
        (tmp_path / "data" / "train" / str(number)).mkdir(parents=True)
        for each in range(2):
            image = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
            image.save(tmp_path / "data" / "train" / str(number) / f"{each}.png")
    (tmp_path / "data" / "train" / "0" / "<img src=x onerror=alert(1)>.png").write_bytes(b"no image")
    out = tmp_path / "out"
    options = ("--dataset", "folder", "--data-dir", tmp_path / "data", "--out", out, "--ranks", 2, "--max-rejects", 1)
    assert run_build(*options, "--components", "low,high,full") == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["classes"] = HOSTILE
    manifest["source"] |= {"title": HOSTILE[0], "terms": "</style><script>1</script>", "note": HOSTILE[2] + "\ud800"}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert report([str(out)]) == 0
    page = open_page(out / "report.html")
    assert page.title() == "folder: report"
    assert page.locator("script").count() == 1
    text = page.locator("body").inner_text()
    for name in HOSTILE[:4]:
        assert name in text
    assert "<img src=x onerror=alert(1)>.png" in text
    drawn = page.locator("svg.plot text").all_text_contents()
    assert {"{{7*7}}", "$x^2$ <b>", "\"quotes\" & 'more'"} <= set(drawn)
    assert violations(page) == []


def test_verify_accepts_a_report_in_the_output(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (cifar / "report.html").is_file()
    assert verify.main([str(cifar), "--sample", "4", "--workers", "1"]) == 0, capsys.readouterr().err
