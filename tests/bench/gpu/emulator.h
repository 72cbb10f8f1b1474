// Runs CUDA C++ on the CPU, for the kernels of this project: one block after another, with a fiber for each thread.
// The caller chooses the order of the threads. Each thread runs until it waits for others, so a kernel that lacks a barrier
// gives other results in another order. A launch ends with an error message where the threads of a warp diverge, where a
// thread ends while others wait for it, and where a kernel uses more shared memory than the launch requested.
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define __clz __builtin_clz
using std::min;

namespace cuda {
struct Dim { unsigned x = 1, y = 1, z = 1; };

enum Kind { none, shuffle, vote, barrier };

struct Fiber {
  ucontext_t start;
  jmp_buf at;
  bool begun = false, ended = false;
  long met = 0, met_block = 0;  // how often it has met its warp and its block
  Kind kind[2] = {none, none};  // of the last two meetings of its warp: no thread can be further ahead
  double word[2];
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  static constexpr size_t stack_bytes = 1 << 16;
};

inline Dim thread, block, threads, blocks;
inline std::vector<Fiber> fibers;
inline jmp_buf scheduler;
inline std::string wrong;
inline void (*body)(void*);
inline void* of_body;

[[noreturn]] inline void stop(const char* what) { wrong = what; _longjmp(scheduler, 2); }
inline void yield() { if (!_setjmp(fibers[thread.x].at)) _longjmp(scheduler, 1); }
inline void enter() { body(of_body); fibers[thread.x].ended = true; _longjmp(scheduler, 1); }

// Waits until every thread of the warp has come here. All must be at the same kind of meeting.
inline int meet(Kind kind, double word)
{
  Fiber& mine = fibers[thread.x];
  const unsigned first = thread.x & ~31u;
  const long now = ++mine.met;
  const int which = now & 1;
  mine.kind[which] = kind, mine.word[which] = word;
  for (unsigned other = first; other < first + 32; ++other)
    while (fibers[other].met < now) {
      if (other >= threads.x || fibers[other].ended) stop("a thread waits for one of its warp that has ended");
      yield();
    }
  for (unsigned other = first; other < first + 32; ++other)
    if (fibers[other].kind[which] != kind) stop("threads of a warp wait for each other at different places");
  return which;
}

template <class T> T exchange(T value, unsigned from)
{
  static_assert(sizeof(T) <= sizeof(double));
  double word = 0;
  std::memcpy(&word, &value, sizeof value);
  const int which = meet(shuffle, word);
  std::memcpy(&value, &fibers[(thread.x & ~31u) + (from & 31)].word[which], sizeof value);
  return value;
}

// Runs every block of a launch. ``order``: 0 runs the threads forwards, 1 backwards; other values are seeds.
template <class Run> void launch(Dim grid, Dim size, unsigned order, Run run)
{
  blocks = grid, threads = size;
  body = [](void* of) { (*(Run*)of)(); }, of_body = &run;
  wrong.clear();
  if (fibers.size() != size.x) fibers = std::vector<Fiber>(size.x);
  for (block.y = 0; block.y < grid.y; ++block.y)
    for (block.x = 0; block.x < grid.x; ++block.x) {
      for (Fiber& one : fibers) {
        one.begun = one.ended = false, one.met = one.met_block = 0;
        getcontext(&one.start);
        one.start.uc_stack.ss_sp = one.stack.get(), one.start.uc_stack.ss_size = Fiber::stack_bytes;
        makecontext(&one.start, enter, 0);
      }
      for (bool left = true; left;) {
        left = false;
        if (order > 1) order = order * 1664525u + 1013904223u;
        for (unsigned turn = 0; turn < size.x; ++turn) {
          thread.x = order == 0 ? turn : order == 1 ? size.x - 1 - turn : (11 * turn + (order >> 8)) % size.x;
          Fiber& one = fibers[thread.x];
          if (one.ended) continue;
          left = true;
          const int came = _setjmp(scheduler);
          if (came == 2) return;
          if (came == 1) continue;
          if (std::exchange(one.begun, true)) _longjmp(one.at, 1);
          setcontext(&one.start);
        }
      }
    }
}
}  // namespace cuda

#define threadIdx cuda::thread
#define blockIdx cuda::block
#define blockDim cuda::threads
#define gridDim cuda::blocks

inline double rcp_approx_ftz_f64(double x)  // the PTX instruction with the least accuracy that it guarantees: 20 bits
{
  int exponent;
  const double fraction = std::frexp(1.0 / x, &exponent);
  return std::ldexp(std::trunc(std::ldexp(fraction, 20)), exponent - 20);
}

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return cuda::exchange(value, cuda::thread.x ^ mask); }
template <class T> T __shfl_sync(unsigned, T value, int lane) { return cuda::exchange(value, lane); }

inline bool __any_sync(unsigned, bool mine)
{
  const int which = cuda::meet(cuda::vote, mine);
  bool any = false;
  for (unsigned lane = 0; lane < 32; ++lane) any |= cuda::fibers[(cuda::thread.x & ~31u) + lane].word[which] != 0;
  return any;
}

inline void __syncthreads()
{
  cuda::meet(cuda::barrier, 0);  // all threads of a warp must come here
  const long now = ++cuda::fibers[cuda::thread.x].met_block;
  for (unsigned other = 0; other < cuda::threads.x; ++other)
    while (cuda::fibers[other].met_block < now) {
      if (cuda::fibers[other].ended) cuda::stop("a thread waits for one of its block that has ended");
      cuda::yield();
    }
}
