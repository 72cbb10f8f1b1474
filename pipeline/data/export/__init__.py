"""Writes the images of an output in the layouts of other tools."""

from pipeline.data.export.corruptions import export_cifar_c, export_imagenet_c
from pipeline.data.export.parquet import export_parquet
from pipeline.data.export.plain import export_folder, export_npy
from pipeline.data.export.unfinished import class_folders

__all__ = ["class_folders", "export_cifar_c", "export_folder", "export_imagenet_c", "export_npy", "export_parquet"]
