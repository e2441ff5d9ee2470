/* What a bare Cortex-M of QEMU's mps2 boards needs before main: vectors, and the float unit on. */
#include <stdint.h>

extern void _start(void);

void _init(void)
{
}

void _fini(void)
{
}

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    _start();
}

static void stop(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    (void *)0x20040000, (void *)reset, (void *)stop, (void *)stop, (void *)stop, (void *)stop,
    (void *)stop, 0, 0, 0, 0, (void *)stop, (void *)stop, 0, (void *)stop, (void *)stop,
};
