"""A training that is stopped anywhere and continued ends like an uninterrupted one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError
from pipeline.study.networks.load import load_network
from pipeline.study.networks.network import Network
from pipeline.study.training import checkpoint
from pipeline.study.training.batches import Augmented, Samples
from pipeline.study.training.curves import Row
from pipeline.study.training.loop import Setting, train
from pipeline.study.training.recipe import RECIPES, descent

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
STEPS = 3


def factory() -> nn.Module:
    """A network with batch norm and dropout, whose states a checkpoint may miss."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    )


def network(seed: int = 5) -> Network:
    torch.manual_seed(seed)
    return Network(factory(), "tiny", MEAN, STD)


def samples(count: int, seed: int) -> Samples:
    """Images of three classes of different brightness."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 100, (count, 8, 8, 3)) + 60 * labels[:, None, None, None]
    return Samples(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))


@pytest.fixture(params=["short", "paper"])
def setting(request: pytest.FixtureRequest) -> Setting:
    recipe = replace(RECIPES[request.param], epochs=4, batch=16)
    return Setting(samples(16 * STEPS + 5, 0), {"full": samples(40, 1)}, recipe, 1, 0)


def no_report(epoch: int, step: int, steps: int, loss: Tensor) -> None:
    assert steps == STEPS


def stop_at(when: tuple[int, int]) -> Callable[[int, int, int, Tensor], None]:
    def report(epoch: int, step: int, steps: int, loss: Tensor) -> None:
        if (epoch, step) == when:
            raise KeyboardInterrupt

    return report


def without_time(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "weights.pt", weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize("when", [(1, 2), (2, 1), (4, 3)])
def test_the_same_weights_after_an_interruption(when: tuple[int, int], setting: Setting, tmp_path: Path) -> None:
    whole = train(network(), 5, setting, tmp_path / "whole", no_report)
    with pytest.raises(KeyboardInterrupt):
        train(network(), 5, setting, tmp_path / "parts", stop_at(when))
    assert not (tmp_path / "parts" / "weights.pt").exists()
    again = network() if when[0] == 1 else network(seed=99)  # a checkpoint replaces the first weights
    rows = train(again, 5, setting, tmp_path / "parts", no_report)
    continued = weights(tmp_path / "parts")
    assert without_time(rows) == without_time(whole)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, continued[name]), name


def test_losses_in_memory_are_those_of_a_plain_loop(setting: Setting, tmp_path: Path) -> None:
    rows = train(network(), 5, setting, tmp_path, no_report)
    plain = network().requires_grad_(True)
    plain.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser, schedule = descent(setting.recipe, plain.module, STEPS)
    assert isinstance(setting.train, Samples)
    for epoch, row in enumerate(rows, 1):
        torch.manual_seed(5 * 1_000_003 + epoch)
        losses = []
        for x, labels in Augmented(setting.train, 1, 0).epoch(16, 5 * 1_000_003 + epoch):
            losses.append(torch.nn.functional.cross_entropy(plain.train()(x), labels))
            optimiser.zero_grad()
            losses[-1].backward()
            optimiser.step()
            schedule.step()
        assert row["loss"] == float(sum(loss.detach() for loss in losses)) / STEPS


def test_stopped_while_the_checkpoint_is_written(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(network(), 5, setting, tmp_path / "whole", no_report)
    save, calls = torch.save, []

    def half(state: object, path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half a file")
            raise KeyboardInterrupt
        save(state, path)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            train(network(), 5, setting, tmp_path / "parts", no_report)
    rows = train(network(), 5, setting, tmp_path / "parts", no_report)
    assert without_time(rows) == without_time(whole)
    assert sorted(path.suffix for path in (tmp_path / "parts").iterdir() if "events" not in path.name) == [
        *(".csv", ".pt", ".pt")
    ]


def test_finished_trainings_are_not_repeated(setting: Setting, tmp_path: Path) -> None:
    rows = train(network(), 5, setting, tmp_path, no_report)
    assert train(network(), 5, setting, tmp_path, stop_at((1, 1))) == rows


def test_it_learns_and_its_weights_load_with_their_normalisation(setting: Setting, tmp_path: Path) -> None:
    longer = replace(setting, recipe=replace(setting.recipe, epochs=12))
    rows = train(network(), 5, longer, tmp_path, no_report)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["full"] > 0.6  # of three classes
    loaded = load_network(f"{__name__}:factory", tmp_path / "weights.pt")
    assert loaded.mean.flatten().tolist() == pytest.approx(MEAN)
    assert loaded.std.flatten().tolist() == pytest.approx(STD)
    tested = setting.tests["full"]
    assert isinstance(tested, Samples)
    x = torch.from_numpy(tested.pixels.numpy().transpose(0, 3, 1, 2) / np.float32(255))
    assert (loaded(x).argmax(1) == tested.labels).double().mean().item() == pytest.approx(rows[-1]["full"])


def test_bfloat16_trains_and_differs_from_float32(setting: Setting, tmp_path: Path) -> None:
    half = replace(setting, precision="bfloat16")
    rows = train(network(), 5, half, tmp_path, no_report)
    assert weights(tmp_path)["0.weight"].dtype == torch.float32
    assert without_time(rows) != without_time(train(network(), 5, setting, tmp_path / "single", no_report))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"padding": 2}, "padding 1, not 2"),
        ({"precision": "bfloat16"}, "precision float32, not bfloat16"),
        ({"train": samples(16 * STEPS + 5, 3)}, "training images [0-9a-f]{12}, not [0-9a-f]{12}"),
    ],
)
def test_another_training_is_not_continued(
    change: dict[str, object], line: str, setting: Setting, tmp_path: Path
) -> None:
    train(network(), 5, setting, tmp_path, no_report)
    with pytest.raises(UsageError, match=f"holds a training with {line}"):
        train(network(), 5, replace(setting, **change), tmp_path, no_report)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed 5, not 6"):
        train(network(), 6, setting, tmp_path, no_report)


def test_hostile_and_damaged_checkpoints_are_refused(setting: Setting, tmp_path: Path) -> None:
    for content in (b"", b"\x80\x02cos\nsystem\n(S'false'\ntR.", b"PK\x03\x04 no archive"):
        (tmp_path / checkpoint.NAME).write_bytes(content)
        with pytest.raises(PipelineError, match="is no checkpoint"):
            train(network(), 5, setting, tmp_path, no_report)


def test_a_loss_of_nan_ends_the_training(setting: Setting, tmp_path: Path) -> None:
    broken = network()
    broken.module[6].weight.data.fill_(float("nan"))  # type: ignore[index]
    with pytest.raises(PipelineError, match="the loss is nan in epoch 1.*--lr"):
        train(broken, 5, setting, tmp_path, no_report)
    assert not (tmp_path / checkpoint.NAME).exists()


def test_tensorboard_shows_each_epoch_once(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(network(), 5, setting, tmp_path, stop_at((3, 2)))
    rows = train(network(), 5, setting, tmp_path, no_report)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name in ("loss", "lr", "train", "full"):
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3, 4]
        assert [scalar.value for scalar in scalars] == pytest.approx([row[name] for row in rows], rel=1e-6)
