// Eigenvalues and eigenvectors of symmetric positive semidefinite matrices of up to 32 rows, by one-sided Jacobi rotations
// (Hestenes 1958). A warp solves a matrix. Lane j holds column j of X = G V, whose columns become orthogonal, and column j
// of V, which stays orthogonal; both are in registers. For r = 1 to 31 lane j is paired with lane j ^ r, which makes every
// pair once. The longer column of a pair goes to the lower lane, because that needs fewer sweeps (de Rijk 1989).
#define ALL 0xffffffffu
#define SIDE 32
#define SWEEPS 30
#define ROUNDING 2.220446049250313e-16

extern "C" __global__ void __launch_bounds__(64) jacobi(
    const double* __restrict__ gram, double* __restrict__ values, double* __restrict__ vectors, const int n,
    const long long planes)
{
  const int lane = threadIdx.x & 31;
  const long long plane = (long long)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (plane >= planes) return;  // the whole warp
  gram += plane * n * n, vectors += plane * n * n, values += plane * n;
  double x[SIDE], v[SIDE];
  #pragma unroll
  for (int i = 0; i < SIDE; ++i) {
    x[i] = i < n && lane < n ? gram[i * n + lane] : 0.0;
    v[i] = i == lane ? 1.0 : 0.0;
  }
  for (int sweep = 0; sweep < SWEEPS; ++sweep) {
    double mine = 0.0;  // the square of this column's length
    #pragma unroll
    for (int i = 0; i < SIDE; ++i) mine = fma(x[i], x[i], mine);
    double least = mine;
    #pragma unroll
    for (int r = 16; r; r >>= 1) least = fmax(least, __shfl_xor_sync(ALL, least, r));
    least = 0.5 * ROUNDING * sqrt(least);  // rotations that would move X by less are skipped
    bool turned = false;
    #pragma unroll 1
    for (int r = 1; r < SIDE; ++r) {
      double y[SIDE], even = 0.0, odd = 0.0;
      #pragma unroll
      for (int i = 0; i < SIDE; i += 2) {
        y[i] = __shfl_xor_sync(ALL, x[i], r), y[i + 1] = __shfl_xor_sync(ALL, x[i + 1], r);
        even = fma(x[i], y[i], even), odd = fma(x[i + 1], y[i + 1], odd);
      }
      const double product = even + odd, theirs = __shfl_xor_sync(ALL, mine, r);
      const bool low = !(lane & (1 << (31 - __clz(r))));  // the lower lane of the pair
      const double first = low ? mine : theirs, second = low ? theirs : mine;
      double t = 0.0;
      if (fabs(product) > 8 * ROUNDING * sqrt(first * second)) {
        const double z = (second - first) / (2.0 * product);
        t = copysign(1.0, z) / (fabs(z) + sqrt(fma(z, z, 1.0)));
        if (!(fabs(t) * sqrt(fmax(first, second)) > least)) t = 0.0;
      }
      turned |= t != 0.0;
      const double c = 1.0 / sqrt(fma(t, t, 1.0)), s = c * t;
      const double shorter = first - t * product, longer = second + t * product;
      const bool swap = longer > shorter;
      mine = low != swap ? shorter : longer;
      const double a = low ? (swap ? s : c) : (swap ? -s : c), b = low ? (swap ? c : -s) : (swap ? c : s);
      if (!__any_sync(ALL, t != 0.0 || swap)) continue;
      #pragma unroll
      for (int i = 0; i < SIDE; ++i) {
        x[i] = fma(a, x[i], b * y[i]);
        v[i] = fma(a, v[i], b * __shfl_xor_sync(ALL, v[i], r));
      }
    }
    if (!__any_sync(ALL, turned)) break;
  }
  double value = 0.0;
  bool padding = false;
  #pragma unroll
  for (int i = 0; i < SIDE; ++i) {
    value = fma(x[i], v[i], value);
    padding |= i >= n && v[i] != 0.0;  // columns beyond n are zero and are never rotated
  }
  int place = 0;  // ascending
  #pragma unroll
  for (int r = 1; r < SIDE; ++r) {
    const double other = __shfl_xor_sync(ALL, value, r);
    const bool beyond = __shfl_xor_sync(ALL, (int)padding, r);
    place += !beyond && (other < value || (other == value && (lane ^ r) < lane));
  }
  if (padding) return;
  values[place] = value;
  #pragma unroll
  for (int i = 0; i < SIDE; ++i)
    if (i < n) vectors[i * n + place] = v[i];
}
