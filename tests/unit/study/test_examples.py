"""``--examples`` shows single images with the top classes of every network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.spectra.examples import examples
from pipeline.study.spectrum import main
from tests.unit.study.conftest import PUBLISHED, Run, table, tensor


def test_the_top_classes_are_those_of_the_cut_image(published: Callable[[str], Network], test_images: Images) -> None:
    network, images = published("resnet2b"), test_images.first(3)
    shown = examples([network], images, rank=4)
    for i, image in enumerate(tensor(images)):
        u, s, v = np.linalg.svd(image.numpy().astype(np.float64), full_matrices=False)
        s[:, 4:] = 0
        np.testing.assert_allclose(shown.cut[i].transpose(2, 0, 1) / 255, (u * s[:, None]) @ v, atol=1e-6)
        probabilities = network(tensor(images)[i : i + 1]).softmax(1)[0].numpy()
        assert shown.classes[0, 1, i].tolist() == np.argsort(-probabilities)[:5].tolist()
        np.testing.assert_allclose(shown.probabilities[0, 1, i], np.sort(probabilities)[::-1][:5], atol=1e-5)


def test_the_command_writes_a_figure_and_a_table(command: Run, weights: Path, records: Path, tmp_path: Path) -> None:
    model = ("--model", "resnet2b", "--weights", weights / PUBLISHED["resnet2b"][1], "--images", records)
    ran = command(main, *model, "--limit", 8, "--ranks", "2,5", "--at", 5, "--examples", 2, "--out", tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert (tmp_path / "examples.png").stat().st_size > 10_000
    rows = table(tmp_path / "examples.csv")
    assert [row["key"] for row in rows[::5]] == ["test-00000000"] * 2 + ["test-00000004"] * 2
    assert {row["rank"] for row in rows} == {"5", "32"}
