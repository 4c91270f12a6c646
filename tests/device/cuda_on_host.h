// Runs a CUDA kernel on the host, for tests where there is no GPU: each thread of a block is a fiber, blocks come one
// after the other. What waits for others (a barrier, a shuffle) hands over to them. Threads of a block that have
// returned take no part in what comes later, as on a GPU. It knows nothing of memory spaces, races or speed.
#include <cmath>
#include <cstdlib>
#include <algorithm>
#include <functional>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

using std::max;
using std::min;

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
constexpr unsigned STACK = 64 * 1024;
struct Fiber { ucontext_t context; void* stack = std::malloc(STACK); dim3 index; bool is_over; };
static std::vector<Fiber> fibers;  // with their stacks: for the next block too
static std::vector<float> of_lane;
static ucontext_t scheduler;
static std::function<void()> kernel;
static unsigned current, arrived, round_number, alive;

inline void run_one() { kernel(); fibers[current].is_over = true; --alive; }
inline void hand_over() { swapcontext(&fibers[current].context, &scheduler); }

struct Barrier {  // of `count` threads, all of which come to it
    unsigned arrived = 0, round = 0;
    void wait(unsigned count) {
        const unsigned mine = round;
        if (++arrived == count) { arrived = 0; ++round; return; }
        while (round == mine) hand_over();
    }
};
static Barrier of_block;
static std::vector<Barrier> of_warp;

inline void launch(dim3 grid, dim3 block, const std::function<void()>& body) {
    kernel = body; gridDim = grid; blockDim = block;
    const unsigned count = block.x * block.y * block.z;
    for (unsigned by = 0; by < grid.y; ++by) for (unsigned bx = 0; bx < grid.x; ++bx) {
        if (fibers.size() < count) fibers.resize(count);
        of_lane.assign(count, NAN);
        of_block = Barrier();
        of_warp = std::vector<Barrier>((count + 31) / 32);
        alive = count;
        for (unsigned i = 0; i < count; ++i) {
            Fiber& fiber = fibers[i];
            fiber.is_over = false;
            fiber.index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack;
            fiber.context.uc_stack.ss_size = STACK;
            fiber.context.uc_link = &scheduler;
            makecontext(&fiber.context, (void (*)())run_one, 0);
        }
        while (alive) for (current = 0; current < count; ++current) {
            if (fibers[current].is_over) continue;
            threadIdx = fibers[current].index; blockIdx = {bx, by, 0};
            swapcontext(&scheduler, &fibers[current].context);
        }
    }
}
}  // namespace emulation

// What a fiber reads of these after others ran must be its own again.
inline void emulated_wait(emulation::Barrier& barrier, unsigned count) {
    const dim3 thread = threadIdx; const dim3 block = blockIdx;
    barrier.wait(count);
    threadIdx = thread; blockIdx = block;
}
inline void __syncthreads() { emulated_wait(emulation::of_block, blockDim.x * blockDim.y * blockDim.z); }
inline float __shfl_xor_sync(unsigned, float value, int lanes) {
    const unsigned me = emulation::current, warp = me / 32;
    emulation::of_lane[me] = value;
    emulated_wait(emulation::of_warp[warp], 32);
    const float other = emulation::of_lane[warp * 32 + ((me % 32) ^ lanes)];
    emulated_wait(emulation::of_warp[warp], 32);
    return other;
}
