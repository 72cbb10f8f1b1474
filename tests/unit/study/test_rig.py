"""RIG equals a direct implementation of equation 3; its command, its errors, and its cost."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.study.attribution.maps import Method
from pipeline.study.attribution.stages import stages
from pipeline.study.images import Images
from pipeline.study.networks.load import load_network
from pipeline.study.networks.network import Network
from pipeline.study.rig import main, rig, vanilla
from tests.unit.study.conftest import PUBLISHED, Run, table, tensor

COMBINATIONS = [(reduce, output) for reduce in ("max", "absmax") for output in ("softmax", "logit")]


def direct(model: Callable[[Tensor], Tensor], image: Tensor, reduce: str, output: str) -> np.ndarray:
    """Returns equation 3 for one image (3, h, w), as written in the paper."""
    i, w, total = int(model(image[None])[0].argmax()), min(image.shape[1:]), np.zeros(image.shape[1:])
    for k in range(1, w + 1):
        u, s, v = np.linalg.svd(image.numpy().astype(np.float64), full_matrices=False)
        s[:, k:] = 0
        x_k = torch.tensor((u * s[:, None, :]) @ v, dtype=image.dtype)[None].requires_grad_()
        f = model(x_k)[0]
        (f.softmax(0) if output == "softmax" else f)[i].backward()
        gradient = x_k.grad.numpy()[0]  # type: ignore[union-attr]
        total += (w - k) / w * (gradient if reduce == "max" else abs(gradient)).max(0)
    return total


@pytest.mark.parametrize(("reduce", "output"), COMBINATIONS)
def test_rig_is_equation_3(reduce: str, output: str, published: Callable[[str], Network], test_images: Images) -> None:
    network = published("resnet4b").double()
    x = tensor(test_images.first(2)).double()
    maps = rig(network, x, reduce=reduce, output=output, internal_batch_size=50)
    assert maps.shape == (2, 32, 32)
    for image, actual in zip(x, maps.numpy(), strict=True):
        np.testing.assert_allclose(actual, direct(network, image, reduce, output), rtol=1e-8, atol=1e-10)


def test_the_four_combinations_of_options_give_different_maps(
    published: Callable[[str], Network], test_images: Images
) -> None:
    x = tensor(test_images.first(1))
    maps = [rig(published("resnet4b"), x, reduce=r, output=o).numpy().ravel() for r, o in COMBINATIONS]
    correlations = np.corrcoef(maps)
    assert correlations[np.triu_indices(4, 1)].max() < 0.999
    assert (maps[2] >= 0).all()
    assert (maps[0] < 0).any()  # the largest signed gradient, not the largest absolute one


def test_non_square_images_and_batches_of_any_size() -> None:
    torch.manual_seed(0)
    model = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
        .double()
        .eval()
    )
    x = torch.rand(3, 3, 9, 14, dtype=torch.float64)
    whole = rig(model, x)
    for size in (1, 2, 7, 500):
        torch.testing.assert_close(rig(model, x, internal_batch_size=size), whole)
    np.testing.assert_allclose(whole[1].numpy(), direct(model, x[1], "max", "softmax"), atol=1e-10)


def test_the_target_can_be_one_class_or_one_per_image(published: Callable[[str], Network], test_images: Images) -> None:
    network, x = published("cnn_a_adv"), tensor(test_images.first(2))
    top = network(x).argmax(1)
    torch.testing.assert_close(rig(network, x), rig(network, x, target=top))
    both = rig(network, x, target=torch.tensor([1, 7]))
    torch.testing.assert_close(both[0], rig(network, x, target=1)[0])
    torch.testing.assert_close(both[1], rig(network, x, target=7)[1])
    assert not torch.allclose(both, rig(network, x))


def test_vanilla_is_the_plain_gradient(published: Callable[[str], Network], test_images: Images) -> None:
    network, x = published("resnet2b"), tensor(test_images.first(2)).requires_grad_()
    [gradient] = torch.autograd.grad(network(x)[:, 4].sum(), x)
    torch.testing.assert_close(vanilla(network, x, target=4, output="logit"), gradient.amax(1))
    torch.testing.assert_close(vanilla(network, x, target=4, reduce="absmax", output="logit"), gradient.abs().amax(1))


@pytest.mark.parametrize("maps", [rig, vanilla])
def test_float32_gradients_of_nearly_certain_predictions_are_accurate(
    maps: Callable[..., Tensor], published: Callable[[str], Network], test_images: Images
) -> None:
    x, exact = tensor(test_images.first(30)), published("resnet20").double()
    with torch.no_grad():
        certain = exact(x.double()).softmax(1).amax(1) > 1 - 1e-7
    assert certain.sum() > 5
    x = x[certain][:4]
    expected = maps(exact, x.double())
    error = (maps(published("resnet20"), x) - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert error.max() < 0.01  # 1e-6, or 2e-3 if rounding switches a ReLU; 1 if p is subtracted from 1


def test_wrong_arguments() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    x = torch.rand(1, 3, 4, 4)
    cases: list[tuple[dict[str, object], str]] = [
        ({"x": (255 * x).round()}, "give images in"),
        ({"x": x - 1}, "give images in"),
        ({"x": (255 * x).to(torch.uint8)}, "torch.uint8"),
        ({"x": x[0]}, "give float images"),
        ({"reduce": "abs-max"}, "did you mean 'absmax'"),
        ({"output": "prob"}, "softmax, logit"),
        ({"model": nn.Linear(1, 1)}, "training mode"),
    ]
    for wrong, part in cases:
        with pytest.raises(UsageError, match=part):
            rig(**({"model": model, "x": x} | wrong))  # type: ignore[arg-type]


def test_one_image_costs_no_more_than_three_times_32_plain_gradients(
    published: Callable[[str], Network], test_images: Images
) -> None:
    network, x = published("resnet20"), tensor(test_images.first(1))

    def plain() -> None:
        for _ in range(32):
            vanilla(network, x, target=3)

    ours, theirs = _fastest(lambda: rig(network, x, target=3)), _fastest(plain)
    assert ours < 1
    assert ours < 3 * theirs


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the best of five: other processes only make it slower."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_the_command_writes_maps_table_and_figure(command: Run, weights: Path, records: Path, tmp_path: Path) -> None:
    models = [
        a
        for name in ("cnn_a_adv", "resnet2b")
        for a in ("--model", PUBLISHED[name][0], "--weights", weights / PUBLISHED[name][1])
    ]
    ran = command(main, *models, "--images", records, "--keys", "test-00000003,test-00000001", "--out", tmp_path / "o")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("correlation of RIG with plain gradients") == 2
    files = {path.name for path in (tmp_path / "o").iterdir()}
    assert files == {
        "rig.png",
        "rig.pdf",
        "rig.csv",
        "rig.json",
        "rig.parts.jsonl",
        "maps-cifar_cnn_a_adv.npz",
        "maps-resnet2b.npz",
    }
    rows = table(tmp_path / "o" / "rig.csv")
    assert [(row["model"], row["key"], row["label"]) for row in rows[:2]] == [
        ("cifar_cnn_a_adv", "test-00000003", "airplane"),
        ("cifar_cnn_a_adv", "test-00000001", "ship"),
    ]
    with np.load(tmp_path / "o" / "maps-resnet2b.npz") as maps:
        assert maps["rig"].shape == maps["vanilla"].shape == (2, 32, 32)
        assert float(rows[2]["rig sum"]) == pytest.approx(maps["rig"][0].sum(), abs=1e-4)
    settings = json.loads((tmp_path / "o" / "rig.json").read_text())
    assert settings["options"]["reduce"] == "max"
    assert str(tmp_path / "o") not in json.dumps(settings)


def test_stopped_it_continues_with_the_same_maps(
    command: Run, refused: Callable[..., str], weights: Path, records: Path, tmp_path: Path
) -> None:
    model = ("--model", "cnn_a", "--weights", weights / PUBLISHED["cnn_a_adv"][1], "--images", records, "--limit", 3)
    assert command(main, *model, "--out", tmp_path / "a", "--stages").status == 0
    assert (tmp_path / "a" / "stages.png").stat().st_size > 10_000
    parts = (tmp_path / "a" / "rig.parts.jsonl").read_bytes()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "rig.parts.jsonl").write_bytes(parts[: parts.index(b"\n", parts.index(b"\n") + 1) + 40])
    ran = command(main, *model, "--out", tmp_path / "b", "--stages")
    assert (ran.status, ran.err) == (0, "continuing: 1 of 3 maps are done\n")
    for name in ("rig.csv", "maps-cifar_cnn_a_adv.npz", "rig.png", "rig.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert 'output was "softmax", now it is "logit"' in refused(
        main, *model, "--out", tmp_path / "a", "--output", "logit"
    )
    ran = command(main, *model, "--out", tmp_path / "c", "--dry-run")
    assert "3 images, 1 networks, 96 gradients: about " in ran.out
    assert not (tmp_path / "c").exists()


def test_integrated_gradients_are_captums(
    command: Run, weights: Path, records: Path, test_images: Images, tmp_path: Path
) -> None:
    captum = pytest.importorskip("captum.attr")
    path = weights / PUBLISHED["resnet2b"][1]
    model = ("--model", "resnet2b", "--weights", path, "--images", records, "--limit", 2, "--out", tmp_path)
    assert command(main, *model, "--integrated-gradients", 20).status == 0
    network, x = load_network("resnet2b", path), tensor(test_images.first(2))
    target = network(x).argmax(1)
    expected = captum.IntegratedGradients(lambda y: network(y).softmax(1)).attribute(x, target=target, n_steps=20)
    with np.load(tmp_path / "maps-resnet2b.npz") as maps:
        np.testing.assert_allclose(maps["integrated"], expected.amax(1).numpy(), atol=1e-5)
    assert all(-1 <= float(row["correlation with integrated"]) <= 1 for row in table(tmp_path / "rig.csv"))


def test_the_last_stage_is_rig(published: Callable[[str], Network], test_images: Images) -> None:
    network, images = published("resnet2b"), test_images.first(1)
    shown = stages(network, images, Method("max", "softmax", 8))
    assert shown.ranks.tolist() == [3, 5, 8, 12, 19, 31]
    assert shown.target == int(network(tensor(images)).argmax(1))
    np.testing.assert_allclose(shown.sums[-1], rig(network, tensor(images))[0].numpy(), atol=1e-6)
    assert np.abs(shown.cuts[-1] - images.pixels[0] / 255).max() < 0.05


class Steps(nn.Module):
    """A network whose gradients are zero everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x.round().flatten(1)[:, :10]


def test_constant_maps_have_no_correlation_and_no_warning(command: Run, records: Path, tmp_path: Path) -> None:
    model = ("--model", f"{__name__}:Steps")
    ran = command(main, *model, "--images", records, "--limit", 2, "--out", tmp_path)
    assert "2 images" in ran.out
    assert "none, 2 constant maps excluded" in ran.out
    assert (ran.status, ran.err) == (0, "")
    assert [row["correlation"] for row in table(tmp_path / "rig.csv")] == ["", ""]


def test_mistakes_of_the_command(
    refused: Callable[..., str], weights: Path, onnx: Path, records: Path, tmp_path: Path
) -> None:
    model = ("--model", "resnet2b", "--weights", weights / "robust" / "resnet2b.pth")
    rest = ("--images", records, "--out", tmp_path / "o")
    assert "RIG needs gradients" in refused(main, "--model", onnx, *rest)
    assert "no image 'test-9'; the first is test-00000000" in refused(main, *model, *rest, "--keys", "test-9")
    assert refused(main, *model, *rest, "--out", "").startswith("--out")
    assert "there is no image ''" in refused(main, *model, *rest, "--keys", "")
    assert "give one of the two" in refused(main, *model, *rest, "--keys", "test-00000000", "--limit", "3")
    assert "did you mean 'softmax'" in refused(main, *model, *rest, "--output", "softmux")
    assert "at least one --model" in refused(main, *rest)
    assert "two networks are called 'resnet2b'" in refused(main, *model, *model, *rest)
    first, second = (("--model", f"{label}=resnet2b", *model[2:]) for label in ("eps 4", "eps+4"))
    assert "maps-eps_4.npz" in refused(main, *first, *second, *rest)
    assert "give either --images" in refused(main, *model, "--out", tmp_path / "o")
    assert "belongs to the --model before it" in refused(main, "--weights", "x", *rest)
    assert "three numbers" in refused(main, *model, "--mean", "1,2", *rest)
    (tmp_path / "file").write_text("")
    assert "file" in refused(main, *model, "--images", records, "--out", tmp_path / "file", status=1)
    assert not (tmp_path / "o").exists()
