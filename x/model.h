/* model: gru 2 -> 3. Each stream has a state of its own, 12 bytes; one model serves them all. A
   step takes 45 multiply-adds and 48 bytes of stack; the weights are 228 bytes. Bits are those
   of grus on avx512, which fuses multiply-adds: compile for a processor that does (-mfma,
   -march=native), or a step takes a hundred times as long. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_INPUTS 2
#define MODEL_OUTPUTS 3
#define MODEL_STATE 3

typedef struct {
    float weights[57];
} model_model;

typedef struct {
    float values[MODEL_STATE];
} model_state;

extern const model_model model_weights;

/* Begin a sequence. */
void model_reset(model_state *state);

/* One step: x has MODEL_INPUTS numbers, y gets MODEL_OUTPUTS; y may not be x. */
void model_step(const model_model *model, model_state *state, const float *x, float *y);

/* Steps one after the other, x and y [steps][...]. */
void model_run(
    const model_model *model, model_state *state, size_t steps, const float *x, float *y);

#ifdef __cplusplus
}
#endif

#endif
