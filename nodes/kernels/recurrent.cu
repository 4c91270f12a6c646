// One step of a recurrent cell for a batch of streams, in one launch. Gates as PyTorch has them: GRU r, z, n; LSTM i, f, g, o.
//
// Defined by whoever compiles it: INPUTS, HIDDEN, TILE (rows that a warp works on at once) and WARPS (of a block).
//
// A warp computes one unit of TILE rows: its lanes go side by side along the weights, which are read once for all rows,
// and add up what each has found. States lie in a slab of rows, as they do for every stream that there is; `from` and
// `to` say for each row of the batch where its state is and where the next belongs. They must not be the same: other
// blocks still read what this one would write.
//
// x [rows, INPUTS], slab [any, HIDDEN], w_x [gates, HIDDEN, INPUTS], w_h [gates, HIDDEN, HIDDEN], b_x, b_h [gates, HIDDEN],
// y [rows, HIDDEN]: the new h, again. Grid: (ceil(HIDDEN / WARPS), ceil(rows / TILE)), block: 32 * WARPS.

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float sum_of_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

// sums[gate][row] += weights[gate, unit, :] . values[row, :], this lane's share of it
template <int GATES, int LENGTH>
__device__ __forceinline__ void add_products(
    float (&sums)[GATES][TILE], const float* __restrict__ weights, const float* const (&values)[TILE], int unit, int lane
) {
    for (int k = lane; k < LENGTH; k += 32) {
        float value[TILE];
#pragma unroll
        for (int row = 0; row < TILE; ++row) value[row] = values[row][k];
#pragma unroll
        for (int gate = 0; gate < GATES; ++gate) {
            const float weight = weights[(gate * HIDDEN + unit) * LENGTH + k];
#pragma unroll
            for (int row = 0; row < TILE; ++row) sums[gate][row] = fmaf(weight, value[row], sums[gate][row]);
        }
    }
}

template <int GATES>
__device__ __forceinline__ void add_up(float (&sums)[GATES][TILE]) {
#pragma unroll
    for (int gate = 0; gate < GATES; ++gate)
#pragma unroll
        for (int row = 0; row < TILE; ++row) sums[gate][row] = sum_of_warp(sums[gate][row]);
}

// Where inputs and states of TILE rows from `first` on begin, states of VECTORS each. Past the last row it is that one
// again, and nobody writes it.
template <int VECTORS>
__device__ __forceinline__ void find_rows(
    const float* x, const float* slab, const int* from, int first, int rows, const float* (&inputs)[TILE],
    const float* (&states)[TILE]
) {
#pragma unroll
    for (int row = 0; row < TILE; ++row) {
        const int one = min(first + row, rows - 1);
        inputs[row] = x + one * INPUTS;
        states[row] = slab + from[one] * VECTORS * HIDDEN;
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS) gru_step(
    const float* x, float* slab, const int* from, const int* to, const float* w_x, const float* w_h, const float* b_x,
    const float* b_h, float* y, int rows
) {
    const int lane = threadIdx.x % 32, unit = blockIdx.x * WARPS + threadIdx.x / 32, first = blockIdx.y * TILE;
    if (unit >= HIDDEN) return;
    const float *inputs[TILE], *states[TILE];
    find_rows<1>(x, slab, from, first, rows, inputs, states);
    float of_x[3][TILE] = {}, of_h[3][TILE] = {};
    add_products<3, INPUTS>(of_x, w_x, inputs, unit, lane);
    add_products<3, HIDDEN>(of_h, w_h, states, unit, lane);
    add_up(of_x);
    add_up(of_h);
#pragma unroll
    for (int row = 0; row < TILE; ++row) {
        if (lane != row || first + row >= rows) continue;
        const int update = HIDDEN + unit, candidate = 2 * HIDDEN + unit;
        const float r = sigmoid(of_x[0][row] + b_x[unit] + of_h[0][row] + b_h[unit]);
        const float z = sigmoid(of_x[1][row] + b_x[update] + of_h[1][row] + b_h[update]);
        const float n = tanhf(of_x[2][row] + b_x[candidate] + r * (of_h[2][row] + b_h[candidate]));
        const float next = (1.0f - z) * n + z * states[row][unit];
        slab[to[first + row] * HIDDEN + unit] = next;
        y[(first + row) * HIDDEN + unit] = next;
    }
}

// The slab has h and c of each state: [any, 2, HIDDEN].
extern "C" __global__ void __launch_bounds__(32 * WARPS) lstm_step(
    const float* x, float* slab, const int* from, const int* to, const float* w_x, const float* w_h, const float* b_x,
    const float* b_h, float* y, int rows
) {
    const int lane = threadIdx.x % 32, unit = blockIdx.x * WARPS + threadIdx.x / 32, first = blockIdx.y * TILE;
    if (unit >= HIDDEN) return;
    const float *inputs[TILE], *states[TILE];
    find_rows<2>(x, slab, from, first, rows, inputs, states);
    float sums[4][TILE] = {};
    add_products<4, INPUTS>(sums, w_x, inputs, unit, lane);
    add_products<4, HIDDEN>(sums, w_h, states, unit, lane);
    add_up(sums);
#pragma unroll
    for (int row = 0; row < TILE; ++row) {
        if (lane != row || first + row >= rows) continue;
        float gate[4];
#pragma unroll
        for (int g = 0; g < 4; ++g) gate[g] = sums[g][row] + b_x[g * HIDDEN + unit] + b_h[g * HIDDEN + unit];
        const float c = sigmoid(gate[1]) * states[row][HIDDEN + unit] + sigmoid(gate[0]) * tanhf(gate[2]);
        const float h = sigmoid(gate[3]) * tanhf(c);
        float* next = slab + to[first + row] * 2 * HIDDEN;
        next[unit] = h;
        next[HIDDEN + unit] = c;
        y[(first + row) * HIDDEN + unit] = h;
    }
}

// z[row, :] = w . y[row, :] + b: y [rows, HIDDEN], w [outputs, HIDDEN], b [outputs], z [rows, outputs]. A warp computes one
// output of TILE rows. Grid: (ceil(outputs / WARPS), ceil(rows / TILE)), block: 32 * WARPS.
extern "C" __global__ void __launch_bounds__(32 * WARPS) linear(
    const float* y, const float* w, const float* b, float* z, int outputs, int rows
) {
    const int lane = threadIdx.x % 32, unit = blockIdx.x * WARPS + threadIdx.x / 32, first = blockIdx.y * TILE;
    if (unit >= outputs) return;
    const float* values[TILE];
#pragma unroll
    for (int row = 0; row < TILE; ++row) values[row] = y + min(first + row, rows - 1) * HIDDEN;
    float sums[1][TILE] = {};
    add_products<1, HIDDEN>(sums, w, values, unit, lane);
    add_up(sums);
#pragma unroll
    for (int row = 0; row < TILE; ++row)
        if (lane == row && first + row < rows) z[(first + row) * outputs + unit] = sums[0][row] + b[unit];
}

// target[to[row], :] = source[from[row], :], rows of `width` numbers; of what is written nothing is read.
// Grid: (ceil(width / blockDim.x), rows).
extern "C" __global__ void copy_rows(const float* source, const int* from, float* target, const int* to, int width) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (column < width) target[to[row] * width + column] = source[from[row] * width + column];
}
