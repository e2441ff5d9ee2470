/*
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    m = U.n @ h + d.n
    n = tanh(W.n @ x + b.n + r * m)
    h_next = z * h + (1 - z) * n
*/
#include "model.h"

#include <float.h>

#if FLT_EVAL_METHOD != 0
#error "model: float arithmetic must not be wider than float"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__cplusplus) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

static uint32_t bits_of(float value)
{
    union { float value; uint32_t bits; } both;
    both.value = value;
    return both.bits;
}

static float float_of(uint32_t bits)
{
    union { float value; uint32_t bits; } both;
    both.bits = bits;
    return both.value;
}

/* a * b + c, rounded once. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF) \
    || defined(__aarch64__)
#define multiply_add(a, b, c) __builtin_fmaf(a, b, c)
#else
/* The product is exact as a double. The sum is rounded to odd there, so that rounding it once more
   gives what one rounding of the exact sum would. */
static float multiply_add(float a, float b, float c)
{
    union { double value; uint64_t bits; } sum;
    const double product = (double)a * (double)b, third = (double)c;
    sum.value = product + third;
    if (sum.value - sum.value == 0.0) {
        const double other = sum.value - product;
        const double rest = (product - (sum.value - other)) + (third - other);
        if (rest != 0.0 && (sum.bits & 1u) == 0u) {
            sum.bits += (rest > 0.0) == (sum.value > 0.0) ? 1u : (uint64_t)-1;
        }
    }
    return (float)sum.value;
}
#endif

static void products(
    float *RESTRICT sums,
    const float *RESTRICT weights,
    const float *RESTRICT x,
    ptrdiff_t units,
    ptrdiff_t depth)
{
    for (ptrdiff_t i3 = 0; i3 < ((depth / 4) * 4); i3 += 4) {
        const float v6 = x[i3];
        const float v8 = x[i3 + 1];
        const float v10 = x[i3 + 2];
        const float v12 = x[i3 + 3];
        for (ptrdiff_t i28 = 0; i28 < units; ++i28) {
            const float v31 = sums[i28];
            const float v33 = weights[(i3 * units) + i28];
            const float v34 = multiply_add(v6, v33, v31);
            const float v36 = weights[((i3 + 1) * units) + i28];
            const float v37 = multiply_add(v8, v36, v34);
            const float v39 = weights[((i3 + 2) * units) + i28];
            const float v40 = multiply_add(v10, v39, v37);
            const float v42 = weights[((i3 + 3) * units) + i28];
            const float v43 = multiply_add(v12, v42, v40);
            sums[i28] = v43;
        }
    }
    for (ptrdiff_t i44 = ((depth / 4) * 4); i44 < depth; ++i44) {
        const float v47 = x[i44];
        for (ptrdiff_t i51 = 0; i51 < units; ++i51) {
            const float v54 = sums[i51];
            const float v56 = weights[(i44 * units) + i51];
            const float v57 = multiply_add(v47, v56, v54);
            sums[i51] = v57;
        }
    }
}

static void gru(
    const float *RESTRICT weights,
    float *RESTRICT state,
    const float *RESTRICT x,
    float *RESTRICT y,
    float *RESTRICT work)
{
    for (ptrdiff_t i1 = 0; i1 < 12; ++i1) {
        const float v4 = weights[i1];
        work[i1] = v4;
    }
    products(work, weights + 12, x, 9, 2);
    products(work, weights + 30, state, 6, 3);
    products(work + 9, weights + 48, state, 3, 3);
    for (ptrdiff_t i10 = 0; i10 < 3; ++i10) {
        const float v13 = work[i10];
        const float v16 = work[3 + i10];
        const float v19 = work[9 + i10];
        const float v22 = work[6 + i10];
        const float v24 = state[i10];
        const int v25 = v13 < -87.0f;
        const float v26 = v25 ? -87.0f : v13;
        const int v27 = v26 > 87.0f;
        const float v28 = v27 ? 87.0f : v26;
        const float v29 = -v28;
        const float v30 = multiply_add(v29, 1.44269502f, 12582912.0f);
        const float v31 = v30 - 12582912.0f;
        const float v32 = multiply_add(v31, -0.693359375f, v29);
        const float v33 = multiply_add(v31, 0.000212194442f, v32);
        const uint32_t v34 = bits_of(v30);
        const uint32_t v35 = v34 + 0x7fu;
        const uint32_t v36 = v35 << 0x17u;
        const float v37 = float_of(v36);
        const float v38 = multiply_add(0.000198412701f, v33, 0.00138888892f);
        const float v39 = multiply_add(v38, v33, 0.00833333377f);
        const float v40 = multiply_add(v39, v33, 0.0416666679f);
        const float v41 = multiply_add(v40, v33, 0.166666672f);
        const float v42 = multiply_add(v41, v33, 0.5f);
        const float v43 = v33 * v33;
        const float v44 = multiply_add(v43, v42, v33);
        const float v45 = multiply_add(v37, v44, v37);
        const float v46 = v45 + 1.0f;
        const float v47 = 1.0f / v46;
        const int v48 = v13 < -87.0f;
        const float v49 = v48 ? 0.0f : v47;
        const int v50 = v16 < -87.0f;
        const float v51 = v50 ? -87.0f : v16;
        const int v52 = v51 > 87.0f;
        const float v53 = v52 ? 87.0f : v51;
        const float v54 = -v53;
        const float v55 = multiply_add(v54, 1.44269502f, 12582912.0f);
        const float v56 = v55 - 12582912.0f;
        const float v57 = multiply_add(v56, -0.693359375f, v54);
        const float v58 = multiply_add(v56, 0.000212194442f, v57);
        const uint32_t v59 = bits_of(v55);
        const uint32_t v60 = v59 + 0x7fu;
        const uint32_t v61 = v60 << 0x17u;
        const float v62 = float_of(v61);
        const float v63 = multiply_add(0.000198412701f, v58, 0.00138888892f);
        const float v64 = multiply_add(v63, v58, 0.00833333377f);
        const float v65 = multiply_add(v64, v58, 0.0416666679f);
        const float v66 = multiply_add(v65, v58, 0.166666672f);
        const float v67 = multiply_add(v66, v58, 0.5f);
        const float v68 = v58 * v58;
        const float v69 = multiply_add(v68, v67, v58);
        const float v70 = multiply_add(v62, v69, v62);
        const float v71 = v70 + 1.0f;
        const float v72 = 1.0f / v71;
        const int v73 = v16 < -87.0f;
        const float v74 = v73 ? 0.0f : v72;
        const float v75 = multiply_add(v49, v19, v22);
        const float v76 = float_of(bits_of(v75) & 0x7fffffffu);
        const int v77 = v76 > 43.5f;
        const float v78 = v77 ? 43.5f : v76;
        const float v79 = v78 * -2.0f;
        const float v80 = multiply_add(v79, 1.44269502f, 12582912.0f);
        const float v81 = v80 - 12582912.0f;
        const float v82 = multiply_add(v81, -0.693359375f, v79);
        const float v83 = multiply_add(v81, 0.000212194442f, v82);
        const uint32_t v84 = bits_of(v80);
        const uint32_t v85 = v84 + 0x7fu;
        const uint32_t v86 = v85 << 0x17u;
        const float v87 = float_of(v86);
        const float v88 = multiply_add(0.000198412701f, v83, 0.00138888892f);
        const float v89 = multiply_add(v88, v83, 0.00833333377f);
        const float v90 = multiply_add(v89, v83, 0.0416666679f);
        const float v91 = multiply_add(v90, v83, 0.166666672f);
        const float v92 = multiply_add(v91, v83, 0.5f);
        const float v93 = v83 * v83;
        const float v94 = multiply_add(v93, v92, v83);
        const float v95 = v87 + -1.0f;
        const float v96 = multiply_add(v87, v94, v95);
        const float v97 = v96 + 2.0f;
        const float v98 = v96 / v97;
        const float v99 = -v98;
        const float v100 = float_of((bits_of(v99) & 0x7fffffffu) | (bits_of(v75) & 0x80000000u));
        const float v101 = 1.0f - v74;
        const float v102 = v101 * v100;
        const float v103 = multiply_add(v74, v24, v102);
        state[i10] = v103;
        y[i10] = v103;
    }
}

static void reset(
    float *RESTRICT state)
{
    for (ptrdiff_t i1 = 0; i1 < 3; ++i1) {
        state[i1] = 0.0f;
    }
}

static void step(
    const float *RESTRICT weights,
    float *RESTRICT state,
    const float *RESTRICT x,
    float *RESTRICT y)
{
    float v1[12];
    gru(weights, state, x, y, v1);
}

static void run(
    const float *RESTRICT weights,
    float *RESTRICT state,
    const float *RESTRICT x,
    float *RESTRICT y,
    ptrdiff_t steps)
{
    for (ptrdiff_t i1 = 0; i1 < steps; ++i1) {
        step(weights, state, x + 2 * i1, y + 3 * i1);
    }
}

void model_reset(model_state *state)
{
    reset(state->values);
}

void model_step(const model_model *model, model_state *state, const float *x, float *y)
{
    step(model->weights, state->values, x, y);
}

/* Steps one after the other, x and y [steps][...]. */
void model_run(
    const model_model *model, model_state *state, size_t steps, const float *x, float *y)
{
    run(model->weights, state->values, x, y, (ptrdiff_t)steps);
}

const model_model model_weights = {{
    0.470083892f, -0.420384049f, -0.165197134f, -1.07821417f, -0.0661559105f, 0.795471549f,
    -0.0189522058f, -0.109117277f, 0.0933669731f, 0.446407437f, 0.304120183f, -0.465359926f,
    0.452554524f, 0.526104569f, -0.201938048f, 0.373277873f, 0.107679859f, -0.345944494f,
    -0.251084775f, 0.197620288f, 0.269102395f, -0.509694636f, 0.275949925f, 0.0748808533f,
    0.45957458f, 0.257819891f, -0.124399297f, 0.320628405f, -0.528952837f, 0.365012884f,
    -0.296384126f, 0.215508789f, -0.478498042f, 0.117321208f, -0.564656556f, 0.0387597084f,
    -0.428872228f, 0.449511558f, 0.0389259197f, 0.0147697488f, -0.472202897f, -0.503960788f,
    -0.361719638f, -0.0884952992f, 0.0286685117f, -0.519056022f, 0.147764176f, 0.0522903204f,
    0.154635176f, 0.332346171f, 0.172444046f, 0.37452656f, -0.485061854f, -0.0920090452f,
    -0.248520598f, -0.481441915f, -0.233245119f,
}};
