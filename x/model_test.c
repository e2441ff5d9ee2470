#include "model.h"

#include <stdio.h>

static const float x[8 * MODEL_INPUTS] = {
    0.125730217f, -0.132104859f, 0.640422642f, 0.104900114f, -0.535669386f, 0.361595064f,
    1.30400002f, 0.94708097f, -0.703735232f, -1.26542151f, -0.623274446f, 0.0413259789f,
    -2.3250308f, -0.218791664f, -1.245911f, -0.73226738f,
};
static const uint32_t wanted[8 * MODEL_OUTPUTS] = {
    0x3e137923u, 0x3d6693e5u, 0xbd2855f3u, 0x3e2d1d42u, 0x3dc60be5u, 0x3ca13ec3u,
    0x3ebff729u, 0xbde1d89du, 0xbcc4bce2u, 0x3e9d6e1cu, 0xbd9d9eb0u, 0x3e6b35eau,
    0x3d5f9a58u, 0x3e89a84bu, 0x3d197303u, 0x3ea80d39u, 0x3bffef7fu, 0xbd706d59u,
    0x3f0fab33u, 0xbe6ae11bu, 0xbe2388b0u, 0x3eb7bd22u, 0x3d1b878au, 0xbe733fd5u,
};

int main(void)
{
    model_state state;
    union { float value; uint32_t bits; } y[MODEL_OUTPUTS];
    model_reset(&state);
    for (int t = 0; t < 8; ++t) {
        model_step(&model_weights, &state, x + t * MODEL_INPUTS, &y[0].value);
        for (int k = 0; k < MODEL_OUTPUTS; ++k) {
            const uint32_t bits = wanted[t * MODEL_OUTPUTS + k];
            if (y[k].bits != bits) {
                printf("model: step %d, output %d is %.9g, not 0x%08lx\n", t, k,
                    (double)y[k].value, (unsigned long)bits);
                return 1;
            }
        }
    }
    printf("model: 8 steps, the same bits\n");
    return 0;
}
