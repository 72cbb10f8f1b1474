"""Rank spectra: Algorithm 1 against a loop, tables against a recount, and what the real networks show."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from pipeline.study.distortion import tables
from pipeline.study.distortion.spectrum import Spectrum, run
from pipeline.study.inputs import Images
from pipeline.study.networks.cifar import ARCHITECTURES
from pipeline.study.networks.load import Network
from pipeline.study.rig import main as rig_main
from pipeline.study.spectrum import main
from tests.conftest import Build
from tests.unit.study.conftest import KNOWN, Run, tensor


def algorithm_1(network: Network, images: Images) -> np.ndarray:
    """Predictions (ranks, n), image by image and rank by rank."""
    found = np.zeros((33, len(images)), int)
    for i, image in enumerate(tensor(images)):
        for k in range(33):
            u, s, v = np.linalg.svd(image.numpy().astype(np.float64), full_matrices=False)
            s[:, k:] = 0
            x_k = torch.tensor((u * s[:, None, :]) @ v, dtype=torch.float32)
            found[k, i] = int(network(x_k[None])[0].argmax())
    return found


def test_predictions_are_algorithm_1s(known: Callable[[str], Network], test_images: Images) -> None:
    few, network = test_images.first(12), known("resnet2b")
    spectrum = run([network, known("cnn_a_adv")], few, batch=5)
    expected = algorithm_1(network, few)
    np.testing.assert_array_equal(spectrum.predictions[0, 0], expected)
    np.testing.assert_array_equal(spectrum.agrees[0, 0], expected == expected[-1])
    np.testing.assert_array_equal(spectrum.right[0, 0], expected == few.labels)
    assert spectrum.agrees[:, 0, -1].all()


def test_the_batch_changes_nothing(known: Callable[[str], Network], test_images: Images) -> None:
    few = test_images.first(9)
    one, two = (run([known("cnn_a_adv")], few, ("rank", "noise"), batch=size) for size in (2, 9))
    np.testing.assert_array_equal(one.predictions, two.predictions)
    np.testing.assert_allclose(one.error, two.error, rtol=1e-6)


class Brightness(nn.Module):
    """Says how many quarters of full brightness the image's mean has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x.mean((1, 2, 3))[:, None] * 4 - torch.arange(5)).abs()


def test_unclipped_images_reach_the_network_unless_stored_ones_are_asked_for() -> None:
    sharp = np.zeros((1, 8, 8, 3), np.uint8)
    sharp[0, 0, 1:], sharp[0, 1:, 0], sharp[0, 4, 4] = 255, 90, 255  # its rank-k images leave 0..255
    seen: list[torch.Tensor] = []

    class Look(Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.clone())
            return super().forward(x)

    images = Images(sharp, np.zeros(1, np.int64), ["a"], ["dark"], "made")
    run([Network(Look(), "look")], images)
    assert min(float(x.min()) for x in seen) < -0.01
    seen.clear()
    run([Network(Look(), "look")], images, as_stored=True)
    levels = 255 * torch.cat(seen)
    assert levels.min() >= 0
    assert levels.max() <= 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def made(predictions: np.ndarray, labels: np.ndarray, models: list[str]) -> Spectrum:
    """A spectrum of given predictions (models, ranks, n)."""
    n = len(labels)
    images = Images(np.zeros((n, 1, 1, 3), np.uint8), labels, [f"test-{i}" for i in range(n)], ["a", "b", "c"], "made")
    shape = (1, predictions.shape[1], n)
    return Spectrum(images, models, ("rank",), predictions[:, None], np.ones(shape, np.float32), np.ones(shape, bool))


def test_tables_are_counted_right() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 200), rng.integers(0, 3, (2, 4, 200)).astype(np.int16)
    spectrum = made(predictions, labels, ["one", "two"])
    rows = {(row["model"], row["rank"]): row for row in tables.curves(spectrum)}
    right = int((predictions[1, 2] == labels).sum())
    assert rows["two", 2]["accuracy"] == pytest.approx(right / 200)
    interval = binomtest(right, 200).proportion_ci(method="wilson")
    assert rows["two", 2]["accuracy low"] == pytest.approx(interval.low)
    assert rows["two", 2]["agreement"] == pytest.approx((predictions[1, 2] == predictions[1, 3]).mean())
    [row] = [r for r in tables.by_class(spectrum) if (r["model"], r["class"], r["rank"]) == ("one", "b", 1)]
    assert (row["images"], row["accuracy"]) == (
        (labels == 1).sum(),
        pytest.approx((predictions[0, 1][labels == 1] == 1).mean()),
    )
    [row] = [r for r in tables.differences(spectrum) if r["rank"] == 0]
    assert row["accuracy"] == pytest.approx((predictions[0, 0] == labels).mean() - (predictions[1, 0] == labels).mean())


def test_shares_divide_the_gap() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 600)
    skill = np.array([0.3, 0.5, 0.9])  # of the reference, the natural twin, the robust network
    predictions = np.where(rng.random((3, 2, 600)) < skill[:, None, None], labels, (labels + 1) % 3).astype(np.int16)
    spectrum = made(predictions, labels, ["reference", "twin", "robust"])
    rows = list(tables.shares(spectrum, [tables.Twin("robust", "twin", "reference")]))
    for row in rows:
        assert row["gap"] == pytest.approx(row["architecture"] + row["adversarial training"])
    first = rows[0]
    assert first["architecture's share low"] < 1 / 3 < first["architecture's share high"]
    assert first["architecture's share"] == pytest.approx(first["architecture"] / first["gap"])


def test_robust_networks_are_far_above_natural_ones_at_low_rank(
    known: Callable[[str], Network], test_images: Images
) -> None:
    _bar([known("resnet20"), known("resnet4b")], test_images.first(150), gap=15)


@pytest.mark.full
def test_the_same_on_all_lossless_test_images_and_four_networks(
    known: Callable[[str], Network], test_images: Images
) -> None:
    _bar([known(name) for name in ("resnet20", "resnet4b", "resnet2b", "resnet56")], test_images, gap=20)


def _bar(networks: list[Network], images: Images, gap: float) -> None:
    spectrum = run(networks, images)
    accuracy, agreement = spectrum.right[:, 0].mean(-1), spectrum.agrees[:, 0].mean(-1)
    assert 8 <= tables.saturation(spectrum, 0) <= 18
    assert 100 * (accuracy[1, 3] - accuracy[0, 3]) > gap
    assert 100 * (agreement[1, 3] - agreement[0, 3]) > gap
    [row] = [row for row in tables.differences(spectrum) if row["rank"] == 3][:1]
    assert row["accuracy high"] < 0
    assert row["agreement high"] < 0


MODELS = ("cnn_a_adv", "cnn_a_mix", "resnet2b")


def test_the_command_leaves_tables_and_figures(command: Run, weights: Path, records: Path, tmp_path: Path) -> None:
    models = [
        a for name in MODELS for a in ("--model", f"{name}={KNOWN[name][0]}", "--weights", weights / KNOWN[name][1])
    ]
    job = (*models, "--images", records, "--limit", 30, "--family", "rank,blur,noise", "--twin", "cnn_a_adv=cnn_a_mix")
    ran = command(main, *job, "--out", tmp_path / "a")
    assert (ran.status, ran.err) == (0, "")
    assert "At rank 3, of the gap to resnet2b" in ran.out
    names = ("spectrum.png", "spectrum.pdf", "spectrum.csv", "spectrum.json", "classes.csv", "predictions.csv")
    more = ("differences.csv", "shares.csv", "controls.csv", "controls.png", "controls.pdf")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*names, *more}
    predicted = list(csv.DictReader((tmp_path / "a" / "predictions.csv").open()))
    assert len(predicted) == 3 * 3 * 30
    curves = list(csv.DictReader((tmp_path / "a" / "spectrum.csv").open()))
    assert len(curves) == 3 * 3 * 33
    mine = [row for row in predicted if (row["model"], row["family"]) == ("resnet2b", "rank")]
    [row] = [row for row in curves if (row["model"], row["family"], row["rank"]) == ("resnet2b", "rank", "7")]
    assert float(row["accuracy"]) == pytest.approx(np.mean([r["rank 7"] == r["label"] for r in mine]), abs=1e-6)
    assert float(row["agreement"]) == pytest.approx(np.mean([r["rank 7"] == r["rank 32"] for r in mine]), abs=1e-6)
    assert json.loads((tmp_path / "a" / "spectrum.json").read_text())["count"] == 30
    assert command(main, *job, "--out", tmp_path / "b").status == 0
    for name in (*names, *more):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_without_a_twin_no_cause_is_claimed(command: Run, weights: Path, records: Path, tmp_path: Path) -> None:
    models = [a for name in MODELS[:2] for a in ("--model", KNOWN[name][0], "--weights", weights / KNOWN[name][1])]
    ran = command(main, *models, "--images", records, "--limit", 20, "--out", tmp_path / "o")
    assert "no difference above is evidence of what adversarial" in ran.out
    assert "explains" not in ran.out


def test_an_output_is_taken_and_must_have_full(
    build: Build, refused: Callable[..., str], command: Run, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=3, size=(32, 32))
    (folder / "b").rename(folder / "$\\frac$")  # a class whose name is no formula
    torch.save(ARCHITECTURES["cnn_a"].build(2).state_dict(), tmp_path / "w.pt")
    model = ("--model", "cnn_a", "--weights", tmp_path / "w.pt", "--split", "train", "--out", tmp_path / "o")
    source = ("--dataset", "folder", "--data-dir", folder, "--ranks", 5, "--resize", 32, "--crop", 32)
    assert build(*source, "--components", "low", "--out", tmp_path / "low").status == 0
    assert "has no variant full" in refused(main, *model, "--images", tmp_path / "low")
    assert build(*source, "--components", "full", "--out", tmp_path / "full").status == 0
    for experiment in (main, rig_main):
        ran = command(experiment, *model, "--images", tmp_path / "full")
        assert (ran.status, ran.err) == (0, "")
    assert command(main, *model, "--images", tmp_path / "full", "--as-stored").status == 0
    assert "6 images" in ran.out


def test_networks_that_do_not_go_with_the_images(
    refused: Callable[..., str], records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(ARCHITECTURES["cnn_a"].build(7).state_dict(), tmp_path / "w.pt")
    (tmp_path / "narrow_network.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 10))\n"
        "def maps(): return nn.Conv2d(3, 10, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rest = ("--images", records, "--limit", 2, "--out", tmp_path / "o")
    said = refused(main, "--model", "cnn_a", "--weights", tmp_path / "w.pt", *rest)
    assert said == "w tells 7 classes apart, these images have 10: they do not go together"
    said = refused(main, "--model", "narrow_network:make", *rest)
    assert said.startswith("narrow_network:make cannot take images of 32 x 32 pixels: ")
    assert "gives no logits" in refused(main, "--model", "narrow_network:maps", *rest)


def test_mistakes(refused: Callable[..., str], weights: Path, records: Path, tmp_path: Path) -> None:
    model = ("--model", "one=cnn_a", "--weights", weights / KNOWN["cnn_a_adv"][1])
    other = ("--model", "two=cnn_a", "--weights", weights / KNOWN["cnn_a_mix"][1])
    rest = ("--images", records, "--limit", "4", "--out", tmp_path / "o")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((*model, *rest, "--family", "rank,blurr"), "did you mean 'blur'?"),
        ((*model, *rest, "--family", ""), "'' is not one of rank, lowpass, blur, jpeg, noise"),
        ((*model, *rest, "--reference", ""), "'' is no network's label"),
        ((*model, *rest, "--out", ""), "--out: it is empty"),
        ((*model, *rest, "--at", "40"), "these images have ranks 1 to 31"),
        ((*model, *rest, "--twin", "one=three"), "'three' is no network's label; there are one"),
        ((*model, *rest, "--twin", "one=one"), "not its own twin"),
        ((*model, *other, *rest, "--twin", "one=two"), "give it as --reference"),
        ((*model, *rest, "--reference", "tow"), "'tow' is no network's label"),
        ((*model, *rest, "--limit", "0"), "--limit: '0' is not a whole number from 1"),
        ((*model, *rest, "--crop", "20"), "goes with a --resize"),
        ((*model, *rest, "--resize", "32"), "go with --dataset"),
        ((*model, *rest, "--allow-unverified"), "go with --dataset"),
        ((*model, *rest, "--split", "train"), "--split train: a file of records is no split"),
        ((*model, "--dataset", "cifra10", "--out", tmp_path / "o"), "did you mean 'cifar10'"),
        ((*model, *rest, "--modle", "x"), "did you mean '--model'"),
        (
            (*model, "--dataset", "sample", "--resize", "64", "--crop", "64", "--out", tmp_path / "o"),
            "takes images of 32 x 32",
        ),
    ]
    for arguments, said in cases:
        assert said in refused(main, *arguments), arguments
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["spectrum", "rig"])
def test_help_needs_no_torch(name: str) -> None:
    import subprocess
    import sys

    code = f"import sys; from pipeline.study.{name} import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
