// The largest eigenvalues and their vectors of symmetric positive semidefinite matrices, in the steps of LAPACK's dsyevr:
// tridiagonal form (`reduce`), its eigenvalues by bisection (`bisect`), their vectors by twisted factorisation (`twist`),
// and the transformation back (`back`). pipeline/numerics/eigen.py has the same for the CPU, and names the source of the
// third step.
//
// ROWS is the number of rows per lane of a warp, n / 32 rounded up. WARPS is the number of warps that share a matrix in
// `reduce`.
#define ALL 0xffffffffu
#define ROUNDING 2.220446049250313e-16
#define TINY 1e-280  // replaces a pivot that is zero; no quotient with it becomes infinite
#define FINEST 1e-4  // accuracy of the smallest eigenvalues, in roundings of the trace
#define COLUMNS 4    // that a warp processes at once

// Returns the sum over the lanes of a warp; every lane gets the same bits.
__device__ double total(double x)
{
  #pragma unroll
  for (int r = 16; r; r >>= 1) x += __shfl_xor_sync(ALL, x, r);
  return x;
}

// Sums four numbers over the lanes of a warp. The eight lanes from 8 q get the sum of x[q].
__device__ double totals(const double* x, const int lane)
{
  const bool upper = lane & 16, odd = lane & 8;
  const double first = (upper ? x[2] : x[0]) + __shfl_xor_sync(ALL, upper ? x[0] : x[2], 16);
  const double second = (upper ? x[3] : x[1]) + __shfl_xor_sync(ALL, upper ? x[1] : x[3], 16);
  double sum = (odd ? second : first) + __shfl_xor_sync(ALL, odd ? first : second, 8);
  #pragma unroll
  for (int r = 4; r; r >>= 1) sum += __shfl_xor_sync(ALL, sum, r);
  return sum;
}

// Returns x of row i, in every lane.
__device__ double row(const double* x, const int i)
{
  double found = x[0];
  #pragma unroll
  for (int r = 1; r < ROWS; ++r) found = i < 32 * r ? found : x[r];
  return __shfl_sync(ALL, found, i & 31);
}

__device__ double divisor(const double pivot) { return fabs(pivot) > TINY ? pivot : TINY; }

#ifdef __CUDA_ARCH__
__device__ double rcp_approx_ftz_f64(const double x)  // 20 bits or more of 1 / x
{
  double found;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(found) : "d"(x));
  return found;
}
#endif

// Returns 1 / x up to a rounding or two, by two Newton steps. This takes half the instructions of a division.
__device__ double reciprocal(const double x)
{
  double found = rcp_approx_ftz_f64(x);
  found = fma(found, fma(-x, found, 1.0), found);
  return fma(found, fma(-x, found, 1.0), found);
}

// Reduces a matrix to tridiagonal form by Householder reflections H_j = I - scale_j u u^T. A block processes a matrix. The
// matrix's lower triangle is in shared memory, by columns. Reflection j changes it by -u w^T - w u^T. That is done in the
// pass that also sums the product of the matrix with the next u, so each element is read and written once per step. On
// return, row j of the matrix holds u, to the right of the diagonal.
extern "C" __global__ void __launch_bounds__(32 * WARPS) reduce(
    double* __restrict__ matrices, double* __restrict__ diagonal, double* __restrict__ beside,
    double* __restrict__ scales, const int n)
{
  extern __shared__ double shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  double* const matrix = matrices + (long long)blockIdx.x * n * n;
  diagonal += (long long)blockIdx.x * n, beside += (long long)blockIdx.x * n, scales += (long long)blockIdx.x * n;
  double* const lower = shared;  // row i of column c at c n - c (c + 1) / 2 + i
  double* const of_v = lower + n * (n + 1) / 2;
  double* const of_w = of_v + n;
  double* const of_u = of_w + n;
  double* const product = of_u + n;  // of the matrix with u
  double* const parts = product + n;  // each warp's part of it
  for (int c = warp; c < n; c += WARPS)
    for (int i = c + lane; i < n; i += 32) lower[c * n - c * (c + 1) / 2 + i] = matrix[c * n + i];
  for (int i = threadIdx.x; i < n; i += 32 * WARPS) product[i] = 0.0;
  __syncthreads();

  double v[ROWS], w[ROWS], u[ROWS], scale = 0.0;  // v is the u of the previous step, which belongs to w
  #pragma unroll
  for (int r = 0; r < ROWS; ++r) u[r] = 0.0;
  for (int j = 0;; ++j) {
    // In every warp: w, column j, and the reflection that leaves one element of it off the diagonal.
    double sum = 0.0;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int i = lane + 32 * r;
      v[r] = u[r];
      w[r] = i < n ? scale * product[i] : 0.0;
      sum = fma(w[r], v[r], sum);
    }
    const double half = 0.5 * scale * total(sum);
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) w[r] = fma(-half, v[r], w[r]);
    const double v_j = row(v, j), w_j = row(w, j);
    double below = 0.0;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int i = lane + 32 * r;
      u[r] = i >= j && i < n ? fma(-w[r], v_j, fma(-v[r], w_j, lower[j * n - j * (j + 1) / 2 + i])) : 0.0;
      if (i > j + 1) below = fma(u[r], u[r], below);
    }
    below = total(below);
    const double here = row(u, j);
    if (threadIdx.x == 0) diagonal[j] = here;
    if (j == n - 1) break;
    const double next = row(u, j + 1);
    const double length = below > 0.0 ? -copysign(sqrt(fma(next, next, below)), next) : next;
    scale = below > 0.0 ? (length - next) / length : 0.0;
    if (threadIdx.x == 0) beside[j] = length, scales[j] = scale;
    const double shrink = below > 0.0 ? 1.0 / (next - length) : 0.0;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int i = lane + 32 * r;
      u[r] = i > j + 1 ? u[r] * shrink : i == j + 1 ? 1.0 : 0.0;
      if (r % WARPS == warp && i < n) {
        of_v[i] = v[r], of_w[i] = w[r], of_u[i] = u[r];
        if (i > j) matrix[j * n + i] = u[r];
      }
    }
    __syncthreads();

    // Each warp processes a part of the remaining columns: the last step's change, and their part of the product with u.
    double mine[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) mine[r] = 0.0;
    for (int c = j + 1 + COLUMNS * warp; c < n; c += COLUMNS * WARPS) {
      double v_c[COLUMNS], w_c[COLUMNS], u_c[COLUMNS], above[COLUMNS];
      #pragma unroll
      for (int q = 0; q < COLUMNS; ++q) {
        const int column = min(c + q, n - 1);
        v_c[q] = of_v[column], w_c[q] = of_w[column], u_c[q] = of_u[column], above[q] = 0.0;
      }
      #pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        if (32 * r + 31 < c) continue;
        const int i = lane + 32 * r;
        #pragma unroll
        for (int q = 0; q < COLUMNS; ++q) {
          const int column = c + q;
          if (i < column || i >= n) continue;
          double* const element = lower + column * n - column * (column + 1) / 2 + i;
          const double x = fma(-w[r], v_c[q], fma(-v[r], w_c[q], *element));
          *element = x;
          mine[r] = fma(x, u_c[q], mine[r]);
          if (i > column) above[q] = fma(x, u[r], above[q]);
        }
      }
      const double sum_of_column = totals(above, lane);
      if (!(lane & 7) && c + (lane >> 3) < n) product[c + (lane >> 3)] = sum_of_column;
    }
    #pragma unroll
    for (int r = 0; r < ROWS; ++r)
      if (lane + 32 * r < n) parts[warp * n + lane + 32 * r] = mine[r];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += 32 * WARPS) {
      double whole = i > j ? product[i] : 0.0;
      #pragma unroll
      for (int one = 0; one < WARPS; ++one) whole += parts[one * n + i];
      product[i] = whole;
    }
    __syncthreads();
  }
}

// Computes all eigenvalues by bisection, the largest first. A block processes a matrix, and a thread an eigenvalue. The
// number of eigenvalues above x is the number of positive pivots of T - x I. The k-th eigenvalue is at most trace / k.
extern "C" __global__ void __launch_bounds__(32 * ROWS) bisect(
    const double* __restrict__ diagonal, const double* __restrict__ beside, double* __restrict__ values, const int n)
{
  __shared__ double of_diagonal[32 * ROWS], squares[32 * ROWS];
  diagonal += (long long)blockIdx.x * n, beside += (long long)blockIdx.x * n;
  const int k = threadIdx.x;
  if (k < n) {
    of_diagonal[k] = diagonal[k];
    squares[k] = k ? beside[k - 1] * beside[k - 1] : 0.0;
  }
  __syncthreads();
  double trace = 0.0;
  for (int i = 0; i < n; ++i) trace += of_diagonal[i];
  const double finest = FINEST * ROUNDING * trace;
  double low = -n * ROUNDING * trace, high = trace / (k + 1) - low;
  while (high - low > fmax(finest, 2.0 * ROUNDING * fabs(high))) {
    const double x = 0.5 * (low + high);
    if (!(x > low && x < high)) break;
    int larger = 0;
    double pivot = 1.0;
    for (int i = 0; i < n; ++i) {
      pivot = divisor(fma(-squares[i], reciprocal(pivot), of_diagonal[i] - x));
      larger += pivot > 0.0;
    }
    if (larger > k) low = x;
    else high = x;
  }
  // Threads halve their intervals independently, so values that are closer than their accuracy may be out of order. Each
  // thread takes the largest of its own value and those after it.
  double value = 0.5 * (low + high);
  __syncthreads();
  squares[k] = value;
  __syncthreads();
  for (int i = k + 1; i < n; ++i) value = fmax(value, squares[i]);
  if (k < n) values[(long long)blockIdx.x * n + k] = value;
}

// Computes the `wanted` leading vectors of each matrix: (n, wanted), as columns, not normalised. A thread computes a vector.
// The pivots from the top are stored where the vectors will be, those from the bottom in `room`, which has the same size.
extern "C" __global__ void __launch_bounds__(128) twist(
    const double* __restrict__ diagonal, const double* __restrict__ beside, const double* __restrict__ values,
    double* __restrict__ vectors, double* __restrict__ room, const int n, const int wanted, const long long planes)
{
  const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, plane = thread / wanted;
  if (plane >= planes) return;
  const int k = (int)(thread % wanted);
  const long long step = wanted;
  diagonal += plane * n, beside += plane * n;
  vectors += plane * n * step + k, room += plane * n * step + k;
  const double value = values[plane * n + k];
  double below = diagonal[n - 1] - value;
  room[(n - 1) * step] = below;
  for (int i = n - 2; i >= 0; --i) {
    below = diagonal[i] - value - beside[i] * beside[i] / divisor(below);
    room[i * step] = below;
  }
  double above = diagonal[0] - value, least = fabs(below);
  int middle = 0;
  vectors[0] = above;
  for (int i = 1; i < n; ++i) {
    const double shifted = diagonal[i] - value;
    above = shifted - beside[i - 1] * beside[i - 1] / divisor(above);
    vectors[i * step] = above;
    const double meeting = fabs(above + room[i * step] - shifted);
    if (meeting < least) least = meeting, middle = i;
  }
  double x = 1.0;
  for (int i = middle - 1; i >= 0; --i) {
    x *= -beside[i] / divisor(vectors[i * step]);
    vectors[i * step] = x;
  }
  vectors[middle * step] = x = 1.0;
  for (int i = middle + 1; i < n; ++i) {
    x *= -beside[i - 1] / divisor(room[i * step]);
    vectors[i * step] = x;
  }
}

// Applies the reflections of `reduce`, the last one first, and normalises. A warp processes four columns.
extern "C" __global__ void __launch_bounds__(256) back(
    const double* __restrict__ reflectors, const double* __restrict__ scales, double* __restrict__ vectors, const int n,
    const int wanted)
{
  const int lane = threadIdx.x & 31, column = (blockIdx.y * 8 + (threadIdx.x >> 5)) * COLUMNS;
  const long long plane = blockIdx.x;
  if (column >= wanted) return;  // the whole warp
  reflectors += plane * n * n, scales += plane * n, vectors += plane * n * wanted + column;
  double z[COLUMNS][ROWS], u[ROWS], sums[COLUMNS];
  #pragma unroll
  for (int r = 0; r < ROWS; ++r)
    #pragma unroll
    for (int q = 0; q < COLUMNS; ++q) {
      const int i = lane + 32 * r;
      z[q][r] = i < n && column + q < wanted ? vectors[i * wanted + q] : 0.0;
    }
  for (int j = n - 3; j >= 0; --j) {
    const double scale = scales[j];
    if (scale == 0.0) continue;
    #pragma unroll
    for (int q = 0; q < COLUMNS; ++q) sums[q] = 0.0;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int i = lane + 32 * r;
      u[r] = i > j && i < n ? reflectors[j * n + i] : 0.0;
      #pragma unroll
      for (int q = 0; q < COLUMNS; ++q) sums[q] = fma(u[r], z[q][r], sums[q]);
    }
    const double sum = scale * totals(sums, lane);
    #pragma unroll
    for (int q = 0; q < COLUMNS; ++q) {
      const double one = __shfl_sync(ALL, sum, 8 * q);
      #pragma unroll
      for (int r = 0; r < ROWS; ++r) z[q][r] = fma(-one, u[r], z[q][r]);
    }
  }
  #pragma unroll
  for (int q = 0; q < COLUMNS; ++q) {
    double square = 0.0;
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) square = fma(z[q][r], z[q][r], square);
    const double shrink = 1.0 / sqrt(total(square));
    #pragma unroll
    for (int r = 0; r < ROWS; ++r)
      if (lane + 32 * r < n && column + q < wanted) vectors[(lane + 32 * r) * wanted + q] = shrink * z[q][r];
  }
}
