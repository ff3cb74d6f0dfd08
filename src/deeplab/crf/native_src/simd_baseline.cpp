// The inner loops for any processor.
#include "simd.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#define CRF_ISA baseline
#define CRF_SIMD simd_baseline
#include "simd.inc"
