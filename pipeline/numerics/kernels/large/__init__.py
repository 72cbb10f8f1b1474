"""Decomposes and cuts planes whose smaller side is above 64 pixels, one plane at a time, with its rows in vectors of eight.

Let A be a plane of grey levels, n its smaller side. The steps, one module each:

1. ``gram``: G = A^T A, or A A^T of a wide plane, exactly.
2. ``tridiagonal``: G = Q T Q^T with a tridiagonal T, by blocked Householder reduction (LAPACK's ``dsytrd``).
3. ``numerics.kernels.eigenvalues``: all eigenvalues of T, by root-free QR (``dsterf``), of up to eight planes in the lanes.
4. ``vectors``: leading eigenvectors of T, by twisted factorisation (the idea of ``dlar1v``), eight eigenvalues in the lanes.
5. ``back_transform``: Q times these vectors (``dormtr``).
6. ``measures``: how far the vectors are from exact.
7. ``project``: A V, or A^T U of a wide plane.
8. ``cut``: A_k = (A V_k) V_k^T of every rank, rounded, with the distance to rounding ties.

``solve`` runs them for a batch, and ``layout`` says how matrices are stored. Each step reads one plane, except the third,
in which no operation mixes lanes. So the bits of a plane do not depend on its neighbours. Nor does a vector depend on how
many are computed, or a cut on the other ranks.

The blocks of each loop fit the registers of AVX2: sixteen, of which two make a vector of eight. Blocks change how much is
computed at once, but never the order of a sum.
"""
