"""Checks ``RankTruncate`` in torchvision's v2 ``Compose``; ``test_torchvision.py`` runs it with torchvision."""

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from pipeline.transforms import RankTruncate

torch.set_num_threads(1)
pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
picture, planes = Image.fromarray(pixels), torch.from_numpy(pixels.transpose(2, 0, 1).copy())
low = RankTruncate(5)(planes)
to_floats = v2.ToDtype(torch.float32, scale=True)

# After ToImage: the class Image is kept, so that later transforms treat it as an image.
transformed = v2.Compose([v2.ToImage(), RankTruncate(5)])(picture)
assert type(transformed) is tv_tensors.Image
assert torch.equal(transformed.as_subclass(torch.Tensor), low)

# Before it: a PIL image gives a PIL image.
assert torch.equal(v2.Compose([RankTruncate(5), v2.PILToTensor()])(picture), low)

# With a label and boxes, which are returned unchanged.
boxes = tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(40, 36))
image, target, label = v2.Compose([v2.ToImage(), RankTruncate(5), to_floats])(picture, boxes, 7)
torch.testing.assert_close(image.as_subclass(torch.Tensor), low.float() / 255)
assert (type(target), label) == (tv_tensors.BoundingBoxes, 7)

# Of a batch, after random transforms, with a gradient.
batch = torch.rand(4, 3, 40, 36, requires_grad=True)
chain = v2.Compose([v2.RandomHorizontalFlip(1.0), RankTruncate((2, 6), "high"), v2.Normalize([0.0] * 3, [0.5] * 3)])
chain(batch).square().sum().backward()
assert batch.grad is not None
assert batch.grad.abs().sum() > 0

# The rank is drawn by torch's generator, as torchvision's own choices are.
torch.manual_seed(3)
first = chain(batch)
torch.manual_seed(3)
assert torch.equal(chain(batch), first)

# In RandomApply and RandomChoice.
assert torch.equal(v2.RandomApply([RankTruncate(5)], p=1.0)(planes), low)
assert torch.equal(v2.RandomChoice([RankTruncate(5)])(planes), low)
print("all checks passed")
