"""The Triton kernels of the cuda backend: every sum is done by one program in a fixed order, without atomics.

Rows of pixels and of vertices are S floats long, S a multiple of 4 that holds K labels; programs work on KP >= S
columns, KP a power of two. Rows are numbered in 32 bits, addresses are computed in 64.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Adding and taking away 1.5 * 2^23 leaves the nearest whole number, ties to even, as rintf does below 2^22.
ROUND = tl.constexpr(12582912.0)


@triton.jit(do_not_specialize=["N", "W", "first", "picture"])
def embed(
    features, x_table, y_table, colour_table, image, scales, steps, start_keys, keys, weights,
    N, W, first, picture, down,
    D: tl.constexpr, P: tl.constexpr, GIVEN: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Write the keys and barycentric weights of the D + 1 vertices around each pixel of one picture.

    Which vertices exist is decided by how float32 rounds: to be launched with enable_fp_fusion=False.
    """
    p = tl.program_id(0) * B + tl.arange(0, B)
    inside = p < N
    axis = tl.arange(0, P)[None, :]
    elevated = tl.zeros((B, P), tl.float32)
    total = tl.zeros((B,), tl.float32)
    for f in tl.static_range(D - 1, -1, -1):
        if GIVEN:
            value = tl.load(features + f * N.to(tl.int64) + p, mask=inside, other=0.0)
        elif f == 0:
            value = tl.load(x_table + p % W, mask=inside, other=0.0)
        elif f == 1:
            value = tl.load(y_table + p // W, mask=inside, other=0.0)
        else:
            colour = tl.load(image + p.to(tl.int64) * 3 + (f - 2), mask=inside, other=0).to(tl.int32)
            value = tl.load(colour_table + colour)
        scaled = value * tl.load(scales + f)
        elevated = tl.where(axis == f + 1, (total - scaled * (f + 1.0))[:, None], elevated)
        total = total + scaled
    elevated = tl.where(axis == 0, total[:, None], elevated)
    multiple = (elevated * down + ROUND) - ROUND
    remainder = multiple * (D + 1.0)
    offset = elevated - remainder
    rank = tl.zeros((B, P), tl.int32) + tl.sum(multiple.to(tl.int32), axis=1)[:, None]
    for j in tl.static_range(D + 1):
        other = tl.sum(tl.where(axis == j, offset, 0.0), axis=1)[:, None]
        ahead = ((axis < j) & (other > offset)) | ((axis > j) & (other >= offset))
        rank += ahead.to(tl.int32)
    turn = (rank < 0).to(tl.int32) - (rank > D).to(tl.int32)
    rank = tl.where(axis <= D, rank + turn * (D + 1), -1)
    offset = (elevated - (remainder + (turn * (D + 1)).to(tl.float32))) * down
    step = tl.load(steps + axis, mask=axis <= D, other=0)
    counted = tl.where(axis <= D, multiple.to(tl.int32) + turn, 0).to(tl.int64)
    key = tl.load(start_keys + picture) + tl.sum(counted * step, axis=1)
    at = (first.to(tl.int64) + p) * (D + 1)
    last = tl.sum(tl.where(rank == D, offset, 0.0), axis=1)
    tl.store(keys + at, key, mask=inside)
    tl.store(weights + at, last + (1.0 - tl.sum(tl.where(rank == 0, offset, 0.0), axis=1)), mask=inside)
    for t in tl.static_range(1, D + 1):
        key -= tl.sum(tl.where(rank == D - t + 1, step, 0), axis=1)
        here = tl.sum(tl.where(rank == D - t, offset, 0.0), axis=1)
        tl.store(keys + at + t, key, mask=inside)
        tl.store(weights + at + t, here - last, mask=inside)
        last = here


@triton.jit(do_not_specialize=["count", "real"])
def list_taps(
    order, vertex, weights, slice_row, splat_pixel, splat_weight, count, real, TAPS: tl.constexpr, B: tl.constexpr
):
    """From the taps in the order of their keys: the vertices of each pixel, and the pixels of each vertex.

    Taps from `real` on belong to pydensecrf's padding: their vertices exist, and they add nothing.
    """
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    inside = i < count
    tap = tl.load(order + i, mask=inside, other=0)
    used = inside & (tap < real)
    tl.store(slice_row + tap, tl.load(vertex + i, mask=inside, other=1) - 1, mask=used)
    tl.store(splat_pixel + i, tl.where(used, tap // TAPS, 0).to(tl.int32), mask=inside)
    tl.store(splat_weight + i, tl.load(weights + tap, mask=used, other=0.0), mask=inside)


@triton.jit(do_not_specialize=["M", "rounds"])
def link(vertices, steps, following, previous, M, rounds, B: tl.constexpr):
    """Find the next vertex along each blur axis (program axis 1) by bisection, and tell it its predecessor."""
    axis = tl.program_id(1)
    i = tl.program_id(0) * B + tl.arange(0, B)
    inside = i < M
    wanted = tl.load(vertices + i, mask=inside, other=0) + tl.load(steps + axis)
    low = tl.zeros((B,), tl.int32)
    high = tl.zeros((B,), tl.int32) + M
    for _ in range(rounds):
        middle = (low + high) // 2
        searching = low < high
        less = searching & (tl.load(vertices + middle, mask=searching & inside, other=0) < wanted)
        high = tl.where(searching & (~less), middle, high)
        low = tl.where(less, middle + 1, low)
    found = inside & (low < M)
    found = found & (tl.load(vertices + low, mask=found, other=-1) == wanted)
    begin = axis.to(tl.int64) * M
    tl.store(following + begin + i, tl.where(found, low, -1), mask=inside)
    tl.store(previous + begin + low, i, mask=found)


@triton.jit(do_not_specialize=["count"])
def add_up(
    values, index, weight, begin, end, target, out, count,
    LISTED: tl.constexpr, TARGETS: tl.constexpr, S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """out[target[v]] = the sum of weight[t] * values[index[t]] over begin[v] <= t < end[v], in the order of t.

    Not LISTED: of values[t]. Without TARGETS the row v itself.
    """
    v = tl.program_id(0) * B + tl.arange(0, B)
    inside = v < count
    column = tl.arange(0, KP)[None, :]
    fits = column < S
    t = tl.load(begin + v, mask=inside, other=0)
    stop = tl.load(end + v, mask=inside, other=0)
    longest = tl.max(stop - t, axis=0)
    total = tl.zeros((B, KP), tl.float32)
    done = 0
    while done < longest:
        # Four at a time: their rows are on the way together.
        a, b, c, d = t < stop, t + 1 < stop, t + 2 < stop, t + 3 < stop
        if LISTED:
            row_a = tl.load(index + t, mask=a, other=0)
            row_b = tl.load(index + t + 1, mask=b, other=0)
            row_c = tl.load(index + t + 2, mask=c, other=0)
            row_d = tl.load(index + t + 3, mask=d, other=0)
            weight_a = tl.load(weight + t, mask=a, other=0.0)
            weight_b = tl.load(weight + t + 1, mask=b, other=0.0)
            weight_c = tl.load(weight + t + 2, mask=c, other=0.0)
            weight_d = tl.load(weight + t + 3, mask=d, other=0.0)
        else:
            row_a, row_b, row_c, row_d = t, t + 1, t + 2, t + 3
        value_a = tl.load(values + row_a.to(tl.int64)[:, None] * S + column, mask=a[:, None] & fits, other=0.0)
        value_b = tl.load(values + row_b.to(tl.int64)[:, None] * S + column, mask=b[:, None] & fits, other=0.0)
        value_c = tl.load(values + row_c.to(tl.int64)[:, None] * S + column, mask=c[:, None] & fits, other=0.0)
        value_d = tl.load(values + row_d.to(tl.int64)[:, None] * S + column, mask=d[:, None] & fits, other=0.0)
        if LISTED:
            total += weight_a[:, None] * value_a
            total += weight_b[:, None] * value_b
            total += weight_c[:, None] * value_c
            total += weight_d[:, None] * value_d
        else:
            total += value_a
            total += value_b
            total += value_c
            total += value_d
        t += 4
        done += 4
    row = tl.load(target + v, mask=inside, other=0) if TARGETS else v
    tl.store(out + row.to(tl.int64)[:, None] * S + column, total, mask=inside[:, None] & fits)


@triton.jit(do_not_specialize=["M"])
def blur(values, out, previous, following, M, S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr):
    """Half of each neighbour along one axis is added; a missing one is 0."""
    v = tl.program_id(0) * B + tl.arange(0, B)
    inside = v < M
    column = tl.arange(0, KP)[None, :]
    fits = column < S
    before = tl.load(previous + v, mask=inside, other=-1)
    after = tl.load(following + v, mask=inside, other=-1)
    at = v.to(tl.int64)[:, None] * S + column
    middle = tl.load(values + at, mask=inside[:, None] & fits, other=0.0)
    left = tl.load(values + before.to(tl.int64)[:, None] * S + column, mask=(before >= 0)[:, None] & fits, other=0.0)
    right = tl.load(values + after.to(tl.int64)[:, None] * S + column, mask=(after >= 0)[:, None] & fits, other=0.0)
    tl.store(out + at, middle + 0.5 * (left + right), mask=inside[:, None] & fits)


@triton.jit(do_not_specialize=["N", "K"])
def receive(
    rows_a, row_a, weight_a, factor_a, rows_b, row_b, weight_b, factor_b, messages, unary, Q, change, N, K,
    TAPS_A: tl.constexpr, TAPS_B: tl.constexpr, PRIOR: tl.constexpr, FINISH: tl.constexpr, CHANGE: tl.constexpr,
    S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Slice one or two lattices (TAPS 0: none) on top of the PRIOR messages.

    FINISH: to new marginals, else to messages.

    CHANGE: note the largest change of a marginal in each program's pixels.
    """
    p = tl.program_id(0) * B + tl.arange(0, B)
    inside = p < N
    column = tl.arange(0, KP)[None, :]
    fits = column < S
    both = inside[:, None] & fits
    at = p.to(tl.int64)[:, None] * S + column
    sent = tl.zeros((B, KP), tl.float32)
    if PRIOR:
        sent = tl.load(messages + at, mask=both, other=0.0)
    for t in tl.static_range(TAPS_A):
        row = tl.load(row_a + p.to(tl.int64) * TAPS_A + t, mask=inside, other=0).to(tl.int64)
        weight = tl.load(weight_a + p.to(tl.int64) * TAPS_A + t, mask=inside, other=0.0) * factor_a
        sent += weight[:, None] * tl.load(rows_a + row[:, None] * S + column, mask=both, other=0.0)
    for t in tl.static_range(TAPS_B):
        row = tl.load(row_b + p.to(tl.int64) * TAPS_B + t, mask=inside, other=0).to(tl.int64)
        weight = tl.load(weight_b + p.to(tl.int64) * TAPS_B + t, mask=inside, other=0.0) * factor_b
        sent += weight[:, None] * tl.load(rows_b + row[:, None] * S + column, mask=both, other=0.0)
    if FINISH:
        score = tl.where(column < K, sent - tl.load(unary + at, mask=both, other=0.0), float("-inf"))
        mass = tl.exp(score - tl.max(score, axis=1)[:, None])
        new = mass / tl.sum(mass, axis=1)[:, None]
        if CHANGE:
            old = tl.load(Q + at, mask=both, other=0.0)
            moved = tl.where(both, tl.abs(new - old), 0.0)
            tl.store(change + tl.program_id(0), tl.max(tl.max(moved, axis=1), axis=0))
        tl.store(Q + at, new, mask=both)
    else:
        tl.store(messages + at, sent, mask=both)


@triton.jit(do_not_specialize=["N", "K"])
def mix(messages, penalties, out, N, K, S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr):
    """out = -messages @ penalties, (N, S) times (K, S)."""
    p = tl.program_id(0) * B + tl.arange(0, B)
    inside = p < N
    column = tl.arange(0, KP)[None, :]
    fits = column < S
    begin = p.to(tl.int64) * S
    total = tl.zeros((B, KP), tl.float32)
    for k in range(K):
        sent = tl.load(messages + begin + k, mask=inside, other=0.0)
        total -= sent[:, None] * tl.load(penalties + k * S + column, mask=fits, other=0.0)
    tl.store(out + begin[:, None] + column, total, mask=inside[:, None] & fits)


@triton.jit(do_not_specialize=["N", "K", "first"])
def start(
    scores, initial, labels, unary, Q, N, K, first,
    LOGITS: tl.constexpr, INITIAL: tl.constexpr, S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """From a picture's planes: rows of unary energies and of the marginals to start from, K of the labels."""
    p = tl.program_id(0) * B + tl.arange(0, B)
    inside = p < N
    column = tl.arange(0, KP)[None, :]
    wanted = inside[:, None] & (column < K)
    label = tl.load(labels + column, mask=column < K, other=0).to(tl.int64)
    plane = label * N + p.to(tl.int64)[:, None]
    score = tl.load(scores + plane, mask=wanted, other=1.0)
    energy = -score if LOGITS else -tl.log(tl.minimum(tl.maximum(score, 1e-5), 1.0))
    if INITIAL:
        marginal = tl.load(initial + plane, mask=wanted, other=0.0)
    else:
        lowest = tl.min(tl.where(column < K, energy, float("inf")), axis=1)
        mass = tl.where(column < K, tl.exp(lowest[:, None] - energy), 0.0)
        marginal = mass / tl.sum(mass, axis=1)[:, None]
    at = (first.to(tl.int64) + p)[:, None] * S + column
    both = inside[:, None] & (column < S)
    tl.store(unary + at, tl.where(column < K, energy, 0.0), mask=both)
    tl.store(Q + at, marginal, mask=both)


@triton.jit(do_not_specialize=["N", "K", "first"])
def write(Q, labels, planes, N, K, first, S: tl.constexpr, KP: tl.constexpr, B: tl.constexpr):
    """From rows of marginals to a picture's planes."""
    p = tl.program_id(0) * B + tl.arange(0, B)
    column = tl.arange(0, KP)[None, :]
    wanted = (p < N)[:, None] & (column < K)
    marginal = tl.load(Q + (first.to(tl.int64) + p)[:, None] * S + column, mask=wanted, other=0.0)
    label = tl.load(labels + column, mask=column < K, other=0).to(tl.int64)
    tl.store(planes + label * N + p.to(tl.int64)[:, None], marginal, mask=wanted)
