"""The old import path of ``small_cnn``, which commands and checkpoints name: ``pipeline.study.small:small_cnn``."""

from pipeline.study.networks.small import small_cnn as small_cnn
