// The inner loops for processors with AVX2. Only what follows the pragma is compiled so: code of the standard headers,
// which the linker shares between files, stays plain. Fused multiply-add is left out on purpose: same bits everywhere.
#include "simd.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#ifdef CRF_HAVE_AVX2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#define CRF_ISA avx2
#define CRF_SIMD simd_avx2
#include "simd.inc"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
