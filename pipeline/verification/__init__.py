"""Verifies a finished output from its ``manifest.json`` and the files that it names.

The SVD, the cuts, the rounding, and the readers of PNG, tar and Zarr files are its own: nothing here imports
``pipeline.numerics.svd`` or ``pipeline.formats.png``, directly or through others. It shares with the build what decodes the
originals (``sources``), what resizes them (``Geometry``) and what makes the clients' files (``formats.clients``), so it does
not detect an error in these. Everything that it reads may be damaged or hostile.
"""
