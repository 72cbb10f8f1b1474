"""Rank spectra equal a direct implementation of Algorithm 1, tables equal a recount; spectra of published networks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from pipeline.study.images import Images
from pipeline.study.networks.cifar import ARCHITECTURES
from pipeline.study.networks.network import Network
from pipeline.study.rig import main as rig_main
from pipeline.study.spectra import tables
from pipeline.study.spectra.spectrum import Plan, Spectrum, run
from pipeline.study.spectra.summary import summary
from pipeline.study.spectrum import main
from tests.unit.study.conftest import PUBLISHED, Run, table, tensor
from tests.unit.study.outputs import build


def algorithm_1(network: Network, images: Images) -> np.ndarray:
    """Returns predictions (ranks, n), computed image by image and rank by rank."""
    predictions = np.zeros((33, len(images)), int)
    for i, image in enumerate(tensor(images)):
        for k in range(33):
            u, s, v = np.linalg.svd(image.numpy().astype(np.float64), full_matrices=False)
            s[:, k:] = 0
            x_k = torch.tensor((u * s[:, None, :]) @ v, dtype=torch.float32)
            predictions[k, i] = int(network(x_k[None])[0].argmax())
    return predictions


def test_predictions_equal_algorithm_1(published: Callable[[str], Network], test_images: Images) -> None:
    images, network = test_images.first(6), published("resnet2b")
    spectrum = run([network, published("cnn_a_adv")], images, Plan.of(images.size, batch=4))
    expected = algorithm_1(network, images)
    np.testing.assert_array_equal(spectrum.predictions[0, 0], expected)
    np.testing.assert_array_equal(spectrum.agrees[0, 0], expected == expected[-1])
    np.testing.assert_array_equal(spectrum.right[0, 0], expected == images.labels)
    assert spectrum.agrees[:, 0, -1].all()


def test_the_batch_does_not_change_the_result(published: Callable[[str], Network], test_images: Images) -> None:
    images = test_images.first(9)
    first, second = (
        run([published("cnn_a_adv")], images, Plan.of(images.size, ("rank", "noise"), batch=size)) for size in (2, 9)
    )
    np.testing.assert_array_equal(first.predictions, second.predictions)
    np.testing.assert_allclose(first.error, second.error, rtol=1e-6)


class Brightness(nn.Module):
    """Predicts the mean brightness of an image, in quarters of white."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x.mean((1, 2, 3))[:, None] * 4 - torch.arange(5)).abs()


def test_networks_get_unclipped_images_unless_as_stored() -> None:
    sharp = np.zeros((1, 8, 8, 3), np.uint8)
    sharp[0, 0, 1:], sharp[0, 1:, 0], sharp[0, 4, 4] = 255, 90, 255  # its rank-k images exceed 0..255
    inputs: list[torch.Tensor] = []

    class Recorder(Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inputs.append(x.clone())
            return super().forward(x)

    images = Images(sharp, np.zeros(1, np.int64), ["a"], ["dark"], "test")
    run([Network(Recorder(), "recorder")], images)
    assert min(float(x.min()) for x in inputs) < -0.01
    inputs.clear()
    run([Network(Recorder(), "recorder")], images, Plan.of(images.size, as_stored=True))
    levels = 255 * torch.cat(inputs)
    assert levels.min() >= 0
    assert levels.max() <= 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def spectrum_of(predictions: np.ndarray, labels: np.ndarray, models: list[str]) -> Spectrum:
    """Returns a spectrum with these predictions (models, ranks, n)."""
    n = len(labels)
    images = Images(np.zeros((n, 1, 1, 3), np.uint8), labels, [f"test-{i}" for i in range(n)], ["a", "b", "c"], "test")
    shape = (1, predictions.shape[1], n)
    error, matched = np.ones(shape, np.float32), np.ones(shape, bool)
    return Spectrum(images, models, ("rank",), tuple(range(shape[1])), predictions[:, None], error, matched)


def test_tables_equal_a_recount() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 200), rng.integers(0, 3, (2, 4, 200)).astype(np.int16)
    spectrum = spectrum_of(predictions, labels, ["one", "two"])
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


def test_shares_are_parts_of_the_gap() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 600)
    skill = np.array([0.3, 0.5, 0.9])  # of the reference, the natural twin, the robust network
    predictions = np.where(rng.random((3, 2, 600)) < skill[:, None, None], labels, (labels + 1) % 3).astype(np.int16)
    spectrum = spectrum_of(predictions, labels, ["reference", "twin", "robust"])
    rows = list(tables.shares(spectrum, [tables.Twin("robust", "twin", "reference")]))
    for row in rows:
        assert row["gap"] == pytest.approx(row["architecture"] + row["adversarial training"])
    first = rows[0]
    assert first["architecture's share low"] < 1 / 3 < first["architecture's share high"]
    assert first["architecture's share"] == pytest.approx(first["architecture"] / first["gap"])


def test_robust_networks_are_far_above_natural_ones_at_low_rank(
    published: Callable[[str], Network], test_images: Images
) -> None:
    _check_gap([published("resnet20"), published("resnet4b")], test_images.first(64), gap=15)


@pytest.mark.full
def test_the_same_on_all_lossless_test_images_with_four_networks(
    published: Callable[[str], Network], test_images: Images
) -> None:
    _check_gap([published(name) for name in ("resnet20", "resnet4b", "resnet2b", "resnet56")], test_images, gap=20)


def _check_gap(networks: list[Network], images: Images, gap: float) -> None:
    spectrum = run(networks, images)
    accuracy, agreement = spectrum.right[:, 0].mean(-1), spectrum.agrees[:, 0].mean(-1)
    assert 8 <= tables.saturation(spectrum, 0) <= 18
    assert 100 * (accuracy[1, 3] - accuracy[0, 3]) > gap
    assert 100 * (agreement[1, 3] - agreement[0, 3]) > gap
    [row] = [row for row in tables.differences(spectrum) if row["rank"] == 3][:1]
    assert row["accuracy high"] < 0
    assert row["agreement high"] < 0


MODELS = ("cnn_a_adv", "cnn_a_mix", "resnet2b")
LIMIT = 10


def test_the_command_writes_tables_and_figures(command: Run, weights: Path, records: Path, tmp_path: Path) -> None:
    models = [
        a
        for name in MODELS
        for a in ("--model", f"{name}={PUBLISHED[name][0]}", "--weights", weights / PUBLISHED[name][1])
    ]
    job = (
        *models,
        "--images",
        records,
        "--limit",
        LIMIT,
        "--family",
        "rank,blur,noise",
        "--twin",
        "cnn_a_adv=cnn_a_mix",
    )
    ran = command(main, *job, "--out", tmp_path / "a")
    assert (ran.status, ran.err) == (0, "")
    assert "Gap to resnet2b at rank 3" in ran.out
    names = ("spectrum.png", "spectrum.pdf", "spectrum.csv", "spectrum.json", "classes.csv", "predictions.csv")
    more = ("spectrum.parts.jsonl", "differences.csv", "shares.csv", "controls.csv", "controls.png", "controls.pdf")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*names, *more}
    predictions = table(tmp_path / "a" / "predictions.csv")
    assert len(predictions) == 3 * 3 * LIMIT
    curves = table(tmp_path / "a" / "spectrum.csv")
    assert len(curves) == 3 * 3 * 33
    own = [row for row in predictions if (row["model"], row["family"]) == ("resnet2b", "rank")]
    [row] = [row for row in curves if (row["model"], row["family"], row["rank"]) == ("resnet2b", "rank", "7")]
    assert float(row["accuracy"]) == pytest.approx(np.mean([r["rank 7"] == r["label"] for r in own]), abs=1e-6)
    assert float(row["agreement"]) == pytest.approx(np.mean([r["rank 7"] == r["rank 32"] for r in own]), abs=1e-6)
    assert json.loads((tmp_path / "a" / "spectrum.json").read_text())["count"] == LIMIT
    assert command(main, *job, "--out", tmp_path / "b").status == 0
    for name in (*names, *more):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_without_a_twin_the_summary_claims_no_cause() -> None:
    labels = np.arange(30) % 3
    text = summary(spectrum_of(np.stack([[labels] * 4, [labels] * 4]), labels, ["natural", "robust"]), [], at=1)
    assert "no evidence" in text
    assert "explains" not in text


def test_outputs_with_full_are_accepted(
    refused: Callable[..., str], command: Run, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=2, size=(32, 32))
    (folder / "b").rename(folder / "$\\frac$")  # a class name that looks like a formula
    torch.save(ARCHITECTURES["cnn_a"].build(2).state_dict(), tmp_path / "w.pt")
    model = ("--model", "cnn_a", "--weights", tmp_path / "w.pt", "--split", "train", "--out", tmp_path / "o")
    source = ("--dataset", "folder", "--data-dir", folder, "--ranks", 5, "--resize", 32, "--crop", 32)
    build(*source, "--components", "low", "--out", tmp_path / "low")
    assert "has no variant full" in refused(main, *model, "--images", tmp_path / "low")
    build(*source, "--components", "full", "--out", tmp_path / "full")
    for experiment in (main, rig_main):
        ran = command(experiment, *model, "--images", tmp_path / "full")
        assert (ran.status, ran.err) == (0, "")
        assert "4 images" in ran.out
    stored = (*model, "--images", tmp_path / "full", "--as-stored")
    assert "other settings: as_stored was false, now it is true" in refused(main, *stored)
    assert command(main, *stored, "--out", tmp_path / "stored").status == 0


def test_networks_that_do_not_fit_the_images(
    refused: Callable[..., str], records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(ARCHITECTURES["cnn_a"].build(7).state_dict(), tmp_path / "w.pt")
    (tmp_path / "narrow_network.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 10))\n"
        "def maps(): return nn.Conv2d(3, 10, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rest = ("--images", records, "--limit", 2, "--out", tmp_path / "o")
    error = refused(main, "--model", "cnn_a", "--weights", tmp_path / "w.pt", *rest)
    assert "7 classes" in error
    assert "10" in error
    error = refused(main, "--model", "narrow_network:make", *rest)
    assert error.startswith("narrow_network:make cannot take images of 32 x 32 pixels: ")
    assert "does not return logits" in refused(main, "--model", "narrow_network:maps", *rest)


def test_mistakes(refused: Callable[..., str], weights: Path, records: Path, tmp_path: Path) -> None:
    model = ("--model", "one=cnn_a", "--weights", weights / PUBLISHED["cnn_a_adv"][1])
    other = ("--model", "two=cnn_a", "--weights", weights / PUBLISHED["cnn_a_mix"][1])
    rest = ("--images", records, "--limit", "4", "--out", tmp_path / "o")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((*model, *rest, "--family", "rank,blurr"), "did you mean 'blur'?"),
        ((*model, *rest, "--family", ""), "'' is not one of rank, lowpass, blur, jpeg, noise"),
        ((*model, *rest, "--reference", ""), "--reference: ''"),
        ((*model, *rest, "--out", ""), "--out"),
        ((*model, *rest, "--at", "40"), "--at 40: the measured ranks are 0, 1, 2, 3, 4, 5, ..., 31"),
        ((*model, *rest, "--twin", "one=three"), "--twin: 'three' is not one of one"),
        ((*model, *rest, "--twin", "one=one"), "not its own twin"),
        ((*model, *other, *rest, "--twin", "one=two"), "give it as --reference"),
        ((*model, *rest, "--reference", "tow"), "--reference: 'tow'"),
        ((*model, *rest, "--limit", "0"), "--limit: '0' is not a whole number from 1"),
        ((*model, *rest, "--crop", "20"), "--resize"),
        ((*model, *rest, "--resize", "32"), "--dataset"),
        ((*model, *rest, "--allow-unverified"), "--dataset"),
        ((*model, *rest, "--split", "train"), "--split train"),
        ((*model, "--dataset", "cifra10", "--out", tmp_path / "o"), "did you mean 'cifar10'"),
        ((*model, *rest, "--modle", "x"), "did you mean '--model'"),
        (
            (*model, "--dataset", "sample", "--resize", "64", "--crop", "64", "--out", tmp_path / "o"),
            "takes images of 32 x 32",
        ),
    ]
    for arguments, part in cases:
        assert part in refused(main, *arguments), arguments
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["spectrum", "rig"])
def test_help_needs_no_torch(name: str) -> None:
    import subprocess
    import sys

    code = f"import sys; from pipeline.study.{name} import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
