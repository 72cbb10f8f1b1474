"""Verifies a finished output from its ``manifest.json`` and the files that it names.

It shares no code with what wrote them: nothing here imports ``pipeline.numerics.svd`` or ``pipeline.formats.png``,
directly or through others. Everything that it reads may be damaged or hostile.
"""
