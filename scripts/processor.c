/* Hides instruction sets of an x86-64 processor from the program it is preloaded into, so that the paths for lesser
 * processors can be tested and measured on this one, at full speed.
 *
 *   cc -shared -fPIC -O2 -o processor.so scripts/processor.c
 *   HIDE=avx512 LD_PRELOAD=$PWD/processor.so program      # a processor with AVX2 and FMA
 *   HIDE=avx    LD_PRELOAD=$PWD/processor.so program      # one with SSE only
 *
 * Linux can make the instruction `cpuid` fault (arch_prctl, ARCH_SET_CPUID) where the processor supports that; here the
 * fault is answered with what the processor says, less what is to be hidden. It ends with status 125 where it cannot. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static int hide_avx;

static void faulting(int on) { syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on); }

static void answer(int signal, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (at[0] != 0x0f || at[1] != 0xa2) { /* a fault of the program's own */
        struct sigaction usual = {.sa_handler = SIG_DFL};
        sigaction(signal, &usual, NULL);
        return;
    }
    unsigned leaf = registers[REG_RAX], sub = registers[REG_RCX], a, b, c, d;
    faulting(0);
    __cpuid_count(leaf, sub, a, b, c, d);
    faulting(1);
    if (leaf == 1 && hide_avx) c &= ~(1u << 28 | 1u << 12 | 1u << 29); /* AVX, FMA, F16C */
    if (leaf == 7) {
        if (sub == 0) {
            b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
            c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
            d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 23);
            if (hide_avx) b &= ~(1u << 5), c &= ~(1u << 9 | 1u << 10); /* AVX2, VAES, VPCLMULQDQ */
        } else {
            a &= ~(1u << 5); /* AVX512_BF16 */
            if (hide_avx) a &= ~(1u << 4 | 1u << 23); /* AVX_VNNI, AVX_IFMA */
        }
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    const char *hide = getenv("HIDE");
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (!hide) return;
    hide_avx = strcmp(hide, "avx") == 0;
    if (!hide_avx && strcmp(hide, "avx512") != 0) {
        fprintf(stderr, "HIDE is '%s'; it may be avx512 or avx\n", hide);
        _exit(125);
    }
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        fputs("this processor or kernel cannot hide instruction sets\n", stderr);
        _exit(125);
    }
}
